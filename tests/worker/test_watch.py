"""What the host takes note of in the rows of its workers, and what it makes of that."""

import os
import selectors
import socket
import time

import pytest

from jobsys import slots
from jobsys.slots import Slot, Slots
from jobsys.worker import watch
from jobsys.worker.host import Host, Kin, _Child

SECOND = 1_000_000_000


@pytest.fixture
def shared():
    made = Slots.create(1)
    yield made
    made.close()


@pytest.fixture
def row(shared):
    """Job 7 has run for 10 of the 15 seconds that it may."""
    row = shared[0]
    row[slots.JOB], row[slots.TIME_LIMIT] = 7, 15 * SECOND
    row[slots.BEGUN], row[slots.STATE] = time.monotonic_ns() - 10 * SECOND, slots.RUNNING
    return row


def is_over(row: Slot) -> bool:
    excess = watch.measure(os.getpid(), row)
    return excess is not None and excess.reason == "time limit"


def ages(row: Slot, seconds: int) -> None:
    row[slots.BEGUN] -= seconds * SECOND


def test_time_in_which_a_job_stood_still_counts_for_no_walltime_and_more_of_it_adds_up(row):
    ages(row, 20)
    assert is_over(row)
    watch.excuse([row], 9)
    assert is_over(row)
    watch.excuse([row], 9)
    assert not is_over(row)
    ages(row, 5)
    assert is_over(row)


def test_a_job_that_began_when_the_host_was_late_gains_no_time_by_that(row):
    watch.excuse([row], 3600)
    assert not is_over(row)
    ages(row, 16)
    assert is_over(row)


def test_the_next_job_of_a_worker_is_not_excused_and_what_its_worker_writes_is_not_touched(row):
    ages(row, 20)
    begun = row[slots.BEGUN]
    watch.excuse([row], 30)
    assert row[slots.BEGUN] == begun
    row[slots.JOB] = 8
    assert is_over(row)


def test_a_worker_that_runs_nothing_is_not_excused(row):
    row[slots.STATE] = slots.IDLE
    watch.excuse([row], 30)
    assert row[slots.STILL] == 0


def test_how_often_a_job_is_looked_at_goes_by_the_time_that_it_has_run(row):
    now = time.monotonic_ns()
    assert watch.pause([row], now) == 1.0
    ages(row, 4)
    assert watch.pause([row], now) == pytest.approx(1.0, abs=0.1)
    watch.excuse([row], 12)
    assert watch.pause([row], now) == pytest.approx(0.2, abs=0.1)


def test_what_a_host_is_busy_with_itself_is_no_time_in_which_it_stood_still(shared, row, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "STOOD_STILL", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        host = Host(ours, shared, tmp_path, object(), Kin(os.getpid(), 0))  # type: ignore[arg-type]
        host._children[os.getpid()] = _Child(0, tmp_path)
        host._busy = time.monotonic()
        host._selector.register(ours, selectors.EVENT_READ, lambda: time.sleep(0.1))
        theirs.send(b"x")
        host._turn()
        assert (host._watched > 0, row[slots.STILL]) == (True, 0)
        ours.recv(1)
        host._busy = host._watched = time.monotonic() - 0.5
        select = host._selector.select
        monkeypatch.setattr(host._selector, "select", lambda _: select(0.8))
        host._turn()
        assert row[slots.STILL] > 0.05 * SECOND
        host._selector.close()
