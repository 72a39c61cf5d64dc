"""A real Dask cluster: the contract, and what Dask does when workers, scheduler and leader fail."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.dask_server import THREADS, Cluster, cluster  # type: ignore[import-not-found]
from jobsys.batch.cluster.dask import DaskScheduler
from jobsys.batch.cluster.scheduler import Ask, PassingError, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import LONG, Bench, ask, check_scheduler, new_name, wait

Make = Callable[..., DaskScheduler]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make schedulers that hang up at the end."""
    made: list[DaskScheduler] = []

    def of(which: Cluster, seconds: float = 30.0, **options: str) -> DaskScheduler:
        made.append(DaskScheduler({"scheduler": str(which.file), **options}, seconds))
        return made[-1]

    yield of
    for scheduler in made:
        scheduler.close()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a cluster that a test may break, with one worker of one thread."""
    with cluster(tmp_path / "dask") as made:
        made.worker("one", threads=1)
        yield made


def running(seen: Mapping[int, Seen]) -> bool:
    return 0 in seen and seen[0].state is TaskState.RUNNING


def ended(seen: Mapping[int, Seen]) -> bool:
    return bool(seen) and all(what.state is TaskState.ENDED for what in seen.values())


def appears(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def goes(pid: int) -> None:
    deadline = time.monotonic() + 30
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{pid} runs on"
            time.sleep(0.05)


def starts(path: Path) -> str:
    """Write what a script notes at each of its starts, with its number of process."""
    return f"echo $$ >> {shlex.quote(str(path))}"


def test_the_contract(dask_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    bench = Bench(lambda: make(dask_cluster), folder=tmp_path, crowd=3 * THREADS, large=1000)
    assert check_scheduler(bench) == []


def test_accelerators_are_waited_for_where_they_are(dask_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    scheduler = make(dask_cluster)
    bench = Bench(lambda: scheduler, requirements=Requirements(accelerators=1))
    while "no worker" in scheduler.check(Requirements(accelerators=1)):
        time.sleep(0.05)  # until the worker has come that has one
    native = scheduler.submit(ask(bench, scheduler, "sleep 0.3", count=2))
    seen = wait(bench, scheduler, native, 2, lambda seen: any(what.state is TaskState.RUNNING for what in seen.values()))
    assert sorted(what.state for what in seen.values()) == [TaskState.QUEUED, TaskState.RUNNING]
    wait(bench, scheduler, native, 2, ended)
    assert scheduler.check(Requirements(accelerators=1, cores=64)) == ""
    assert "GPU=2" in scheduler.check(Requirements(accelerators=2))


def test_a_task_is_ended_when_its_time_is_over(dask_cluster: Cluster, make: Make) -> None:
    scheduler = make(dask_cluster)
    bench = Bench(lambda: scheduler, requirements=Requirements(walltime=0.5))
    native = scheduler.submit(ask(bench, scheduler, LONG))
    assert wait(bench, scheduler, native, 1, ended)[0].reason is Reason.TIME_LIMIT


def test_a_failure_says_what_was_printed_and_no_log_shows_the_script(dask_cluster: Cluster, make: Make) -> None:
    scheduler = make(dask_cluster)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, "password=hunter2", "echo what went wrong >&2", "exit 3"))
    seen = wait(bench, scheduler, native, 1, ended)[0]
    assert (seen.reason, seen.exit_status, seen.message) == (Reason.FAILED, 3, "what went wrong")
    log = dask_cluster.folder / "log"
    while "Compute Failed" not in log.read_text(errors="replace"):
        time.sleep(0.05)
    assert "hunter2" not in log.read_text(errors="replace")


def test_a_worker_that_is_killed_takes_its_task_along_and_nobody_runs_it_again(own_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    scheduler = make(own_cluster)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, starts(tmp_path / "pids"), "trap '' TERM", "sleep 600 & wait; wait", count=2))
    wait(bench, scheduler, native, 2, running)
    pid = int(appears(tmp_path / "pids"))
    own_cluster.processes[-1].kill()
    seen = wait(bench, scheduler, native, 2, lambda seen: seen[0].state is TaskState.ENDED)
    assert (seen[0].reason, seen[1].state) == (Reason.LOST, TaskState.QUEUED)
    own_cluster.worker("two", threads=1)
    wait(bench, scheduler, native, 2, lambda seen: seen[1].state is TaskState.RUNNING)
    scheduler.cancel({native: None})
    wait(bench, scheduler, native, 2, ended)
    assert len((tmp_path / "pids").read_text().split()) == 2, "one for each task"
    goes(pid)  # its guard gave it the seconds that any script has


def test_a_worker_that_is_told_to_close_loses_its_task_and_nobody_runs_it_again(own_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    scheduler = make(own_cluster)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, starts(tmp_path / "pids"), LONG))
    wait(bench, scheduler, native, 1, running)
    pid = int(appears(tmp_path / "pids"))
    own_cluster.worker("two", threads=1)
    own_cluster.processes[1].terminate()
    assert wait(bench, scheduler, native, 1, ended)[0].reason is Reason.LOST
    goes(pid)
    other = scheduler.submit(ask(bench, scheduler, "exit 0"))
    wait(bench, scheduler, other, 1, ended)  # which the new worker would not do before what it was given first
    assert len((tmp_path / "pids").read_text().split()) == 1


def test_tasks_that_have_ended_are_not_run_again_when_their_worker_dies(own_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    scheduler = make(own_cluster)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, starts(tmp_path / "pids"), count=3))
    wait(bench, scheduler, native, 3, ended)
    own_cluster.processes[-1].kill()
    own_cluster.worker("two", threads=1)
    other = scheduler.submit(ask(bench, scheduler, "exit 0"))
    wait(bench, scheduler, other, 1, ended)
    assert len((tmp_path / "pids").read_text().split()) == 3
    assert all(what.reason is None for what in scheduler.look({native: range(3)}).values())


LEADER = """
import os, signal, sys
from jobsys.batch.cluster.dask import DaskScheduler
from jobsys.batch.cluster.scheduler import Ask
from jobsys.requirements import Requirements

