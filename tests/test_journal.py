"""The journal: what is in it happened, and nobody but the newest leader writes it."""

import hashlib

import pytest

from jobsys.errors import IntegrityError, LeaseLostError
from jobsys.events import AttemptFailed, Committed, LeaderStarted, Policy, RunCanceled
from jobsys.jobstores import Aside, JobStore, Lease
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.journal import pages, read, replay, tag_of, take_over, write_snapshot
from jobsys.message import Report
from jobsys.progress import Progress, Submit
from jobsys.record import Blob, JobRecord
from jobsys.storage.memory import MemoryStorage
from states import state  # type: ignore[import-not-found]


@pytest.fixture
def store():
    made = JobStore("memory:test", MemoryStorage())
    made.create(StoreInfo(FORMAT, 0.0, "test"))
    return made


def lease(epoch):
    return Lease(epoch, f"owner-{epoch}", "host", 1, 0.0, 0.0)


def begin(store, jobs=3):
    started = take_over(store, lease(1), Policy(), *replay(store))
    journal, progress = started.journal, started.progress
    records = tuple(JobRecord(f"job{number}", Blob(0, number, 1)) for number in range(jobs))
    place = journal.place(b"x" * jobs + b"value")
    event = Committed(Report(0, 1, 0.0, 0.0, value=Blob(0, jobs, 5), jobs=records), place, 1)
    journal.add(event)
    progress.apply(event)
    journal.flush()
    return journal, progress


def commit(job, payload=b""):
    return Report(job, 1, 0.0, 0.0, value=Blob(0, 0, len(payload)))


def test_events_come_back_in_order_with_their_payloads(store):
    journal, _ = begin(store)
    for job in (1, 2):
        data = b"value of %d" % job
        journal.add(Committed(commit(job, data), journal.place(data), 4))
    journal.flush()
    events = [event for page in pages(store) for event in page.events]
    assert [type(event) for event in events] == [LeaderStarted, Committed, Committed, Committed]
    for event in events[2:]:
        assert isinstance(event, Committed)
        assert store.peek(event.payload) == b"value of %d" % event.report.job


def test_what_was_not_flushed_did_not_happen(store):
    journal, _ = begin(store)
    journal.add(Committed(commit(1), journal.place(b""), 4))
    progress, _ = replay(store)
    assert progress.accepts(1)
    journal.flush()
    progress, _ = replay(store)
    assert not progress.accepts(1)


def test_many_events_are_one_write(store):
    journal, _ = begin(store)
    before = len(list(store.segments()))
    for _ in range(100):
        journal.add(RunCanceled(0.0, "test"))
    assert journal.pending == 100
    journal.flush()
    assert journal.pending == 0
    assert len(list(store.segments())) == before + 1


def test_a_replaced_leader_can_write_no_more(store):
    old, _ = begin(store)
    started = take_over(store, lease(2), Policy(), *replay(store))
    old.add(Committed(commit(1), old.place(b""), 4))
    with pytest.raises(LeaseLostError, match="epoch 2"):
        old.flush()
    assert started.progress.accepts(1)
    assert replay(store)[0].accepts(1)


def test_a_new_leader_takes_in_what_the_old_one_wrote_while_it_came(store):
    old, _ = begin(store)
    seen, last = replay(store)
    old.add(Committed(commit(1), old.place(b""), 4))
    old.flush()
    started = take_over(store, lease(2), Policy(), seen, last)
    assert not started.progress.accepts(1)
    assert started.progress.epoch == 2
    assert {effect.job for effect in started.effects if isinstance(effect, Submit)} == {2, 3}


def test_an_older_leader_does_not_take_over_from_a_newer_one(store):
    begin(store)
    seen, last = replay(store)
    store.take_lease(lease(3))
    take_over(store, lease(3), Policy(), *replay(store))
    with pytest.raises(LeaseLostError):
        take_over(store, lease(2), Policy(), seen, last)


@pytest.mark.parametrize(("before", "way"), [(2, "run again with --restart"), (3, "put the file back")])
def test_where_leases_were_deleted_nobody_leads_under_an_epoch_that_was(store, before, way):
    """What a leader of an old epoch does, replay takes for what came before."""
    begin(store)
    take_over(store, lease(before), Policy(), *replay(store))
    with pytest.raises(IntegrityError, match=f"has a leader of epoch {before}, whose lease is not there any more: .* {way}"):
        take_over(store, lease(2), Policy(), *replay(store))


def test_a_leader_that_reads_the_journal_only_after_a_newer_one_has_begun_does_not_take_over(store):
    """It was quicker to take its lease, and then so slow that what it reads is the other's work."""
    store.take_lease(lease(3))
    newer = take_over(store, lease(3), Policy(), *replay(store)).journal
    seen, last = replay(store)
    with pytest.raises(LeaseLostError, match="epoch 3"):
        take_over(store, lease(2), Policy(), seen, last)
    newer.add(RunCanceled(0.0, "still the leader"))
    newer.flush()


