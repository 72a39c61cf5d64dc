"""The demo, in small: what it claims is checked, and it notices when a claim does not hold."""

import subprocess
import sys
from pathlib import Path

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
