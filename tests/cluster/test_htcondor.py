"""HTCondor itself: the contract of schedulers, and what becomes of jobs that somebody interferes with. `make test-htcondor` runs it."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.condor_server import CORES, Condor  # type: ignore[import-not-found]
from jobsys.batch.cluster.commands import CommandScheduler
from jobsys.batch.cluster.htcondor import HTCondor
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import CHECKS, Bench

pytestmark = [pytest.mark.htcondor, pytest.mark.timeout(120, func_only=True)]  # what starts a pool has limits of its own
PATIENCE = 60.0


@pytest.fixture
def make(condor: Condor) -> Callable[..., CommandScheduler]:
    def made(**options: str) -> CommandScheduler:
        return CommandScheduler(HTCondor({"prefix": str(condor.tools), **options}))

    return made


@pytest.fixture
def open_folder(condor: Condor) -> Iterator[Path]:
    """Give a directory in which this process and the jobs, which are another user's, both can write."""
    before = os.umask(0)
    folder = condor.home / uuid.uuid4().hex[:8]
    folder.mkdir()
    yield folder
    os.umask(before)
    assert list(condor.home.glob(".local/state/jobsys/htcondor/*")) == [], "scripts are left"


def ask(script: str, count: int = 1, **asked: Any) -> Ask:
    requirements = Requirements(**{"memory": 20 << 20, **asked})
    return Ask(f"jobsys-{uuid.uuid4().hex[:12]}", count, requirements, script)


def until(scheduler: CommandScheduler, native: str, so: Callable[[dict[int, Seen]], bool], count: int = 1) -> dict[int, Seen]:
    deadline = time.monotonic() + PATIENCE
    while not so(seen := {task.number: what for task, what in scheduler.look({native: range(count)}).items()}):
        assert time.monotonic() < deadline, f"{native} is still so: {seen}"
        time.sleep(0.2)
    return seen


def ended(seen: dict[int, Seen]) -> bool:
    return bool(seen) and all(each.state is TaskState.ENDED for each in seen.values())


def running(seen: dict[int, Seen]) -> bool:
    return bool(seen) and all(each.state is TaskState.RUNNING for each in seen.values())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[Bench], None], make: Callable[..., CommandScheduler], open_folder: Path) -> None:
    check(Bench(make, open_folder, Requirements(memory=20 << 20, walltime=600.0), crowd=3 * CORES))


def test_the_script_is_private_and_deleted_at_the_end(make: Callable[..., CommandScheduler], open_folder: Path) -> None:
    scheduler = make(directory=str(open_folder / "a b"))
    native = scheduler.submit(ask("exit 0"))
    (path,) = (open_folder / "a b").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    until(scheduler, native, ended)
    assert not path.exists()


def test_an_evicted_job_is_not_started_again(make: Callable[..., CommandScheduler], condor: Condor, open_folder: Path) -> None:
    scheduler = make()
    native = scheduler.submit(ask(f"echo x >>{open_folder}/starts\nexec sleep 600"))
    until(scheduler, native, lambda seen: running(seen) and (open_folder / "starts").exists())
    condor.run("condor_vacate_job", "-fast", native)
    assert until(scheduler, native, ended)[0].reason is Reason.PREEMPTED
    until(scheduler, scheduler.submit(ask("exit 0")), ended)  # so one round of the negotiator has passed it by
    assert (open_folder / "starts").read_text() == "x\n"
    scheduler.cancel({native: None})


def test_a_job_that_runs_for_too_long_is_removed(make: Callable[..., CommandScheduler], condor: Condor, open_folder: Path) -> None:
    scheduler = make(directory=str(open_folder))
    native = scheduler.submit(ask("exec sleep 600", walltime=1.0))
    assert until(scheduler, native, ended)[0].reason is Reason.TIME_LIMIT
    deadline = time.monotonic() + PATIENCE
    while condor.run("condor_q", "-af", "ProcId", "-constraint", f"ClusterId == {native}"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert scheduler.look({native: [0]})[TaskId(native, 0)].reason is Reason.TIME_LIMIT
    assert list(open_folder.iterdir()) == []


def test_what_people_do_to_jobs(make: Callable[..., CommandScheduler], condor: Condor) -> None:
    scheduler = make()
    native = scheduler.submit(ask("exec sleep 600", count=2))
    until(scheduler, native, running, 2)
    waits = scheduler.submit(ask("exit 0", cores=10 * CORES))
    condor.run("condor_hold", waits)
    condor.run("condor_hold", f"{native}.0")
    condor.run("condor_rm", f"{native}.1")
    seen = until(scheduler, native, ended, 2)
    assert [(each.reason, each.message) for _, each in sorted(seen.items())] == [
        (Reason.CANCELED, "via condor_hold (by user condor-test)"),
        (Reason.CANCELED, "via condor_rm (by user condor-test)"),
    ]
    assert scheduler.look({waits: [0]})[TaskId(waits, 0)] == Seen(TaskState.QUEUED, message="via condor_hold (by user condor-test)")
    scheduler.cancel({waits: None, native: None})


def test_a_job_without_its_script_is_lost(make: Callable[..., CommandScheduler], open_folder: Path) -> None:
    scheduler = make(directory=str(open_folder))
    native = scheduler.submit(ask("exit 0"))
    (path,) = open_folder.iterdir()
    path.unlink()
    seen = until(scheduler, native, ended)[0]
    assert seen.reason is Reason.LOST
    assert "No such file" in seen.message
    scheduler.cancel({native: None})


def test_what_is_refused(make: Callable[..., CommandScheduler], open_folder: Path) -> None:
    with pytest.raises(AskRefusedError, match="Parse error in expression"):
        make(requirements="Memory > (", directory=str(open_folder)).submit(ask("exit 0"))
    assert list(open_folder.iterdir()) == []
    with pytest.raises(AskRefusedError, match="directory=PATH"):
        make(directory="/proc/none").submit(ask("exit 0"))
    scheduler = make()
    scheduler.learn()
    assert scheduler.most == 1000
    assert scheduler.check(Requirements()) == ""
    assert "have up to 4 cores" in scheduler.check(Requirements(cores=5))
    assert "have up to 4 cores" in scheduler.check(Requirements(accelerators=1))
    assert make(elastic="yes").check(Requirements(cores=5)) == ""


def test_a_schedd_that_is_not_there(make: Callable[..., CommandScheduler], condor: Condor, open_folder: Path) -> None:
    files = (f"_CONDOR_SCHEDD_{file}=/none" for file in ("ADDRESS_FILE", "SUPER_ADDRESS_FILE", "DAEMON_AD_FILE"))
    nowhere = " ".join(("_CONDOR_COLLECTOR_HOST=127.0.0.1:9", *files))
    scheduler = make(prefix=f"{condor.tools} env {nowhere}", directory=str(open_folder))  # it keeps the script of a job that may be there
    for call in (
        lambda: scheduler.submit(ask("exit 0")),
        lambda: scheduler.find("some-name"),
        lambda: scheduler.look({"1": [0]}),
        lambda: scheduler.cancel({"1": None}),
    ):
        with pytest.raises(PassingError, match="HTCondor"):
            call()
    assert scheduler.check(Requirements(cores=5)) == ""
