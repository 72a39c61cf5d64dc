"""What every batch system must keep, as plain functions: run `check_batch_system` over one of your own. Needs no test framework.

The batch system under test must run orders with ``jobsys.testing.orders.run_order``.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import psutil

from jobsys.batch.base import BatchState, BatchSystem, BatchUpdate, Reason
from jobsys.errors import RequirementError
from jobsys.requirements import Requirements
from jobsys.testing.orders import PATIENCE, job

Make = Callable[[], BatchSystem]
FINAL: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def collect(system: BatchSystem, ids: Iterable[int], patience: float = PATIENCE) -> dict[int, BatchUpdate]:
    """Wait for the last word on each job; fail on a second one."""
    open_ids = set(ids)
    ends: dict[int, BatchUpdate] = {}
    deadline = time.monotonic() + patience
    while open_ids:
        assert time.monotonic() < deadline, f"no last word on jobs {sorted(open_ids)[:10]}"
        for update in system.updates(1.0):
            if update.state in FINAL:
                assert update.id not in ends, f"a second last word on job {update.id}: {update}"
                ends[update.id] = update
                open_ids.discard(update.id)
    return ends


def wait_for(system: BatchSystem, id: int, state: BatchState, patience: float = PATIENCE) -> BatchUpdate:
    """Wait until something is said of a job."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for update in system.updates(0.2):
            if (update.id, update.state) == (id, state):
                return update
    raise AssertionError(f"job {id} was never {state}")


def is_gone(pid: int, patience: float = 5.0) -> bool:
    """Tell whether a process ends in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


# ── the checks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def check_each_once(make: Make) -> None:
    """Complete each job exactly once, with its own report, and say nothing afterwards."""
    system = make()
    try:
        system.submit([job(id, "echo", text=f"answer {id}") for id in range(200)])
        ends = collect(system, range(200))
        assert all(ends[id].state is BatchState.COMPLETED and ends[id].payload == b"answer %d" % id for id in range(200))
        assert system.updates(0.2) == []
        assert dict(system.running()) == {}
    finally:
        system.shutdown()


def check_many(make: Make) -> None:
    """Complete thousands of jobs that were submitted in several portions."""
    system = make()
    try:
        for start in range(0, 5000, 1000):
            system.submit([job(id, "echo", text=str(id)) for id in range(start, start + 1000)])
            system.updates(0)
    finally:
        system.shutdown()
    system = make()
    try:
        system.submit([job(id, "echo", text=str(id)) for id in range(5000)])
        ends = collect(system, range(5000))
        assert Counter(update.state for update in ends.values()) == {BatchState.COMPLETED: 5000}
    finally:
        system.shutdown()


def check_order(make: Make) -> None:
    """Report what a job says in order, and before its end."""
    system = make()
    try:
        texts = [str(number) for number in range(100)]
        system.submit([job(7, "say", texts=texts)])
        news: list[BatchUpdate] = []
        while not any(update.state in FINAL for update in news):
            news += [update for update in system.updates(5) if update.state is not BatchState.RUNNING]
        assert [update.payload.decode() for update in news] == [*texts, "said"]
    finally:
        system.shutdown()


def check_sizes(make: Make) -> None:
    """Carry orders and reports of every size."""
    system = make()
    try:
        sizes = dict(enumerate((0, 1, 17, 4095, 65_536, 262_145, 1_048_577, 10_000_000)))
        system.submit([job(id, "echo", size=size, padding="p" * size) for id, size in sizes.items()])
        ends = collect(system, sizes)
        for id, size in sizes.items():
            assert ends[id].payload == str(size).encode() + b"." * size
    finally:
        system.shutdown()


def check_failing_executor(make: Make) -> None:
    """Report an exception that got through as a failure, and go on."""
    system = make()
    try:
        system.submit([job(1, "fail", text="broken on purpose"), job(2, "echo", text="fine")])
        ends = collect(system, [1, 2])
        assert ends[1].state is BatchState.ENDED
        assert ends[1].reason is Reason.FAILED
        assert "broken on purpose" in ends[1].message
        assert ends[2].payload == b"fine"
    finally:
        system.shutdown()


def check_cancel_waiting(make: Make) -> None:
    """Never start a job that was canceled while it waited; say so once."""
    system = make()
    try:
        system.submit([job(id, "sleep", seconds=0.1) for id in range(40)])
        system.cancel([38, 39])
        system.cancel([39, 1000])
        ends = collect(system, range(30, 40))
        assert {id for id, update in ends.items() if update.reason is Reason.CANCELED} == {38, 39}
    finally:
        system.shutdown()


def check_service(make: Make) -> None:
    """Run a service beside other jobs, hand messages both ways, until it is told to stop."""
    system = make()
    try:
        system.submit([job(1, "serve", service=True)])
        assert wait_for(system, 1, BatchState.MESSAGE).payload == b"ready"
        system.submit([job(id, "echo", text="x") for id in range(2, 50)])
        collect(system, range(2, 50))
        assert 1 in system.running()
        system.tell(1, b"you")
        assert wait_for(system, 1, BatchState.MESSAGE).payload == b"heard you"
        system.tell(1, b"stop")
        assert collect(system, [1])[1].payload == b"stopped"
        system.tell(1, b"too late")
    finally:
        system.shutdown()


def check_shutdown(make: Make) -> None:
    """Shut down with jobs waiting, twice, and before any job came."""
    make().shutdown()
    make().shutdown(leave=True)
    system = make()
    system.submit([job(id, "echo") for id in range(100)])
    system.shutdown()
    system.shutdown()


def check_impossible(make: Make) -> None:
    """Refuse what no machine here can ever meet, with what was asked for in the message."""
    system = make()
    refusal = ""
    try:
        system.check(Requirements())
        system.check(Requirements(cores=1_000_000))
    except RequirementError as error:
        refusal = str(error)
    finally:
        system.shutdown()
    assert "1e+06" in refusal or "1000000" in refusal, refusal
    assert "cores" in refusal


def check_dead_worker(make: Make) -> None:
    """Charge a worker's death to the job it was in, and to no other."""
    system = make()
    try:
        system.submit([job(id, "echo", text="x") for id in range(100)])
        collect(system, range(100))
        system.submit([job(200, "exit", status=3, printed="last words"), *(job(id, "echo", text="y") for id in range(201, 300))])
        ends = collect(system, range(200, 300))
        assert ends[200].reason is Reason.FAILED
        assert ends[200].exit_status == 3
        assert b"last words" in ends[200].log
        assert all(ends[id].payload == b"y" for id in range(201, 300))
        system.submit([job(300, "kill", number=int(signal.SIGSEGV))])
        end = collect(system, [300])[300]
        assert (end.reason, end.exit_status) == (Reason.KILLED, -signal.SIGSEGV)
        assert "SIGSEGV" in end.message
    finally:
        system.shutdown()