def test_ones_own_write_whose_answer_was_lost_is_no_defeat(store):
    journal, _ = begin(store)
    journal.add(RunCanceled(1.0, "test"))

    class LostAnswer:
        def __init__(self, inner):
            self._inner = inner

        def put(self, key, data, *, if_absent=False):
            self._inner.put(key, data, if_absent=if_absent)
            return self._inner.put(key, data, if_absent=if_absent)

        def __getattr__(self, name):
            return getattr(self._inner, name)

    store.storage = LostAnswer(store.storage)
    journal.flush()
    assert replay(store)[0].canceled


@pytest.mark.parametrize("place", [0, 8, -1, -20, -45, -70, "middle"])
def test_a_flipped_bit_is_found(store, place):
    begin(store)
    key = "journal/0000000002"
    data = bytearray(store.storage.get(key))
    data[len(data) // 2 if place == "middle" else place] ^= 4
    store.storage.put(key, bytes(data))
    with pytest.raises(IntegrityError, match="segment 2"):
        read(store, 2, tag_of(store, 1))


def test_a_truncated_segment_is_found(store):
    begin(store)
    key = "journal/0000000002"
    store.storage.put(key, store.storage.get(key)[:-7])
    with pytest.raises(IntegrityError):
        replay(store)


def test_a_segment_that_is_missing_is_found(store):
    journal, _ = begin(store)
    journal.add(RunCanceled(0.0, "test"))
    journal.flush()
    store.storage.delete(["journal/0000000002"])
    with pytest.raises(IntegrityError, match=r"segment 2 .* missing"):
        replay(store)


def test_a_list_that_lacks_a_segment_is_no_gap(store, monkeypatch):
    """A directory that is read while a leader writes may show a file, and not one that was there before it."""
    journal, _ = begin(store)
    journal.add(RunCanceled(0.0, "test"))
    journal.flush()
    monkeypatch.setattr(JobStore, "segments", lambda store, after=0: iter([1, 3]))
    progress, last = replay(store)
    assert (len(progress.nodes), progress.canceled, last) == (4, True, 3)


def test_a_snapshot_stands_for_what_was_before_it(store):
    journal, progress = begin(store)
    write_snapshot(store, progress, journal.segment - 1)
    failed = AttemptFailed(1, 1, "failed", 0.0)
    journal.add(failed)
    journal.flush()
    store.storage.delete(["journal/0000000001", "journal/0000000002"])
    restored, last = replay(store)
    progress.apply(failed)
    assert last == journal.segment - 1
    assert state(restored) == state(progress)


def test_a_damaged_snapshot_is_passed_over(store):
    journal, progress = begin(store)
    write_snapshot(store, progress, journal.segment - 1)
    store.storage.put("snapshots/0000000002", b"{}" + bytes(96))
    assert state(replay(store)[0]) == state(progress)


def test_a_snapshot_of_another_version_is_passed_over(store):
    journal, progress = begin(store)
    body = b'{"nodes": []}'
    digest, last = hashlib.sha256(body).digest(), journal.segment - 1
    store.write_snapshot(last, body + digest + journal.tag + store.key.snapshot(last, digest, journal.tag))
    assert state(replay(store)[0]) == state(progress)


def test_only_two_snapshots_are_kept(store):
    journal, progress = begin(store)
    for segment in (1, 2, 3, 4):
        if segment >= journal.segment:
            journal.flush()
        write_snapshot(store, progress, segment)
    assert store.snapshots() == [4, 3]


def test_replay_of_nothing_is_the_beginning(store):
    progress, last = replay(store)
    assert last == 0
    assert state(progress) == state(Progress())


# -- what was written a moment ago ------------------------------------------------------------------------------


def test_small_things_of_the_newest_segment_are_at_hand(store):
    journal, _ = begin(store)
    older = journal.place(b"older")
    journal.add(RunCanceled(0.0, "one"))
    journal.flush()
    journal.place(b"padding")
    newest = journal.place(b"newest")
    large = journal.place(bytes(2000))
    journal.add(RunCanceled(0.0, "two"))
    assert journal.recall(newest) == b"", "it is not durable yet"
    assert journal.recall(older) == b"older"
    journal.flush()
    assert journal.recall(newest) == b"newest" == store.read(newest)
    assert journal.recall(older) == journal.recall(large) == journal.recall(Blob("values/1-t/0", 0, 6)) == b""


# -- large graphs -----------------------------------------------------------------------------------------------


def test_a_large_graph_that_is_missing_is_told_with_the_way_out(store):
    journal = take_over(store, lease(1), Policy(), *replay(store)).journal
    parts = Aside(store, 0, "1-owner.0").graph([b"body"], [JobRecord("a", Blob(0, 0, 4))])
    journal.add(Committed(Report(0, 1, 0.0, 0.0, value=Blob(0, 0, 0), parts=parts), Blob(0, 0, 0), 1))
    journal.flush()
    assert replay(store)[0].ready == {1}
    store.delete([parts[0].records.where])
    with pytest.raises(IntegrityError, match=r"graphs/0-1-owner.0 in memory:test is missing.*put the file back"):
        replay(store)
