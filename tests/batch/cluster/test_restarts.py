"""What a leader leaves of its tasks, and what the next one makes of that."""

import threading
import time
from collections.abc import Iterable

import pytest

from batch.cluster.places import abandon, system_over  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.base import BatchState
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Wave
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import Ask, PassingError
from jobsys.batch.cluster.system import ClusterBatchSystem
from jobsys.errors import BatchSystemError, IntegrityError
from jobsys.events import Reason
from jobsys.jobstores import JobStore, keys
from jobsys.requirements import Requirements
from jobsys.testing.batch import collect, wait_for
from jobsys.testing.orders import job


def test_a_job_that_was_stopped_with_its_run_is_charged_nothing(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler)
    first.submit([job(1, "sleep", seconds=60), job(2, "echo")])
    wait_for(first, 1, BatchState.RUNNING)
    first.shutdown()
    second = system_over(store, scheduler)
    adopted = [each.id for each in second.adopt()]
    ends = collect(second, adopted)
    assert {end.state for end in ends.values()} == {BatchState.RETURNED}
    second.updates(0)
    second.shutdown()
    assert list(store.storage.list(keys.TASKS)) == []


def test_what_was_finished_before_a_kill_is_not_run_again(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler)
    first.submit([job(1, "echo", text="kept")])
    while not scheduler._processes:
        first.updates(0.01)
    while scheduler.running():
        time.sleep(0.05)
    abandon(first)
    office = Office(store.storage, keys.TASKS, store.key.wave)
    (record,) = adopting.records(office)
    adopting.cancel(office, scheduler, record)
    assert [each.canceled for each in adopting.records(office)] == [True]
    second = system_over(store, scheduler)
    (adopted,) = second.adopt()
    assert collect(second, [adopted.id])[adopted.id].payload == b"kept"
    second.shutdown()


def test_jobs_that_were_taken_out_of_a_task_are_not_looked_for_there(store: JobStore, scheduler: PretendScheduler):
    scheduler.slots = 0
    first = system_over(store, scheduler, seconds=0)
    first.submit([job(1, "echo"), job(2, "echo", text="left")])
    while not all(wave.native for wave in first._crew.waves.values()) or not first._crew.waves:
        first.updates(0.1)
    first._office.claim(scheduler.asked[0].name, 0)
    abandon(first)
    second = system_over(store, scheduler, seconds=0)
    (adopted,) = second.adopt()
    while scheduler._queued and scheduler._queued[0][0].number == 0:
        second.updates(0.1)
    scheduler.slots = 2
    assert collect(second, [adopted.id])[adopted.id].payload == b"left"
    second.shutdown()


@pytest.mark.parametrize("forged", ["begun/nonsense", "to/nonsense/1", "to/7/00000001"])
def test_strange_names_among_what_was_left_change_nothing(store: JobStore, scheduler: PretendScheduler, forged: str):
    scheduler.slots = 0
    first = system_over(store, scheduler)
    first.submit([job(1, "echo")])
    while "submit" not in scheduler.calls:
        first.updates(0.05)
    abandon(first)
    store.storage.put(f"{keys.WAVES}{scheduler.asked[0].name}/{forged}", b"x")
    second = system_over(store, scheduler)
    assert len(second.adopt()) == 1
    second.shutdown()


def test_a_task_that_was_told_what_cannot_be_believed_is_given_up(store: JobStore, scheduler: PretendScheduler, caplog):
    scheduler.slots = 0
    first = system_over(store, scheduler)
    first.submit([job(1, "echo")])
    while "submit" not in scheduler.calls:
        first.updates(0.05)
    abandon(first)
    store.storage.put(f"{keys.WAVES}{scheduler.asked[0].name}/to/0/00000001", b"x" * 50)
    second = system_over(store, scheduler)
    assert second.adopt() == []
    assert not scheduler._queued
    assert "given up" in caplog.text
    assert list(store.storage.list(keys.TASKS)) == []
    second.shutdown()


def test_orders_go_before_the_claim_and_the_record_last(store: JobStore, monkeypatch: pytest.MonkeyPatch):
    office = Office(store.storage, keys.TASKS, store.key.wave)
    office.write_orders("w", [b""])
    office.write_record("w", b"")
    office.claim("w", 0)
    deleted: list[str] = []
    delete = store.storage.delete

    def watched(keys: Iterable[str]) -> None:
        deleted.extend(each := list(keys))
        delete(each)

    monkeypatch.setattr(store.storage, "delete", watched)
    office.close("w")
    assert [key.rpartition("wave/w/")[2] for key in deleted] == ["orders", "begun/0", "record"]


