"""Leaders and workers that sleep between any two steps and go on when others have taken their place (found with docs/model)."""

import pytest

from jobsys.errors import LeaseLostError
from jobsys.events import LeaderStarted, Policy, Reason
from jobsys.jobstores import JobStore, Lease
from jobsys.journal import replay, take_over
from jobsys.leader import Leader
from jobsys.message import Report, encode_message
from jobsys.record import Blob, JobRecord, Part
from jobsys.storage.faulty import FaultyStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.worker.execute import JobExecutor
from scripted import ScriptedBatch, done, ended, journaled, lead  # type: ignore[import-not-found]


class Sleeper(FaultyStorage):
    """The storage as one process sees it, which does something else before, or in the middle of, its own operation."""

    def __init__(self, inner, before_delete=None, answer_lost=None, stale=lambda prefix: False):
        super().__init__(inner)
        self.before_delete, self.answer_lost, self.stale = before_delete, answer_lost, stale

    def delete(self, keys):
        keys = list(keys)
        act, self.before_delete = (
            (self.before_delete, None) if any(key.startswith("commits/") for key in keys) else (None, self.before_delete)
        )
        if act:
            act()
        super().delete(keys)

    def put(self, key, data, *, if_absent=False):
        won = super().put(key, data, if_absent=if_absent)
        if key.startswith("commits/") and self.answer_lost:
            act, self.answer_lost = self.answer_lost, None
            act()
            won = super().put(key, data, if_absent=if_absent)
        return won

    def list(self, prefix, after=""):
        found = list(super().list(prefix, after))
        return iter(found[:-2] if self.stale(prefix) else found)


def as_seen_by(store, **how):
    return JobStore(store.locator, Sleeper(store.storage, **how))


def leave(store, token, value):
    """Have an attempt of job 1 write a file and a commit, and find its leader gone."""
    with store.write_file(1, token, "result"):
        pass
    executor = JobExecutor(store)
    executor._signs = (token, store.key.attempt(1, token))
    executor.undelivered(encode_message(Report(1, 1, 0.0, 0.0, token, value=Blob.of(value)), value))


def value_of_job_1(store, leader):
    return store.read(leader.progress.values_for((0,))[1].blob)


def never(job, order):
    pytest.fail("it ran again")


def test_a_worker_that_waits_for_an_answer_deletes_nothing_of_its_commit_that_was_taken_in(store):
    """Its commit was written, taken in and deleted, and another attempt left one, before it asks again."""
    lead(store, lambda job, order: [])

    def meanwhile():
        leader, _ = lead(store, never, epoch=2)
        assert value_of_job_1(store, leader) == b"first"
        leave(store, "2-owner2.1", b"second")

    leave(as_seen_by(store, answer_lost=meanwhile), "1-owner1.1", b"first")
    assert [key for key in store.storage.list("files/") if key.startswith("files/1-1-owner1.1/")]
    leader, _ = lead(store, never, epoch=3)
    assert value_of_job_1(store, leader) == b"first"
    assert [key.split("/")[1] for key in store.storage.list("files/")] == ["1-1-owner1.1"]
    assert list(store.commits()) == []


def test_a_leader_that_was_replaced_deletes_no_commit_that_was_left_since(store):
    """It sleeps before it deletes the commit that came too late; by then the job has another one."""
    leader, batch = lead(store, lambda job, order: [ended(job, Reason.LOST)], policy=Policy(backoff=100.0, max_losses=0))
    leader.run()
    leave(store, batch.orders[0].token, b"late")

    def meanwhile():
        lead(store, lambda job, order: [], epoch=3)
        leave(store, "3-owner3.1", b"good")

    lead(as_seen_by(store, before_delete=meanwhile), lambda job, order: [], epoch=2)
    leader, _ = lead(store, never, epoch=4)
    assert value_of_job_1(store, leader) == b"good"
    assert [key.split("/")[1] for key in store.storage.list("files/")] == ["1-3-owner3.1"]


def test_the_commit_of_an_attempt_that_was_given_up_does_not_keep_another_ones_away(store):
    """Both lost their leader; the first of them had been given up before."""

    def react(job, order):
        if order.attempt == 1:
            return [ended(job, Reason.LOST)]
        leader.cancel("enough")
        return []

    leader, batch = lead(store, react)
    leader.run()
    for order, value in zip(batch.orders, (b"late", b"good"), strict=True):
        leave(store, order.token, value)
    leader, _ = lead(store, never, epoch=2)
    assert value_of_job_1(store, leader) == b"good"
    assert len(list(store.storage.list("files/"))) == 1


def test_of_two_commits_that_were_left_the_first_is_taken_in_and_nothing_of_the_other_stays(store):
    lead(store, lambda job, order: [])
    leave(store, "1-owner1.1", b"one")
    lead(as_seen_by(store, stale=lambda prefix: prefix == "commits/"), lambda job, order: [], epoch=2)
    leave(store, "2-owner2.1", b"two")
    leader, _ = lead(store, never, epoch=3)
    assert value_of_job_1(store, leader) == b"one"
    assert [key.split("/")[1] for key in store.storage.list("files/")] == ["1-1-owner1.1"]
    assert list(store.commits()) == []


