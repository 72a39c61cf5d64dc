"""Workers forked ahead of their only job: they cost nobody anything when they die, and none is left of them."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from batch import offspring  # type: ignore[import-not-found]
from jobsys import processes, slots
from jobsys.batch.base import BatchState, BatchUpdate, Reason
from jobsys.batch.local.spares import Spares
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements
from jobsys.testing.batch import FINAL, collect, is_gone
from jobsys.testing.orders import PATIENCE, job

COMMAND = [sys.executable, "-m", "jobsys.worker", "--executor", "deeds:prepare"]
MACHINE = Machine(cores=2, memory=16_000_000_000, disk=10_000_000_000, accelerators=("7",))


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBatchSystem]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = LocalBatchSystem(COMMAND, machine=MACHINE, isolation="process")
    yield made
    made.shutdown()
    assert offspring.left() == []


def spares_of(system: LocalBatchSystem) -> list[int]:
    """Give the process numbers of those that are there by now."""
    assert system._host is not None
    return [pid for slot, _ in system._spares._ready if (pid := system._host.slots[slot][slots.PID])]


Ends = dict[int, BatchUpdate]


def finish(system: LocalBatchSystem, jobs: int, ends: Ends, *, enough: Callable[[], object] = lambda: False) -> Ends:
    """Collect the last words on jobs 0, 1, … until there are so many, or it is enough."""
    deadline = time.monotonic() + PATIENCE
    while len(ends) < jobs and not enough():
        assert time.monotonic() < deadline
        for update in system.updates(0.05):
            if update.state in FINAL:
                assert update.id not in ends
                ends[update.id] = update
    return ends


def with_spares(system: LocalBatchSystem, jobs: int, seconds: float, ends: Ends) -> list[int]:
    """Submit jobs that sleep, and give the numbers of the workers forked ahead once a job has ended and there are some."""
    system.submit([job(id, "sleep", seconds=seconds) for id in range(jobs)])
    finish(system, jobs, ends, enough=lambda: ends and len(spares_of(system)) >= 3)
    found = spares_of(system)
    assert len(found) >= 3
    return found


def test_each_job_runs_in_a_process_that_ran_no_other(system):
    system.submit([job(id, "pid") for id in range(100)])
    assert len({end.payload for end in collect(system, range(100)).values()}) == 100


def test_those_killed_while_they_wait_cost_no_job(system):
    ends: Ends = {}
    killed = with_spares(system, 30, 0.05, ends)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert {end.state for end in finish(system, 30, ends).values()} == {BatchState.COMPLETED}
    assert all(is_gone(pid, 1) for pid in killed)


def test_that_many_are_killed_is_no_reason_to_give_up(system):
    ends: Ends = {}
    killed = set(with_spares(system, 24, 0.2, ends))
    while len(killed) < 12:
        for pid in spares_of(system):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        finish(system, 24, ends, enough=lambda: set(spares_of(system)) - killed)
    assert {end.state for end in finish(system, 24, ends).values()} == {BatchState.COMPLETED}


def test_none_outlives_its_host_and_the_next_one_has_its_own(system):
    ends: Ends = {}
    waiting = with_spares(system, 30, 0.1, ends)
    assert system._host is not None
    os.kill(system._host.pid, signal.SIGKILL)
    assert all(is_gone(pid, 2) for pid in waiting)
    reasons = Counter(end.reason for end in finish(system, 30, ends).values())
    assert reasons.keys() <= {None, Reason.LOST}
    assert reasons[Reason.LOST] <= 2


def test_shutdown_ends_them(system):
    waiting = with_spares(system, 30, 0.1, {})
    system.shutdown()
    assert not any(map(processes.is_running, waiting))


def test_limits_hold_in_one_forked_ahead(system):
    ends: Ends = {}
    waiting = set(with_spares(system, 10, 0.1, ends))
    small, short = Requirements(cores=1, memory=100_000_000), Requirements(cores=1, memory=10**9, walltime=0.3)
    system.submit([job(10, "hog_in_steps", requirements=small, megabytes=600), job(11, "sleep", requirements=short, seconds=30)])
    finish(system, 12, ends)
    assert (ends[10].reason, ends[11].reason) == (Reason.MEMORY, Reason.TIME_LIMIT)
    assert waiting & {end.pid for end in ends.values()}


def test_a_job_with_accelerators_has_them_and_one_without_has_none(system):
    wants = Requirements(cores=1, memory=10**9, accelerators=1)
    ends: Ends = {}
    with_spares(system, 8, 0.1, ends)
    system.submit([job(id, "environment", requirements=wants if id % 2 else None, name="CUDA_VISIBLE_DEVICES") for id in range(10, 18)])
    finish(system, 16, ends)
    assert [ends[id].payload for id in range(10, 18)] == [b"", b"7"] * 4


# ── how many ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Host:
    """Notes what it was asked to fork."""

    def __init__(self) -> None:
        self.free_slots = list(range(100, 0, -1))
        self.forked: list[int] = []

    def fork_many(self, slots: Sequence[int], devices: Any, *, once: bool) -> list["Host"]:
        assert once
        assert not devices
        self.forked += slots
        return [self] * len(slots)

    def close(self) -> None:
        self.forked.pop()


@pytest.mark.parametrize(
    ("waiting", "running", "forked"), [(0, 2, 0), (1, 2, 1), (5, 2, 5), (1000, 2, 32), (1000, 40, 40), (1000, 500, 64), (-3, 2, 0)]
)
def test_as_many_as_jobs_wait_but_not_more_than_can_soon_be_used(waiting, running, forked):
    host: Any = Host()
    Spares().refill(host, waiting, running)
    assert len(host.forked) == forked


def test_they_are_forked_several_in_a_row():
    host: Any = Host()
    spares = Spares()
    counts = []
    for _ in range(20):
        spares.refill(host, 1000, 2)
        counts.append(len(host.forked))
        assert spares.take() is not None
    assert counts == [32] * 17 + [49] * 3


def test_the_one_that_waited_longest_goes_first_and_a_dead_one_never():
    host: Any = Host()
    spares = Spares()
    spares.refill(host, 3, 2)
    first, second, third = host.forked
    spares.forget(second)
    spares.forget(99)
    assert [spare and spare[0] for spare in (spares.take(), spares.take(), spares.take())] == [first, third, None]