def test_two_leaders_write_no_letter_over_each_others(store: JobStore):
    office = Office(store.storage, keys.TASKS, store.key.wave)
    office.write("w", 0, 1, b"one")
    office.write("w", 0, 1, b"one")  # the answer to the first was lost
    with pytest.raises(IntegrityError, match="another leader"):
        office.write("w", 0, 1, b"other")


def test_a_leader_that_leaves_cancels_nothing(store: JobStore, scheduler: PretendScheduler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scheduler, "close", lambda: None)
    first = system_over(store, scheduler)
    first.submit([job(1, "sleep", seconds=3)])
    wait_for(first, 1, BatchState.RUNNING)
    first.shutdown(leave=True)
    first.shutdown()
    second = system_over(store, scheduler)
    (adopted,) = second.adopt()
    assert collect(second, [adopted.id])[adopted.id].payload == b"slept"
    second.shutdown()
    assert "cancel" not in scheduler.calls[: scheduler.calls.index("submit") + 2]


def test_tasks_that_nobody_needs_before_their_submission_is_known_end_with_the_run(store: JobStore, scheduler: PretendScheduler):
    scheduler.slots = 0
    system = system_over(store, scheduler)
    system.submit([job(1, "echo")])
    while "submit" not in scheduler.calls:
        system._turn()
    while not system._natives:
        time.sleep(0.01)
    (wave,) = system._crew.waves.values()
    for part in wave.parts:  # another task has taken its jobs
        system._crew.strike(part, [])
    system._over += system._crew.bury(0.0)
    system._acknowledge()
    system.shutdown()
    assert "cancel" in scheduler.calls
    assert list(store.storage.list(keys.TASKS)) == []


def test_a_scheduler_that_does_the_unexpected_ends_the_run_with_a_word(store: JobStore, scheduler: PretendScheduler):
    scheduler.troubles.append(KeyError("JobState"))
    system = system_over(store, scheduler)
    system.submit([job(1, "echo")])
    with pytest.raises(BatchSystemError, match="JobState"):
        collect(system, [1])
    system.shutdown()


def test_a_job_that_is_canceled_before_its_submission_is_known_leaves_the_queue(store: JobStore, scheduler: PretendScheduler):
    scheduler.slots = 0
    scheduler.troubles.append(PassingError("busy"))
    system = system_over(store, scheduler)
    system.submit([job(1, "echo")])
    while not system._crew.waves:
        system._turn()
    system.cancel([1])
    assert collect(system, [1])[1].reason is Reason.CANCELED
    assert not scheduler._queued
    system.shutdown()


def ask(system: ClusterBatchSystem) -> None:
    """Have tasks asked for, and wait until that is done."""
    while not system._asked:
        system._turn()
    done = threading.Event()
    system._clerk.give(done.set)
    assert done.wait(20)


def test_a_leader_that_was_replaced_asks_for_nothing_more(store: JobStore, scheduler: PretendScheduler):
    first = system_over(store, scheduler)
    first._tasks = first._tasks._replace(replaced=lambda: True)
    first.submit([job(1, "echo")])
    ask(first)
    first.shutdown(leave=True)
    assert "submit" not in scheduler.calls
    assert list(store.storage.list(keys.TASKS)) == []


def test_tasks_that_the_next_leader_has_given_up_before_they_were_in_the_queue_are_canceled(store: JobStore, scheduler: PretendScheduler):
    scheduler.slots = 0
    first = system_over(store, scheduler)
    submit = scheduler.submit

    def slow(ask: Ask) -> str:
        assert system_over(store, scheduler).adopt() == []  # finds none by that name
        return submit(ask)

    scheduler.submit = slow
    first.submit([job(1, "echo")])
    ask(first)
    first.shutdown(leave=True)
    assert scheduler.asked
    assert not scheduler._queued
    assert list(store.storage.list(keys.TASKS)) == []


def test_tasks_that_come_into_the_queue_while_they_are_given_up_are_canceled(store: JobStore, scheduler: PretendScheduler):
    office = Office(store.storage, keys.TASKS, store.key.wave)
    late = Wave(Ask("late", 1, Requirements(), ""))
    office.write_record("late", adopting.record(late, scheduler.name, ""))
    close = office.close

    def slow(wave: str) -> None:
        close(wave)
        scheduler.slots = 0
        scheduler.submit(late.ask)

    office.close = slow  # type: ignore[method-assign]
    assert adopting.left(office, scheduler, True) == []
    assert scheduler.asked
    assert not scheduler._queued
