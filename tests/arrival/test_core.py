"""The core archive: the same bytes every time, and everything in it imports without anything else."""

import ast
import io
import marshal
import subprocess
import zipfile
from pathlib import Path

import pytest

from arrival.bare import PYTHON  # type: ignore[import-not-found]
from jobsys.arrival.core import CORE, bootstrap_command, bootstrap_source, core_archive

MODULES = sorted(f"jobsys.{name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for name in CORE)


def test_the_archive_is_the_same_every_time_and_holds_nothing_else(tmp_path):
    archive = tmp_path / "core.zip"
    archive.write_bytes(core_archive())
    assert archive.read_bytes() == core_archive()
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == [f"jobsys/{name}{kind}" for name in sorted(("__init__.py", *CORE)) for kind in ("", "c")]
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


def changed(archive, how):
    """Write an archive anew, each member's content changed."""
    with zipfile.ZipFile(io.BytesIO(core_archive())) as old, zipfile.ZipFile(archive, "w") as new:
        for name in old.namelist():
            new.writestr(name, how(name, old.read(name)))


@pytest.mark.parametrize(
    ("how", "works"),
    [
        (lambda name, data: b"no Python" if name.endswith(".py") else data, True),
        (lambda name, data: bytes(4) + data[4:] if name.endswith(".pyc") else data, True),
        (lambda name, data: b"no Python" if name.endswith(".py") else bytes(4) + data[4:], False),
    ],
    ids=["bytecode is what is loaded", "another Python compiles", "neither"],
)
def test_sources_are_compiled_where_there_is_no_bytecode_for_this_python(tmp_path, how, works):
    changed(tmp_path / "core.zip", how)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'core.zip')!r}); import jobsys.arrival.arrive"
    ended = subprocess.run([PYTHON, "-S", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode == 0, "no Python" in ended.stderr) == (works, not works)


def test_what_can_not_be_written_as_bytecode_travels_as_source_only(monkeypatch):
    def refuse(*_):
        raise ValueError("unmarshallable object")

    monkeypatch.setattr(marshal, "dumps", refuse)
    with zipfile.ZipFile(io.BytesIO(core_archive())) as opened:
        assert opened.namelist() == [f"jobsys/{name}" for name in sorted(("__init__.py", *CORE))]


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
