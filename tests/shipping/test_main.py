"""What was started, in every way in which Python starts something."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SHOW = "from jobsys.shipping.main import Main; m = Main(); print(repr((m.descriptor and tuple(m.descriptor), *m.start)))\n"


@pytest.fixture
def start(tmp_path):
    def run(*words, text=None, **variables):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [sys.executable, *map(str, words)]
        options = {"capture_output": True, "text": True, "check": False, "timeout": 60, "input": text}
        done = subprocess.run(command, cwd=tmp_path, env=plain | variables, **options)
        assert done.returncode == 0, done.stderr
        return eval(done.stdout.splitlines()[-1])

    return run


def put(root, name, text=SHOW):
    path = Path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["script.py", "script", "my-script.v2.py"])
def test_a_script(start, tmp_path, name):
    put(tmp_path, f"app/{name}")
    folder = f"{tmp_path}/app"
    stem = name.removesuffix(".py")
    assert start(f"app/{name}") == ((folder, stem, False), folder, f"{folder}/{name}", True, ())
    (tmp_path / "link").symlink_to(f"app/{name}")
    assert start("link") == ((folder, stem, False), folder, f"{folder}/{name}", True, ()), "a link to it is the file it points to"
    (tmp_path / "folder").symlink_to("app")
    assert start(f"folder/{name}")[1] == f"{tmp_path}/folder", "as in sys.path"


def test_a_module_and_a_package(start, tmp_path):
    put(tmp_path, "alone.py")
    put(tmp_path, "pkg/__init__.py", "")
    put(tmp_path, "pkg/__main__.py")
    put(tmp_path, "pkg/sub/mod.py")
    here = str(tmp_path)
    assert start("-m", "alone") == ((here, "alone", False), "", f"{here}/alone.py", False, ("alone",))
    assert start("-m", "pkg") == ((here, "pkg.__main__", False), "", f"{here}/pkg/__main__.py", False, ("pkg",))
    assert start("-m", "pkg.sub.mod") == ((here, "pkg.sub.mod", False), "", f"{here}/pkg/sub/mod.py", False, ("pkg",))


def test_a_directory_and_an_archive(start, tmp_path):
    put(tmp_path, "app/__main__.py")
    folder = f"{tmp_path}/app"
    assert start("app") == ((folder, "__main__", False), folder, f"{folder}/__main__.py", True, ())
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as file:
        file.writestr("__main__.py", SHOW)
    archive = f"{tmp_path}/app.pyz"
    assert start("app.pyz") == ((archive, "__main__", False), archive, "", True, ())


def test_a_session(start):
    text = "def f():\n  import lazily\n\n" + SHOW
    assert start("-c", text) == (None, "", "", False, ("lazily",))
    assert start("-", text=text) == (None, "", "", False, ("lazily",))


def test_a_main_that_lacks_what_others_have(start, tmp_path):
    """As a debugger makes it."""
    put(tmp_path, "app/flow.py", "import sys\ndel __spec__\nfrom jobsys import shipment; shipment.name_script()\n" + SHOW)
    assert start("app/flow.py")[1:4] == (f"{tmp_path}/app", f"{tmp_path}/app/flow.py", True)
