"""Each storage call of worker processes fails, is the worker's last, or the last that its leader lives to see; the run ends as ever.

JOBSYS_EVERY_POINT=1 takes each call in every way; else each is taken in one of them.
"""

import itertools
import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from faults import executor  # type: ignore[import-not-found]
from faults.backends import EVERY_POINT, BackEnd, Places, places  # type: ignore[import-not-found]
from faults.bench import Bench, check_resumed, forked, told  # type: ignore[import-not-found]
from jobsys import early

MEANING = {"error": "error at", "exit": "end of the worker at", "leader": "end of the leader at"}
WAYS = list(itertools.product(MEANING, ("before", "after")))
TESTS = str(Path(__file__).parent.parent)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make benches on files, of which the workers fail as planned."""
    monkeypatch.setattr("jobsys.early.HOST", (*early.HOST, "--executor", "faults.executor:prepare"))
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv(executor.CALLS, str(tmp_path / "calls"))
    with places(tmp_path, monkeypatch) as ready:

        def bench(number, effect, when):
            (tmp_path / "calls").write_text("")
            plan(monkeypatch, number, effect, when)
            return Bench(monkeypatch, BackEnd(Places.directory, "kill"), ready, tmp_path / "ran")

        yield bench


def plan(monkeypatch, number, effect="error", when="before"):
    monkeypatch.setenv(executor.PLAN, f"{number} {when} {effect}")


def calls():
    """Count the calls that workers have made."""
    return len(Path(os.environ[executor.CALLS]).read_text().splitlines())


def end_of_leader(bench):
    """Run in a process of its own, which workers may kill; wait until none of them is left."""

    def lead():
        os.environ[executor.LEADER] = str(os.getpid())
        return 0 if bench.end_of(batch_system="local") == "no matter" else 2

    status = forked(lead)
    while any(serves_this_test(process) for process in psutil.process_iter()):
        time.sleep(0.02)
    return {0: "no matter", -signal.SIGKILL: "killed"}[status]


def serves_this_test(process):
    try:
        return process.environ().get(executor.CALLS) == os.environ[executor.CALLS]
    except psutil.Error:
        return False


@pytest.mark.slow
def test_every_storage_call_of_workers(make, monkeypatch, tell):
    ends: dict[str, Counter[str]] = {effect: Counter() for effect, _ in WAYS}
    points = ((point, way) for point in itertools.count(1) for way in (WAYS if EVERY_POINT else [WAYS[point % len(WAYS)]]))
    for point, (effect, when) in points:
        bench = make(point, effect, when)
        end = end_of_leader(bench) if effect == "leader" else bench.end_of(batch_system="local")
        if calls() < point:
            break
        ends[effect][end] += 1
        plan(monkeypatch, 0)
        check_resumed(bench, f"{effect} {when} call {point}", 0, batch_system="local")
        bench.close()
    assert sum(map(Counter.total, ends.values())) > 20
    for effect, counted in ends.items():
        tell(told(f"file: {MEANING[effect]} each storage call of workers", counted))
