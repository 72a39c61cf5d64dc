"""Slurm itself: the contract, and its bad days."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cluster.slurm_server import Cluster, wait_until  # type: ignore[import-not-found]
from jobsys.batch.cluster.scheduler import PassingError, Scheduler, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import CHECKS, LONG, Bench, all_ended, all_run, ask, check_find, check_numbers, new_name, wait

ENDS = "case $number in 0) exit 0;; 1) exit 3;; 2) kill -TERM $$;; *) exec sleep 600;; esac"


def bench(cluster: "Cluster", **more: str) -> Bench:
    return Bench(lambda: cluster.scheduler(**more), cluster.folder, large=10_000)


def reasons(scheduler: Scheduler, native: str, count: int) -> list[object]:
    seen = scheduler.look({native: range(count)})
    return [(what.reason, what.exit_status) if (what := seen.get(TaskId(native, number))) else None for number in range(count)]


@pytest.fixture(scope="module")
def outcomes(slurm: "Cluster") -> "Iterator[dict[str, Future[None]]]":
    """Run the contract's checks side by side: they wait most of the time."""
    with ThreadPoolExecutor(6) as pool:
        yield {check.__name__: pool.submit(check, bench(slurm)) for check in CHECKS}


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_contract(outcomes: "dict[str, Future[None]]", check: str) -> None:
    outcomes[check].result()


@pytest.mark.parametrize("check", [check_numbers, check_find])
def test_contract_with_accounting(slurm_accounts: "Cluster", check: Callable[[Bench], None]) -> None:
    check(bench(slurm_accounts, TZ="Asia/Tokyo"))


@pytest.mark.parametrize("kind", ["slurm", "slurm_accounts"])
def test_what_the_controller_has_forgotten_is_known_elsewhere(kind: str, request: pytest.FixtureRequest) -> None:
    """To the file of finished jobs, or to accounting; neither midnight nor another time zone hides it."""
    cluster: Cluster = request.getfixturevalue(kind)
    a_bench = bench(cluster)
    scheduler = cluster.scheduler(TZ="Pacific/Kiritimati")
    asked = ask(a_bench, scheduler, ENDS, count=4)
    native = scheduler.submit(asked)
    wait(a_bench, scheduler, native, 4, lambda seen: all_ended(3)(seen) and all_run(1)(seen))
    scheduler.cancel({native: [3]})
    wait(a_bench, scheduler, native, 4, all_ended(4))
    expected = [(None, 0), (Reason.FAILED, 3), (Reason.KILLED, -15), (Reason.CANCELED, None)]
    assert reasons(scheduler, native, 4) == expected
    if kind == "slurm_accounts":  # which hears of it a little later, of each task by itself; what it has not heard dies with the controller
        states = ("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={native}", "--format=State")
        wait_until(lambda: sorted(cluster.call(*states).splitlines()) == ["CANCELLED by 0", "COMPLETED", "FAILED", "FAILED"])
    cluster.restart_without_memory()
    assert cluster.call("squeue", "--noheader", "--states=all") == ""
    wait_until(lambda: reasons(scheduler, native, 4) == expected)
    assert scheduler.find(asked.name) == native
    assert scheduler.find(new_name()) is None


def test_tasks_that_were_driven_out_or_whose_node_failed_are_not_to_blame(slurm: "Cluster") -> None:
    a_bench, scheduler = bench(slurm), slurm.scheduler()
    native = scheduler.submit(ask(a_bench, scheduler, LONG, count=6))
    wait(a_bench, scheduler, native, 6, all_run(6))
    slurm.call("scontrol", "update", "nodename=n3", "state=down", "reason=test")
    try:
        lost = wait(a_bench, scheduler, native, 6, all_ended(2))
        assert [what.reason for what in lost.values() if what.state is TaskState.ENDED] == [Reason.LOST] * 2
        with pytest.raises(AssertionError, match="ended with"):
            slurm.call("scontrol", "requeue", f"{native}_0,{native}_1")
        slurm.call("scontrol", "create", "partitionname=urgent", "nodes=n[1-2]", "prioritytier=10", "preemptmode=off")
        slurm.call("sbatch", "--partition=urgent", "--exclusive", "--nodes=1", "--output=/dev/null", "--wrap=exit 0")
        wait(a_bench, scheduler, native, 6, all_ended(4))
        found = [what[0] for what in reasons(scheduler, native, 6) if isinstance(what, tuple) and what[0]]
        assert sorted(found) == [Reason.LOST] * 2 + [Reason.PREEMPTED] * 2
    finally:
        wait_until(lambda: "down" not in slurm.call("sinfo", "--noheader", "--format=%T"))  # it comes back by itself
        scheduler.cancel({native: None})
        slurm.call("scancel", "--partition=urgent")
        wait_until(lambda: slurm.call("squeue", "--noheader") == "")
        slurm.call("scontrol", "delete", "partitionname=urgent")


def test_what_was_taken_although_the_answer_was_lost_is_found_by_name(slurm: "Cluster") -> None:
    a_bench, scheduler = bench(slurm), slurm.scheduler()
    scheduler.check(Requirements())  # lists partitions, so that only the submission is missed
    asked = ask(a_bench, scheduler, "exit 0")
    slurm.signal("slurmctld", signal.SIGSTOP)
    try:
        with pytest.raises(PassingError, match="timed out"):
            scheduler.submit(asked)
    finally:
        slurm.signal("slurmctld", signal.SIGCONT)
    wait_until(lambda: scheduler.find(asked.name) is not None)
    native = scheduler.find(asked.name)
    assert native is not None
    wait(a_bench, scheduler, native, 1, all_ended(1))


def test_a_controller_that_is_down_for_a_while_costs_no_task(slurm: "Cluster") -> None:
    a_bench, scheduler = bench(slurm), slurm.scheduler()
    native = scheduler.submit(ask(a_bench, scheduler, LONG, count=2))
    wait(a_bench, scheduler, native, 2, all_run(2))
    slurm.signal("slurmctld", signal.SIGTERM)
    try:
        with pytest.raises(PassingError, match="Unable to contact"):
            scheduler.look({native: [0]})
    finally:
        slurm.start("slurmctld")
    wait(a_bench, scheduler, native, 2, all_run(2))
    scheduler.cancel({native: None})
    wait(a_bench, scheduler, native, 2, all_ended(2))


def test_an_accounting_that_is_down_stops_nothing(slurm_accounts: "Cluster") -> None:
    a_bench, scheduler = bench(slurm_accounts), slurm_accounts.scheduler()
    slurm_accounts.signal("slurmdbd", signal.SIGTERM)
    try:
        native = scheduler.submit(ask(a_bench, scheduler, "exit 3"))
        assert wait(a_bench, scheduler, native, 1, all_ended(1))[0].exit_status == 3
        assert list(scheduler.look({native: [0], "99999999": [0]})) == [TaskId(native, 0)]
        with pytest.raises(PassingError):
            scheduler.find(new_name())
    finally:
        slurm_accounts.start("slurmdbd")


def test_what_no_node_has_is_told_with_what_there_is(slurm: "Cluster") -> None:
    scheduler = slurm.scheduler()
    assert scheduler.check(Requirements(cores=2, memory=1 << 30, walltime=86400)) == ""
    assert "the most that one has is 2 cores" in scheduler.check(Requirements(cores=3))
    assert scheduler.most == 10_001
