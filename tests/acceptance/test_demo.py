"""The demo, in small: what it claims is checked, and it notices when a claim does not hold."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "contrib" / "examples" / "demo.py"
CLAIMS = (
    "died of signal 9",
    "no process with the mark of the run is left",
    "it says that the leader is dead",
    "the run is finished (exit status 0)",
    "the kill was in the middle: some jobs were done, some were not",
    "by the journal, each of the ",
    "committed before the kill have started once",
    "only jobs in flight have started twice",
    "both accounts name the same jobs",
    "byte for byte as undisturbed: modules.csv, stdlib.png, summary.txt",
)

pytest.importorskip("matplotlib")


def run_demo(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(DEMO), *options], cwd=cwd, capture_output=True, text=True, check=False, timeout=110)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the demo as a module."""
    spec = importlib.util.spec_from_file_location("demo_of_examples", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def judge(demo: ModuleType, output: Path, commits: list[int], starts: list[int], table: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the demo judge a forged run of the jobs 1 to 4; 1 and 2 were committed before the kill, 3 was in flight."""
    for folder, text in (("map", table), ("undisturbed", "as it should be")):
        (output / folder).mkdir()
        for name in ("modules.csv", "summary.txt", "stdlib.png"):
            (output / folder / name).write_text(text)
    jobs = dict.fromkeys(range(1, 5), "measure")
    after = demo.Journal(jobs, Counter(commits))
    monkeypatch.setattr(demo.Journal, "read", lambda _: after)
    monkeypatch.setattr(demo, "open_store", lambda _: None)
    (output / "starts.txt").write_text("".join(f"{job} 1 measure\n" for job in starts))
    judged = demo.Demo(output, None, 0.5)
    judged.prove(demo.Journal(jobs, Counter([1, 2])), Counter([1, 2, 3]), set())
    failed: list[str] = judged.failed
    return failed


@pytest.mark.parametrize(
    ("commits", "starts", "table", "noticed"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 3, 4], "as it should be", []),
        ([1, 2, 3, 4], [1, 2, 3, 4], "as it should be", []),
        ([1, 2, 3], [1, 2, 3, 4], "as it should be", ["exactly one commit"]),
        ([1, 2, 3, 3, 4], [1, 2, 3, 4], "as it should be", ["exactly one commit"]),
        ([1, 2, 3, 4], [1, 2, 2, 3, 4], "as it should be", ["have started once", "only jobs in flight"]),
        ([1, 2, 3, 4], [1, 3, 4], "as it should be", ["have started once", "the same jobs"]),
        ([1, 2, 3, 4], [1, 2, 3, 4, 4], "as it should be", ["only jobs in flight"]),
        ([1, 2, 3, 4], [1, 2, 3, 3, 3, 4], "as it should be", ["only jobs in flight"]),
        ([1, 2, 3, 4], [1, 2, 3, 4, 5], "as it should be", ["the same jobs"]),
        ([1, 2, 3, 4], [1, 2, 3, 4], "another", ["byte for byte"]),
    ],
)
def test_the_proof_can_fail(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: list[int], starts: list[int], table: str, noticed: list[str]
) -> None:
    failed = judge(demo, tmp_path, commits, starts, table, monkeypatch)
    assert len(failed) == len(noticed), failed
    assert all(part in claim for part, claim in zip(noticed, failed, strict=True)), failed


@pytest.mark.slow
@pytest.mark.crash
def test_the_demo_proves_what_it_claims(tmp_path: Path) -> None:
    done = run_demo("--limit", "100", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for claim in CLAIMS:
        assert any(line.startswith("  ok   ") and claim in line for line in done.stdout.splitlines()), f"{claim}\n{done.stdout}"
    assert "  FAIL " not in done.stdout
    assert done.stderr.count("Traceback") == 0
    for name in ("map/modules.csv", "map/summary.txt", "map/stdlib.png", "graph.svg"):
        assert (tmp_path / "demo-output" / name).stat().st_size > 1000


@pytest.mark.slow
def test_the_demo_fails_when_there_was_nothing_to_kill(tmp_path: Path) -> None:
    done = run_demo("--limit", "3", "--kill-at", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "  FAIL the workflow was still running when it was to be killed" in done.stdout


def test_the_demo_deletes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("forty-two")
    done = run_demo("--output", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert precious.read_text() == "forty-two"
