"""Commits that workers saved when they had no leader: taken in once, or thrown away whole."""

import pytest

from jobsys.errors import StorageError
from jobsys.events import Committed, Policy, Reason
from jobsys.jobstores import JobStore
from jobsys.message import Failure, Report, encode_message
from jobsys.record import Blob
from jobsys.sealing import sign
from jobsys.storage.faulty import Fault, FaultyStorage
from scripted import done, ended, journaled, lead  # type: ignore[import-not-found]


def put(store, report, payload=b""):
    """Leave a commit as a worker does that was given an attempt."""
    store.put_commit(report.job, report.token, sign(store.key.attempt(report.job, report.token), encode_message(report, payload)))


def test_commits_left_by_workers_are_taken_in(store):
    leader, batch = lead(store, lambda job, order: [])
    leader.cancel("first")
    leader.run()
    order = batch.orders[0] if batch.orders else None
    assert order is None or order.job == 1
    report = Report(1, 1, 0.0, 0.0, "1-owner1.1", value=Blob.of(b"left"))
    put(store, report, b"left")
    leader, batch = lead(store, lambda job, order: pytest.fail("it ran again"), epoch=2)
    leader.run()
    assert leader.progress.finished
    assert list(store.commits()) == []
    value = leader.progress.values_for((0,))[1]
    assert store.read(value.blob) == b"left"


def test_a_left_commit_of_a_job_that_is_done_is_thrown_away(store):
    leader, _ = lead(store, lambda job, order: [done(job, order, b"won")])
    leader.run()
    put(store, Report(1, 1, 0.0, 0.0, "1-owner1.1", value=Blob.of(b"lost")), b"lost")
    leader, _ = lead(store, lambda job, order: pytest.fail("it ran again"), epoch=2)
    value = leader.progress.values_for((0,))[1]
    assert store.read(value.blob) == b"won"
    assert list(store.commits()) == []
    assert len(journaled(store, Committed)) == 2


def leave(store, token, value, **fields):
    """Have a worker whose leader is gone leave a commit and a file."""
    with store.write_file(1, token, "result"):
        pass
    report = Report(1, 1, 0.0, 0.0, token, value=Blob.of(value), **fields)
    put(store, report, value)


def test_the_commit_of_an_attempt_that_was_given_up_comes_too_late(store):
    """Its files are deleted already, so it must not count, although the job has no other commit yet."""
    leader, batch = lead(store, lambda job, order: [ended(job, Reason.LOST)], policy=Policy(backoff=100.0, max_losses=0))
    leader.run()
    leave(store, batch.orders[0].token, b"late")
    leader, batch = lead(store, lambda job, order: [done(job, order, b"again")], epoch=2)
    leader.run()
    assert store.read(leader.progress.values_for((0,))[1].blob) == b"again"
    assert list(store.storage.list("files/")) == []


def test_a_left_commit_that_was_taken_in_before_keeps_its_files(store):
    """The leader that took it in died before it deleted it."""
    lead(store, lambda job, order: [])
    leave(store, "1-owner1.1", b"v")
    [(key, data)] = store.commits()
    leader, _ = lead(store, lambda job, order: pytest.fail("it ran again"), epoch=2)
    store.storage.put(key, data)
    leader, _ = lead(store, lambda job, order: pytest.fail("it ran again"), epoch=3)
    assert leader.progress.finished
    assert len(list(store.storage.list("files/"))) == 1
    assert list(store.commits()) == []


def test_a_left_commit_of_a_job_that_another_attempt_did_leaves_nothing(store):
    lead(store, lambda job, order: [done(job, order, b"won")])[0].run()
    leave(store, "1-owner1.99", b"lost")
    lead(store, lambda job, order: pytest.fail("it ran again"), epoch=2)
    assert list(store.storage.list("files/")) == []


def test_a_failure_is_no_commit(store):
    lead(store, lambda job, order: [])
    put(store, Report(1, 1, 0.0, 0.0, "1-owner1.1", failure=Failure("failed", "went wrong")))
    leader, batch = lead(store, lambda job, order: [done(job, order)], epoch=2)
    leader.run()
    assert [order.job for order in batch.orders] == [1]


def test_a_left_commit_is_deleted_only_when_the_journal_has_it(store):
    lead(store, lambda job, order: [])
    leave(store, "1-owner1.1", b"v")
    failing = JobStore(store.locator, FaultyStorage(store.storage, [Fault("put", 2)]))
    with pytest.raises(StorageError, match="before put journal"):
        lead(failing, lambda job, order: [], epoch=2)
    assert len(list(store.commits())) == 1


RIGHT = encode_message(Report(1, 1, 0.0, 0.0, "1-owner1.1", value=Blob.of(b"v")), b"v")


@pytest.mark.parametrize("data", [b"", b"\0", b"garbage", RIGHT[:-3], RIGHT, sign(b"", RIGHT), sign(bytes(16), RIGHT), RIGHT + bytes(32)])
def test_a_damaged_commit_does_not_count(store, data):
    lead(store, lambda job, order: [])
    store.put_commit(1, "1-owner1.1", data)
    leader, batch = lead(store, lambda job, order: [done(job, order)], epoch=2)
    leader.run()
    assert leader.progress.finished
    assert [order.job for order in batch.orders] == [1]
    assert list(store.commits()) == []


def test_a_left_commit_that_another_leader_takes_away_meanwhile_is_passed_over(store, monkeypatch):
    """A leader that was replaced, and does not know it yet, had taken it in and deletes it between the list and the read."""
    store.put_commit(1, "1-owner1.1", b"first")
    store.put_commit(2, "1-owner1.2", b"second")
    found = store.storage.list

    def vanishing(prefix, after=""):
        listed = list(found(prefix, after))
        store.storage.delete(listed[:1])
        return iter(listed)

    monkeypatch.setattr(store.storage, "list", vanishing)
    assert [data for _, data in store.commits()] == [b"second"]