def check_cancel_running(make: Make) -> None:
    """End a running job together with its processes; say so once."""
    system = make()
    try:
        system.submit([job(1, "spawn", seconds=PATIENCE), job(2, "echo", text="x")])
        child = int(wait_for(system, 1, BatchState.MESSAGE).payload)
        system.cancel([1])
        end = collect(system, [1])[1]
        assert (end.state, end.reason) == (BatchState.ENDED, Reason.CANCELED)
        assert is_gone(child)
        assert 1 not in system.running()
    finally:
        system.shutdown()


def check_nothing_left(make: Make) -> None:
    """Leave no process of a job behind: neither after its end, nor after a shutdown in the middle of it."""
    system = make()
    try:
        system.submit([job(1, "spawn", seconds=0)])
        assert is_gone(int(collect(system, [1])[1].payload))
        system.submit([job(2, "spawn", seconds=PATIENCE)])
        child = int(wait_for(system, 2, BatchState.MESSAGE).payload)
        worker = system.running()[2].pid
    finally:
        system.shutdown()
    assert is_gone(child, 0.2)
    assert worker is not None
    assert is_gone(worker, 0.2)


def check_long_ones_are_announced(make: Make) -> None:
    """Say that a job runs which takes long, and where."""
    system = make()
    try:
        system.submit([job(1, "sleep", seconds=1.0)])
        update = wait_for(system, 1, BatchState.RUNNING)
        assert update.host
        seen = system.running()[1]
        assert seen.pid == update.pid
        assert abs(seen.since - time.time()) < PATIENCE
        collect(system, [1])
    finally:
        system.shutdown()


# What a batch system must be able to do for a check to make sense.
CHECKS: Final[dict[Callable[[Make], None], frozenset[str]]] = {
    check_each_once: frozenset(),
    check_many: frozenset(),
    check_order: frozenset(),
    check_sizes: frozenset(),
    check_failing_executor: frozenset(),
    check_cancel_waiting: frozenset(),
    check_service: frozenset(),
    check_shutdown: frozenset(),
    check_impossible: frozenset({"limits"}),
    check_dead_worker: frozenset({"processes"}),
    check_cancel_running: frozenset({"processes"}),
    check_nothing_left: frozenset({"processes"}),
    check_long_ones_are_announced: frozenset({"processes"}),
}


def check_batch_system(make: Make, abilities: Iterable[str] = ("limits", "processes")) -> list[str]:
    """Run every check that a batch system's abilities allow; return the names of those left out."""
    known = frozenset(abilities)
    for check, needed in CHECKS.items():
        if needed <= known:
            check(make)
    return [check.__name__ for check, needed in CHECKS.items() if not needed <= known]
