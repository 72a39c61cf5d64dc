"""What fails beside the run must not end it, unless it goes on for long."""

from typing import Any

import pytest

from jobsys.batch.base import BatchState, BatchUpdate, RunningJob
from jobsys.clock import Clock
from jobsys.errors import StorageError
from jobsys.leader import leader as leader_module
from jobsys.message import Said, encode_message
from jobsys.record import Blob, JobRecord
from scripted import done, lead  # type: ignore[import-not-found]


class Stepping(Clock):
    """Each look at it takes a second."""

    now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def refuse(store, monkeypatch, name, times):
    """Let so many calls of a method of the store fail."""
    calls: list[str] = []
    real = getattr(type(store), name)

    def refusing(self, *args, **kwargs):
        calls.append(name)
        if len(calls) <= times:
            raise StorageError("the file server does not answer")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(store), name, refusing)
    return calls


@pytest.mark.parametrize("name", ["beat", "write_status", "asked_to_stop", "write_snapshot"])
def test_what_is_no_part_of_the_outcome_may_fail_for_a_while(name, store, monkeypatch, caplog):
    monkeypatch.setattr(leader_module, "SNAPSHOT_EVERY", -100)
    leader, _ = lead(store, lambda job, order: [done(job, order)], ["a"] * 20)
    leader._clock = Stepping()
    calls = refuse(store, monkeypatch, name, 2)
    leader.run()
    assert leader.progress.finished
    assert calls
    assert caplog.text.count("the file server does not answer; the run goes on") == 1


def test_a_heart_that_can_not_beat_for_long_ends_the_run(store, monkeypatch):
    leader, _ = lead(store, lambda job, order: [])
    leader._clock = Stepping()
    calls = refuse(store, monkeypatch, "beat", 10**6)
    with pytest.raises(StorageError, match="does not answer"):
        leader.run()
    assert leader._clock.now > leader_module.PATIENCE
    assert len(calls) > 3


def test_a_state_that_nobody_knows_is_told_and_changes_nothing(store, caplog):
    def react(job, order):
        strange: Any = "hibernating"
        return [BatchUpdate(job.id, strange), done(job, order), BatchUpdate(job.id, BatchState.ENDED)]

    leader, _ = lead(store, react)
    leader.run()
    assert leader.progress.finished
    assert "job 1: the batch system says 'hibernating', an unknown state" in caplog.text


class Serving:
    """A client whose child finds no room before ``room`` says so, beside a service that stops when ``stops`` says so."""

    def __init__(self, store, room, stops):
        self.clock = Stepping()
        self.room, self.stops = room, stops
        self.waiting: list[Any] = []
        service = JobRecord("service", Blob(0, 0, 1), child_of=(), service_of=0)
        child = JobRecord("child", Blob(0, 0, 1), child_of=(0,), refs=(1,))
        self.leader, self.batch = lead(store, self.react, [JobRecord("client", Blob(0, 0, 1)), service, child])
        self.leader._clock = self.clock
        self.told = 0.0
        self.batch.tell = self.tell
        updates = self.batch.updates
        self.batch.updates = lambda timeout: self.look() or updates(timeout)

    def react(self, job, order):
        if order.service:
            self.service = (job, order)
            self.batch.running_now[job.id] = RunningJob("h", 1, 0.0)
            said = Said(order.job, order.attempt, service_value=Blob(0, 0, 4))
            return [BatchUpdate(job.id, BatchState.MESSAGE, encode_message(said, b"addr"))]
        if order.name == "child":
            self.waiting.append((job, order))
            return []
        return [done(job, order)]

    def tell(self, id, message):
        self.told = self.clock.now

    def look(self):
        if self.waiting and self.room(self.clock):
            self.batch.news.append(done(*self.waiting.pop()))
        if self.told and self.stops(self.clock.now - self.told):
            self.told = 0.0
            self.batch.news.append(done(*self.service, b""))


def test_clients_that_find_no_room_beside_their_services_end_the_run(store):
    serving = Serving(store, room=lambda clock: False, stops=lambda since: True)
    serving.leader.run()
    assert "only services run" in serving.leader.deadlocked()
    assert serving.clock.now < 5 * leader_module.DEADLOCK_AFTER


def test_a_service_that_takes_long_to_stop_is_no_deadlock(store):
    serving = Serving(store, room=lambda clock: True, stops=lambda since: since > 10 * leader_module.DEADLOCK_AFTER)
    serving.leader.run()
    assert serving.leader.progress.finished


def test_a_leader_that_was_stopped_for_long_sees_no_deadlock(store):
    """As by SIGSTOP, or by closing a laptop, just when only services run and their client is about to begin."""

    def room(clock):
        slept.append(clock.now)
        if len(slept) == 3:
            clock.now += 10 * leader_module.DEADLOCK_AFTER
        return len(slept) > 5

    slept: list[float] = []
    serving = Serving(store, room=room, stops=lambda since: True)
    serving.leader.run()
    assert serving.leader.progress.finished


def test_clients_that_wait_in_a_clusters_queue_are_no_deadlock(store):
    serving = Serving(store, room=lambda clock: clock.now > 20 * leader_module.DEADLOCK_AFTER, stops=lambda since: True)
    serving.batch.shared = True
    serving.leader.run()
    assert serving.leader.progress.finished
