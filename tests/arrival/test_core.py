"""The core archive: the same bytes every time, and everything in it imports without anything else."""

import ast
import subprocess
import zipfile
from pathlib import Path

from arrival.bare import PYTHON  # type: ignore[import-not-found]
from jobsys.arrival.core import CORE, bootstrap_command, bootstrap_source, core_archive

MODULES = sorted(f"jobsys.{name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for name in CORE)


def test_the_archive_is_the_same_every_time_and_holds_nothing_else(tmp_path):
    archive = tmp_path / "core.zip"
    archive.write_bytes(core_archive())
    assert archive.read_bytes() == core_archive()
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == sorted(f"jobsys/{name}" for name in ("__init__.py", *CORE))
        assert opened.read("jobsys/__init__.py") == b""
        assert {(each.date_time, each.compress_type) for each in opened.infolist()} == {((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)}


def test_every_module_imports_from_the_archive_on_a_bare_interpreter(tmp_path):
    archive = tmp_path / "core.zip"
    archive.write_bytes(core_archive())
    code = f"""
import sys
sys.path.insert(0, {str(archive)!r})
for name in {MODULES}:
    __import__(name)
mine = [name for name in sys.modules if name.split(".")[0] == "jobsys"]
foreign = [name for name in sys.modules if name.split(".")[0] not in sys.stdlib_module_names | {{"jobsys", "__main__"}}]
print(all(sys.modules[name].__file__.startswith({str(archive)!r}) for name in mine), foreign)
"""
    ended = subprocess.run([PYTHON, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True []\n"
    assert ended.stderr == ""


def test_the_archive_names_the_core_s_modules_only_and_all_they_import():
    """What a module of the core imports inside a function would be missed by importing it alone."""
    source = Path(__file__).parents[2] / "src" / "jobsys"
    for name in CORE:
        for node in ast.walk(ast.parse((source / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jobsys":
                assert node.module in MODULES, f"{name} imports {node.module}, which is no module of the core"


def test_the_bootstrap_is_text_that_an_old_python_understands():
    source = bootstrap_source()
    ast.parse(source, feature_version=(3, 6))
    assert "\0" not in source
    assert len(source.splitlines()) <= 150
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module]
    assert bootstrap_command("python3.11") == ["python3.11", "-I", "-S", "-c", source]
