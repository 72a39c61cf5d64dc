"""The rules of the house: who may import whom, how long a file or a function may be, what is never called `utils`."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "jobsys").rglob("*.py"))
IMPURE = {"asyncio", "datetime", "multiprocessing", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
BELOW_PROGRESS = ("jobsys.jobstores", "jobsys.storage", "jobsys.batch")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "misc"}
MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


def imports(path: Path) -> Iterator[str]:
    """Name every module that a file imports, at any depth, as the absolute name it is written with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the absolute name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name every function of a file and count its lines from `def` on, less its docstring."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= len((ast.get_source_segment(source, node.body[0]) or "").splitlines())
            yield node.name, lines


LOADED_BY_ALEMBIC = ("jobsys.server.migrations.env", "jobsys.server.migrations.versions.")


def test_imports_only_point_down() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__") and not name.startswith(LOADED_BY_ALEMBIC)])
def test_every_module_imports_alone(name: str) -> None:
    result = run(sys.executable, "-W", "error", "-c", f"import {name}")
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == "", "an import must say nothing"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("jobsys.progress")])
def test_progress_is_pure(name: str) -> None:
    for imported in imports(MODULES[name]):
        assert imported.split(".")[0] not in IMPURE, f"{name} imports {imported}: time and chance come in as arguments"
        assert not imported.startswith(BELOW_PROGRESS), f"{name} imports {imported}: what decides does no I/O"


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_the_package_root(name: str) -> None:
    for imported in imports(MODULES[name]):
        if imported.startswith("jobsys."):
            assert ".".join(imported.split(".")[:2]) in MODULES, f"{name} takes {imported} from the root: name the module that owns it"
        assert imported != "jobsys", f"{name} imports the package root"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES_OF_A_FILE, "split it by responsibility"
    long = {name: lines for name, lines in functions(path) if lines > MOST_LINES_OF_A_FUNCTION}
    assert not long


def test_names_say_what_a_file_owns() -> None:
    assert not [path for path in FILES if path.stem.strip("_") in NAMES_THAT_SAY_NOTHING]


def test_camel_case_stays_where_the_specification_asks_for_it() -> None:
    result = run("git", "grep", "-lE", "noqa.*N80[236]", "--", "src")
    assert result.stdout == "", "camelCase is switched off per file in pyproject.toml, for the files whose names are fixed"