def test_a_leader_does_not_take_over_from_a_later_one(store):
    """It took its epoch, slept, and reads the journal only when a later leader has long begun."""
    lead(store, lambda job, order: [])
    store.take_lease(Lease(3, "later", "host", 1, 0.0, 0.0))
    lead(store, lambda job, order: [], epoch=3)
    progress, last = replay(store)
    with pytest.raises(LeaseLostError, match="epoch 3"):
        take_over(store, Lease(2, "sleeper", "host", 1, 0.0, 0.0), Policy(), progress, last)
    assert [event.epoch for event in journaled(store, LeaderStarted)] == [1, 3]


def test_what_a_list_of_the_journal_lacks_is_known_all_the_same(store):
    """The list of a shared file system may be older than what the last leader wrote: that an attempt was given up, here."""
    leader, batch = lead(store, lambda job, order: [ended(job, Reason.LOST)], policy=Policy(backoff=100.0, max_losses=0))
    leader.run()
    leave(store, batch.orders[0].token, b"late")
    stale = as_seen_by(store, stale=lambda prefix: prefix == "journal/")
    leader, _ = lead(stale, lambda job, order: [done(job, order, b"again")], epoch=2)
    leader.run()
    assert value_of_job_1(store, leader) == b"again"


def test_a_commit_that_the_last_leader_deletes_in_this_very_moment_is_none(store, monkeypatch):
    lead(store, lambda job, order: [])
    leave(store, "1-owner1.1", b"v")
    [(key, _)] = store.commits()
    seen = as_seen_by(store)
    real = store.storage.list

    def listed(prefix, after=""):
        keys = list(real(prefix, after))
        if prefix == "commits/":
            store.storage.delete([key])
        return iter(keys)

    monkeypatch.setattr(seen.storage, "list", listed)
    leader, _ = lead(seen, lambda job, order: [done(job, order, b"again")], epoch=2)
    leader.run()
    assert leader.progress.finished


def test_a_leader_that_was_replaced_and_has_nothing_to_write_notices(store, monkeypatch):
    """It would keep machines busy, and show its own view of the run, for as long as its job takes."""
    monkeypatch.setattr("jobsys.leader.leader.BEAT", 0.01)
    leader, batch = lead(store, lambda job, order: [])
    waits = iter(range(10_000))

    def updates(timeout):
        if next(waits) == 3:
            assert store.take_lease(Lease(2, "other", "elsewhere", 1, 0.0, 0.0))
        return []

    monkeypatch.setattr(batch, "updates", updates)
    with pytest.raises(LeaseLostError, match="after epoch 1"):
        leader.run()
    assert next(waits) > 3
    shown = store.read_status()
    leader.close()
    assert store.read_status() == shown


def test_a_worker_of_a_run_that_had_its_store_here_before_leaves_nothing(store):
    """Its leader died, the store was removed, and another run was begun under the same locator while it still worked."""
    lead(store, lambda job, order: [])
    with store.write_file(1, "1-other.1", "result"):
        pass
    leave(store, "1-other.1", b"of another run")
    leader, _ = lead(store, lambda job, order: [done(job, order, b"of this run")], epoch=2)
    leader.run()
    assert value_of_job_1(store, leader) == b"of this run"
    assert list(store.storage.list("files/")) == list(store.commits()) == []


def test_attempts_of_two_runs_under_one_locator_do_not_share_a_token():
    tokens = []
    for owner in ("first", "second"):
        store = JobStore("memory:test", MemoryStorage())
        started = take_over(store, Lease(1, owner, "host", 1, 0.0, 0.0), Policy(), *replay(store))
        leader = Leader(store, Lease(1, owner, "host", 1, 0.0, 0.0), started, batch := ScriptedBatch(lambda job, order: [done(job, order)]))
        leader.start((Report(0, 1, 0.0, 0.0, value=Blob(0, 0, 1), refs=(0,), jobs=(JobRecord("a", Blob(0, 0, 1)),)), b"x"))
        leader.run()
        tokens += [order.token for order in batch.orders]
    assert len(set(tokens)) == 2


def test_a_leader_whose_first_jobs_the_next_one_has_deleted_hears_that_it_was_replaced():
    store = JobStore("memory:test", MemoryStorage())
    lease = Lease(1, "owner1", "host", 1, 0.0, 0.0)
    progress, last = replay(store)
    leader = Leader(store, lease, take_over(store, lease, Policy(), progress, last), ScriptedBatch(lambda *_: []))
    store.take_lease(Lease(2, "owner2", "host", 1, 0.0, 0.0))
    gone = Report(0, 1, 0.0, 0.0, "1-owner1.0", value=Blob.of(b""), parts=(Part(Blob("graphs/0-gone", 0, 1), 1),))
    with pytest.raises(LeaseLostError):
        leader.start((gone, b""))
