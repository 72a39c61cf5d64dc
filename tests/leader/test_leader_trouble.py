"""What fails beside the run must not end it, unless it goes on for long."""

from typing import Any

import pytest

from jobsys.batch.base import BatchState, BatchUpdate
from jobsys.clock import Clock
from jobsys.errors import StorageError
from jobsys.leader import leader as leader_module
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
