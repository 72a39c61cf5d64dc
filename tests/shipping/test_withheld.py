"""Modules that are needed and left out: refused where that is certain, warned of where it is not, and sent if they are asked for."""

import importlib
import os
import sys
import zipfile
from pathlib import Path

import pytest

from jobsys.errors import UsageError
from jobsys.shipping.closure import Start
from jobsys.shipping.plan import Options, make_plan

RULES = {
    "ignored": {"pkg_kept/x.py": "", ".jobsysignore": "pkg_kept\n"},
    "cache": {"pkg_kept/x.py": "", "pkg_kept/CACHEDIR.TAG": ""},
    "environment": {"pkg_kept/x.py": "", "pkg_kept/pyvenv.cfg": ""},
    "store": {"pkg_kept/x.py": "", "pkg_kept/jobsys-store.json": ""},
    "a file": {"pkg_kept.py": "", ".jobsysignore": "*_kept.py\n"},
}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Make a project of files by their paths, and give what plans it."""

    def plan(files, *ship, loaded=False):
        for name, text in files.items():
            path = Path(tmp_path, "app", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        app = str(tmp_path / "app")
        here = [path for path in sys.path if path != app]
        monkeypatch.setattr(sys, "path", [app, *here])
        importlib.invalidate_caches()
        start = Start(app, os.path.join(app, "flow.py"), True)
        made = make_plan(start, Options([os.path.join(app, each) for each in ship]), loaded=loaded)
        return {item.entry.path for tree in made.trees for item in tree.items if item.entry.kind == "file"}

    return plan


def load(monkeypatch, *names):
    """Import modules for this test alone."""
    for name, module in {name: importlib.import_module(name) for name in names}.items():
        del sys.modules[name]
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("rule", RULES)
def test_what_the_script_names_is_refused_and_travels_if_it_is_asked_for(planned, tmp_path, rule):
    files = {"flow.py": "import pkg_kept", **RULES[rule]}
    with pytest.raises(UsageError, match=r"^pkg_kept, which flow.py imports, is left out: .* or ship it with --ship \S+$") as caught:
        planned(files)
    way = str(caught.value).rpartition(" ")[2]
    assert any(path.endswith(("pkg_kept/x.py", "pkg_kept.py")) for path in planned(files, way))


def test_what_may_not_be_needed_is_warned_of(planned, caplog):
    files = {"flow.py": "import near\ntry: import pkg_kept\nexcept ImportError: pass", "near.py": "import pkg_kept", **RULES["ignored"]}
    assert planned(files) == {".jobsysignore", "flow.py", "near.py"}
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["pkg_kept, imported by flow.py, is left out"]


def test_a_part_of_a_package_that_is_loaded(planned, monkeypatch):
    files = {"flow.py": "", "pkg_whole/__init__.py": "", "pkg_whole/build/part.py": "", ".jobsysignore": "build/\n"}
    planned(files)
    load(monkeypatch, "pkg_whole", "pkg_whole.build", "pkg_whole.build.part")
    assert "pkg_whole/build/part.py" not in planned(files), "of what is not loaded by a script nothing is known"
    with pytest.raises(UsageError, match=r"^pkg_whole.build.part, which flow.py has loaded, is left out"):
        planned(files, loaded=True)
    assert "pkg_whole/build/part.py" in planned(files, "pkg_whole/build", loaded=True)


def test_the_script_itself(planned):
    with pytest.raises(UsageError, match=r"^flow.py, the script, is left out: .jobsysignore in the root names it"):
        planned({"flow.py": "", ".jobsysignore": "*.py\n"})


def test_a_module_in_an_archive_that_travels_on_its_own(planned, tmp_path, monkeypatch):
    files = {"flow.py": "import pkg_zipped", "store/jobsys-store.json": ""}
    planned(files)
    archive = str(tmp_path / "app" / "store" / "mods.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pkg_zipped.py", "")
    sys.path.append(archive)
    load(monkeypatch, "pkg_zipped")
    assert planned(files, loaded=True) >= {"flow.py", "mods.zip"}


def test_what_is_left_out_and_nobody_s_own_is_no_matter(planned):
    files = {"flow.py": "import pkg_there", ".venv/pyvenv.cfg": "", ".venv/lib/site-packages/pkg_there.py": ""}
    planned({"flow.py": "", **files})
    sys.path.append(f"{sys.path[0]}/.venv/lib/site-packages")
    assert planned(files) == {"flow.py"}
