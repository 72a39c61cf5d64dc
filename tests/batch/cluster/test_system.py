"""What becomes of jobs whose tasks meet the troubles of a cluster."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from batch.cluster.places import abandon, system_over  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.base import BatchState
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import PassingError
from jobsys.batch.cluster.system import ClusterBatchSystem, Tasks
from jobsys.errors import BatchSystemError, RequirementError
from jobsys.events import Reason
from jobsys.jobstores import JobStore, keys
from jobsys.requirements import Requirements
from jobsys.testing.batch import collect, wait_for
from jobsys.testing.orders import job


@pytest.fixture
def system(store: JobStore, scheduler: PretendScheduler) -> Iterator[ClusterBatchSystem]:
    made = system_over(store, scheduler)
    yield made
    made.updates(0)  # as a leader does that has kept everything
    made.shutdown()
    assert [key for key in store.storage.list(keys.TASKS) if "/from/" not in key] == [] or any(
        part.jobs for wave in made._crew.waves.values() for part in wave.parts
    )


def test_only_the_job_that_ran_is_lost_with_its_task(system: ClusterBatchSystem, scheduler: PretendScheduler):
    system.submit([job(1, "sleep", seconds=60), job(2, "echo"), job(3, "echo")])
    running = wait_for(system, 1, BatchState.RUNNING)
    shown = system.running()[1]
    assert (shown.host, shown.native) == (running.host, "1")
    scheduler.strike(scheduler.running()[0], Reason.LOST)
    ends = collect(system, [1, 2, 3])
    assert (ends[1].state, ends[1].reason) == (BatchState.ENDED, Reason.LOST)
    assert "task 1 on " in ends[1].message
    assert "struck" in ends[1].message
    assert {ends[2].state, ends[3].state} == {BatchState.RETURNED}


@pytest.mark.parametrize("reason", [Reason.MEMORY, Reason.TIME_LIMIT, Reason.PREEMPTED])
def test_the_scheduler_says_why_a_task_ended(system: ClusterBatchSystem, scheduler: PretendScheduler, reason: Reason):
    system.submit([job(1, "sleep", seconds=60)])
    wait_for(system, 1, BatchState.RUNNING)
    scheduler.strike(scheduler.running()[0], reason)
    assert collect(system, [1])[1].reason is reason


def test_a_submission_whose_answer_was_lost_is_found_by_its_name(system: ClusterBatchSystem, scheduler: PretendScheduler):
    scheduler.lost_answer = True
    system.submit([job(1, "echo", text="once")])
    assert collect(system, [1])[1].payload == b"once"
    while "find" not in scheduler.calls:
        assert system.updates(0.1) == []
    assert scheduler.calls.count("submit") == 1


def test_a_scheduler_that_is_out_of_order_for_a_while_holds_nothing_up_for_good(system: ClusterBatchSystem, scheduler: PretendScheduler):
    scheduler.troubles.extend([PassingError("down"), PassingError("still down")])
    system.submit([job(1, "echo", text="late")])
    assert collect(system, [1])[1].payload == b"late"


def test_what_the_scheduler_refuses_fails_in_its_words(system: ClusterBatchSystem, scheduler: PretendScheduler):
    refused = job(1, "echo")
    system.submit([type(refused)(1, "refused", refused.requirements, refused.order), job(2, "echo", text="fine")])
    ends = collect(system, [1])
    assert (ends[1].reason, ends[1].message) == (Reason.FAILED, "no queue takes that: ask for less")


@pytest.mark.parametrize(("walltime", "asked", "tasks"), [(10.0, 80.0, 1), (90.0, 150.0, 2), (150.0, 150.0, 2)])
def test_tasks_keep_to_a_limit_of_time_that_their_jobs_keep_to(
    system: ClusterBatchSystem, scheduler: PretendScheduler, monkeypatch: pytest.MonkeyPatch, walltime: float, asked: float, tasks: int
):
    monkeypatch.setattr(scheduler, "check", lambda need: "too long" if need.walltime > 150 else "")
    need = Requirements(walltime=walltime)
    system.check(need)
    system.submit([job(id, "echo", requirements=need) for id in (1, 2)])
    assert {end.state for end in collect(system, [1, 2]).values()} == {BatchState.COMPLETED}
    assert [(ask.count, ask.requirements.walltime) for ask in scheduler.asked] == [(tasks, asked)]
    with pytest.raises(RequirementError, match="too long"):
        system.check(Requirements(walltime=151.0))


def test_a_task_gives_back_what_is_too_much_for_it(system: ClusterBatchSystem):
    system.submit([job(id, "sleep", seconds=50) for id in range(1, 41)])
    ends = collect(system, range(2, 41))
    assert {end.state for end in ends.values()} == {BatchState.RETURNED}
    assert list(system.running()) == [1]


def test_different_requirements_never_share_a_task(system: ClusterBatchSystem, scheduler: PretendScheduler):
    one, two = Requirements(cores=1), Requirements(cores=2)
    system.submit([job(id, "echo", requirements=one if id % 2 else two) for id in range(20)])
    collect(system, range(20))
    assert sorted(ask.requirements.cores for ask in scheduler.asked) == [1, 2]


def test_a_successor_runs_in_the_task_of_its_predecessor(system: ClusterBatchSystem, scheduler: PretendScheduler):
    for id in range(1, 5):
        system.submit([job(id, "echo", text="x")])
        collect(system, [id])
    assert len(scheduler.asked) == 1


def test_the_first_jobs_are_asked_for_as_soon_as_the_leader_has_no_more(system: ClusterBatchSystem, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system, "_clock", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(system, "_wait", forbidden)
    for id in (1, 2):
        system.submit([job(id, "echo", text="x")])
        assert system.updates(0) == []
        assert not system._crew.waves, "the leader did not wait: it may have more"
    with pytest.raises(RuntimeError, match="this would be a wait"):
        system.updates(1.0)
    assert [len(part.jobs) for wave in system._crew.waves.values() for part in wave.parts] == [2]
    system.submit([job(3, "echo", text="x")])
    with pytest.raises(RuntimeError, match="this would be a wait"):
        system.updates(1.0)
    assert len(system._crew.waves) == 1, "more may come of those that are out"
    monkeypatch.undo()
    collect(system, [1, 2, 3])


def forbidden(_: float) -> None:
    raise RuntimeError("this would be a wait")


def test_many_jobs_are_few_tasks_and_fewer_questions(system: ClusterBatchSystem, scheduler: PretendScheduler):
    system.submit([job(id, "echo", text="x") for id in range(3000)])
    assert len(collect(system, range(3000))) == 3000
    assert scheduler.calls.count("submit") == 1
    assert len(scheduler._processes) < 10  # the other tasks were emptied by those that ran


def test_the_next_leader_takes_over_what_runs_and_what_waits(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler, seconds=0)
    first.submit([job(id, "sleep", seconds=2) for id in range(1, 5)])
    wait_for(first, 1, BatchState.RUNNING)
    abandon(first)
    second = system_over(store, scheduler, seconds=0)
    try:
        adopted = second.adopt()
        assert len(adopted) == 4
        assert all(each.id < 0 for each in adopted)
        ends = collect(second, [each.id for each in adopted])
        assert {end.payload for end in ends.values()} == {b"slept"}
        assert scheduler.calls.count("submit") == 1
        second.updates(0)
    finally:
        second.shutdown()
    assert list(store.storage.list(keys.TASKS)) == []


def test_what_was_submitted_without_anybody_hearing_of_it_is_found_too(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler)

    def die(_: float) -> None:
        raise BatchSystemError("killed")

    first._clerk.rest = die  # the leader dies while it waits to ask again
    scheduler.lost_answer = True
    first.submit([job(1, "echo", text="kept")])
    with pytest.raises(BatchSystemError, match="killed"):
        collect(first, [1])
    abandon(first)
    second = system_over(store, scheduler)
    try:
        (adopted,) = second.adopt()
        assert collect(second, [adopted.id])[adopted.id].payload == b"kept"
    finally:
        second.shutdown()
    assert len(scheduler.asked) == 1


def test_tasks_that_cannot_reach_the_store_any_more_are_canceled(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler)
    first.submit([job(1, "sleep", seconds=60)])
    wait_for(first, 1, BatchState.RUNNING)
    abandon(first)
    second = system_over(store, scheduler, adoptable=False)
    assert second.adopt() == []
    deadline = time.monotonic() + 20
    while scheduler.running():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second.shutdown()


def test_canceled_and_shut_down_nothing_runs(store: JobStore, scheduler: PretendScheduler):
    system = system_over(store, scheduler, seconds=0)
    system.submit([job(id, "sleep", seconds=60) for id in range(6)])
    wait_for(system, 0, BatchState.RUNNING)
    system.cancel([4, 5])
    assert {end.reason for end in collect(system, [4, 5]).values()} == {Reason.CANCELED}
    system.shutdown()
    assert not scheduler.running()
    assert not scheduler._queued


def test_a_forged_letter_is_passed_over(system: ClusterBatchSystem, store: JobStore, scheduler: PretendScheduler, caplog):
    system.submit([job(1, "sleep", seconds=1)])
    wait_for(system, 1, BatchState.RUNNING)
    name = scheduler.asked[0].name
    store.storage.put(f"{keys.TASKS}from/{name}.0.00000099", b"x" * 100)
    store.storage.put(f"{keys.TASKS}from/nonsense", b"")
    assert collect(system, [1])[1].payload == b"slept"
    assert "does not bear the tag of its wave" in caplog.text


def test_tasks_that_end_before_they_say_a_word_end_the_run_with_what_they_printed(store: JobStore, tmp_path: Path):
    log = tmp_path / "log"
    log.mkdir()
    scheduler = PretendScheduler(4, log)
    office = Office(store.storage, keys.TASKS, store.key.wave)
    system = ClusterBatchSystem(scheduler, office, Tasks(lambda *_: "echo there is no Python; exit 3", 0, str(log)))
    system.submit([job(id, "echo") for id in range(4)])
    with pytest.raises(BatchSystemError, match=r"end before they can begin a job.*\(exit status 3\); it printed:\nthere is no Python"):
        collect(system, range(100))
    system.shutdown()
    scheduler.close()


def test_a_task_that_is_started_twice_runs_once(system: ClusterBatchSystem, scheduler: PretendScheduler, tmp_path: Path):
    system.submit([job(1, "sleep", seconds=2)])
    wait_for(system, 1, BatchState.RUNNING)
    twin = PretendScheduler(1, tmp_path)
    twin.submit(scheduler.asked[0])
    while twin.running():
        time.sleep(0.05)
    assert "was begun before" in (tmp_path / "1_0").read_text()
    assert collect(system, [1])[1].payload == b"slept"
    twin.close()


def test_a_scheduler_that_is_out_of_order_at_the_end_is_asked_again(store: JobStore, scheduler: PretendScheduler):
    system = system_over(store, scheduler)
    system.submit([job(1, "sleep", seconds=60)])
    wait_for(system, 1, BatchState.RUNNING)
    scheduler.troubles.extend([PassingError("down"), PassingError("down")])
    system.shutdown()
    assert not scheduler.running()


def test_tasks_that_were_emptied_before_their_submission_was_known_are_canceled(system: ClusterBatchSystem, scheduler: PretendScheduler):
    scheduler.lost_answer = True
    system.submit([job(id, "echo", text="x") for id in range(500)])
    collect(system, range(500))
    deadline = time.monotonic() + 20
    while scheduler._queued or scheduler.running():
        assert time.monotonic() < deadline
        system.updates(0.1)
