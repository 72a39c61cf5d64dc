"""A worker process as the leader sees it, read from its row of shared memory."""

import time
from typing import Any

import pytest

from jobsys import slots
from jobsys.batch.local.shapes import Lane
from jobsys.batch.local.workers import Worker


def test_when_a_job_began_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    row: Any = [0] * 16
    link: Any = None
    worker = Worker(Lane(1, ()), link, 0, row)
    row[slots.BEGUN] = time.monotonic_ns() - 10**9
    first = worker.runs_since().since
    assert first == pytest.approx(time.time() - 1, abs=0.5)
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock + 100)  # somebody sets it
    assert worker.runs_since().since == first
    row[slots.BEGUN] += 10**9
    assert worker.runs_since().since > first + 50
