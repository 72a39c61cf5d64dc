"""Every example runs as a user runs it, and so does every script and command of the tutorial."""

import os
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "contrib" / "examples"
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
IN_PROCESS = ("memory:", "--batch-system", "inline")


def run_example(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


def output_of(name: str, *arguments: str, cwd: Path) -> str:
    done = run_example(name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=[("file:store",), IN_PROCESS], ids=["local", "inline"])
def place(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Say where a script runs."""
    chosen: tuple[str, ...] = request.param
    return chosen


def test_every_example_has_a_test_and_a_line() -> None:
    tests, page = Path(__file__).read_text() + Path(__file__).with_name("test_demo.py").read_text(), (EXAMPLES / "README.md").read_text()
    scripts = [path.name for path in EXAMPLES.glob("*.py")]
    assert [name for name in scripts if f"]({name})" not in page] == []
    assert [name for name in scripts if "__main__" in (EXAMPLES / name).read_text() and f'"{name}"' not in tests] == []


def test_squares(place: tuple[str, ...], tmp_path: Path) -> None:
    assert output_of("squares.py", *place, "--n", "10", cwd=tmp_path) == "285\n"


def test_squares_is_the_script_of_the_readme() -> None:
    shown = BLOCK.search((ROOT / "README.md").read_text())
    assert shown is not None

    def bare(source: str) -> str:
        return re.sub(r"\s+", "", source)

    assert bare(shown[2]) in bare((EXAMPLES / "squares.py").read_text())


def test_graph_api(place: tuple[str, ...], tmp_path: Path) -> None:
    assert output_of("graph_api.py", *place, cwd=tmp_path).splitlines()[-1] == "a cake of 950 g made of flour, sugar, butter"


def test_service(place: tuple[str, ...], tmp_path: Path) -> None:
    assert output_of("service.py", *place, cwd=tmp_path) == "4 the\n2 dog\n2 fox\n"


def test_files(place: tuple[str, ...], tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = [f"{chance.random()}\n" for _ in range(150_000)]
    (tmp_path / "unsorted.txt").write_text("".join(lines))
    output_of("files.py", *place, "--input", "unsorted.txt", "--output", "sorted.txt", cwd=tmp_path)
    assert (tmp_path / "sorted.txt").read_text() == "".join(sorted(lines))


def test_mend_and_restart(tmp_path: Path) -> None:
    for name, text in (("one.txt", "1\n2\n"), ("two.txt", "3\nfour\n"), ("three.txt", "5\n")):
        (tmp_path / name).write_text(text)
    line = ("mend_and_restart.py", "file:store", "one.txt", "two.txt", "three.txt")
    failed = run_example(*line, cwd=tmp_path)
    assert failed.returncode == 1
    assert "two.txt, line 2: 'four' is no number" in failed.stderr
    assert "FailedJobsError" not in failed.stderr, "the script itself ends in order"
    (tmp_path / "two.txt").write_text("3\n4\n")
    (tmp_path / "one.txt").unlink()  # it was read before
    assert output_of(*line, "--restart", cwd=tmp_path) == "15\n"


def test_stdlib_map(place: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    printed = output_of("stdlib_map.py", *place, "--limit", "40", "--output", "map", cwd=tmp_path)
    assert printed.startswith("40 modules, ")
    assert "Largest modules" in printed
    lines = (tmp_path / "map" / "modules.csv").read_text().splitlines()
    assert lines[0].startswith("module,lines,code,")
    assert len(lines) == 41
    image = (tmp_path / "map" / "stdlib.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert width > height > 500


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path) -> None:
    """Save each script under the name in its first line, type each command, and compare what it prints."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONWARNINGS": "default"}
    commands = 0
    for kind, text in BLOCK.findall(TUTORIAL.read_text()):
        if kind == "python":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
            continue
        for command, expected in COMMAND.findall(text):
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            assert (done.stdout, done.returncode) == (expected, 0), f"{command}\n{done.stdout}\n{done.stderr}"
            commands += 1
    assert commands > 10