class Hasty(DaskScheduler):
    def _ask(self, what, *arguments):
        if what == "keep" and sys.argv[4] == "before they are kept":
            while not super()._ask("find", sys.argv[2]):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._ask(what, *arguments)

Hasty({"scheduler": sys.argv[1]}).submit(Ask(sys.argv[2], 2, Requirements(), sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "reason"), [("before they are kept", Reason.LOST), ("after that", None)])
def test_tasks_outlive_their_leader_once_they_are_kept(dask_cluster: Cluster, make: Make, when: str, reason: Reason | None) -> None:
    name = new_name()
    done = subprocess.run([sys.executable, "-c", LEADER, str(dask_cluster.file), name, "sleep 1", when], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    scheduler = make(dask_cluster)
    native = scheduler.find(name)
    assert native is not None
    seen = wait(Bench(lambda: scheduler), scheduler, native, 2, ended)
    assert [what.reason for what in seen.values()] == [reason, reason]


def test_a_scheduler_that_is_stopped_or_gone_may_come_back(own_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    scheduler = make(own_cluster, 1.0)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, starts(tmp_path / "pids"), LONG))
    wait(bench, scheduler, native, 1, running)
    own_cluster.processes[0].send_signal(signal.SIGSTOP)
    with pytest.raises(PassingError, match="does not answer"):
        scheduler.look({native: [0]})
    own_cluster.processes[0].send_signal(signal.SIGCONT)
    wait(bench, scheduler, native, 1, running)
    own_cluster.processes[0].kill()
    own_cluster.processes[0].wait()
    for do in (lambda: scheduler.look({native: [0]}), lambda: scheduler.find(native), lambda: scheduler.cancel({native: None})):
        with pytest.raises(PassingError, match="does not answer"):
            do()
    with pytest.raises(PassingError, match="does not answer"):
        scheduler.submit(Ask(new_name(), 1, Requirements(), "exit 0"))
    goes(int((tmp_path / "pids").read_text()))  # the worker ends itself, and its task
    own_cluster.file.unlink()
    with pytest.raises(PassingError, match="no scheduler file"):
        scheduler.find(native)
    own_cluster.scheduler()
    assert scheduler.find(native) is None
    assert scheduler.look({native: [0]}) == {}


def test_a_cluster_that_is_restarted_has_lost_what_ran(own_cluster: Cluster, make: Make, tmp_path: Path) -> None:
    """Dask's own client is told to start all workers anew."""
    import distributed

    own_cluster.start("dask_worker", "--scheduler-file", str(own_cluster.file), "--nworkers", "1", "--nthreads", "1", "--name", "nanny")
    own_cluster.processes[1].terminate()
    scheduler = make(own_cluster)
    bench = Bench(lambda: scheduler)
    native = scheduler.submit(ask(bench, scheduler, starts(tmp_path / "pids"), LONG, count=2))
    wait(bench, scheduler, native, 2, running)
    with distributed.Client(own_cluster.address, set_as_default=False) as client:
        client.restart()
    seen = wait(bench, scheduler, native, 2, ended)
    assert [what.reason for what in seen.values()] == [Reason.LOST] * 2
    goes(int(appears(tmp_path / "pids")))
    assert TaskId(native, 0) in scheduler.look({native: [0]})
