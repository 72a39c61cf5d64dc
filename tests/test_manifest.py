"""The core runs on a bare Python, out of one archive."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

from jobsys import manifest
from jobsys.manifest import CORE, shown
from jobsys.package import pack
from jobsys.scan import read_tree

SOURCE = Path(manifest.__file__).parent
PROGRAM = """
import sys
sys.path[:] = [sys.argv[1], *(entry for entry in sys.path if "site-packages" not in entry)]
import importlib, json
for name in json.loads(sys.argv[2]):
    importlib.import_module("jobsys." + name)
from jobsys.cache import Cache
from jobsys.fetch import Wanted, obtain
cache = Cache(sys.argv[3])
place = cache.code + "/" + "0" * 64 + "-00000000"
assert obtain(Wanted(*json.loads(sys.argv[4])), place)
assert cache.evict(0) == []
print(open(place + "/project/a.py").read())
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"__main__"}
print(json.dumps([sorted(foreign), sorted(name for name in sys.modules if name.startswith("jobsys"))]))
"""


def test_the_core_needs_the_standard_library_only(tmp_path):
    with zipfile.ZipFile(tmp_path / "core.zip", "w") as archive:
        archive.writestr("jobsys/__init__.py", "")
        for name in CORE:
            archive.write(SOURCE / f"{name}.py", f"jobsys/{name}.py")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("print('here')")
    tree = read_tree(str(tmp_path / "project"))
    with open(tmp_path / "tree.zip", "wb") as stream:
        pack(tree, stream, compress=True)
    wanted = ["file://" + quote(str(tmp_path / "tree.zip")), "project", tree.md5, tree.sha256, True]
    arguments = [tmp_path / "core.zip", json.dumps(CORE), tmp_path / "cache", json.dumps(wanted)]
    answer = subprocess.run([sys.executable, "-S", "-I", "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    text, loaded = answer.stdout.splitlines()
    assert text == "print('here')"
    assert json.loads(loaded) == [["jobsys"], ["jobsys", *(f"jobsys.{name}" for name in CORE)]]


def test_a_url_is_shown_without_its_secrets():
    assert shown("https://me:word@host:8/a/b?signature=x#sha256=y") == "https://host:8/a/b"
