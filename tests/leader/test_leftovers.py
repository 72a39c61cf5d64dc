"""What leaders that died had left in the store: removed once the run is finished, and nothing else is."""

import itertools
import os

import msgspec
import pytest

import jobsys
from jobsys.batch.base import BatchState, BatchUpdate
from jobsys.errors import StorageError
from jobsys.events import Reason
from jobsys.jobstores import Aside, keys, locate
from jobsys.leader import leftovers
from jobsys.message import Report, encode_message
from jobsys.record import Blob, JobRecord
from jobsys.storage.local import LocalStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.workdir import WorkDirectory
from scripted import done, ended, lead  # type: ignore[import-not-found]

_stores = itertools.count()


def write(store, job, token):
    """Have an attempt leave a file, a value and a log."""
    with store.write_file(job, token, "file") as (stream, made):
        stream.write(b"file")
    return [str(made), str(store.write_value(job, token, b"value").where), str(store.write_log(job, token, b"log").where)]


def left(store):
    return [key for key in store.storage.list("") if key.startswith((keys.FILES, keys.VALUES, keys.LOGS, keys.COMMITS, keys.GRAPHS))]


def test_what_an_attempt_left_that_its_leader_did_not_outlive_goes(store):
    _, batch = lead(store, lambda job, order: [])
    lost = write(store, 1, "1-owner1.1")
    store.put_commit(1, "1-owner1.1", b"a worker saves its commit after the next leader has looked for it")
    leader, batch = lead(store, lambda job, order: [done(job, order)], epoch=2)
    store.put_commit(1, "1-owner1.1", b"and another one")
    leader.run()
    file, value, log = write(store, 1, batch.orders[0].token)
    assert set(lost) < set(left(store))
    assert leftovers.remove(store, leader.progress) == 3 + 1 + 1
    assert left(store) == [file, log]
    assert value not in left(store)  # nobody refers to it: the value that counts lies in the journal
    assert leftovers.remove(store, leader.progress) == 0


def test_the_log_of_an_attempt_that_failed_stays_and_its_files_go(store):
    def react(job, order):
        return [done(job, order) if order.attempt > 1 else ended(job, Reason.FAILED)]

    leader, batch = lead(store, react)
    leader.run()
    first, second = (order.token for order in batch.orders)
    _, _, failed = write(store, 1, first)
    kept, _, log = write(store, 1, second)
    leftovers.remove(store, leader.progress)
    assert left(store) == sorted([kept, failed, log])


def test_the_jobs_of_an_attempt_that_never_committed_go(store):
    def graph(token):
        return Aside(store, 1, token).graph([b"body"], (JobRecord("made", Blob.of(b"body")),))

    leader, batch = lead(
        store,
        lambda job, order: [done(job, order, parts=graph(order.token)) if order.name == "a" else done(job, order)],
    )
    leader.run()
    assert leader.progress.finished
    assert [order.name for order in batch.orders] == ["a", "made"]
    kept = keys.graph(1, batch.orders[0].token)
    graph("1-owner1.77")
    assert left(store) == sorted([kept, keys.graph(1, "1-owner1.77")])
    leftovers.remove(store, leader.progress)
    assert left(store) == [kept], "the history of the run is made from it"


def test_what_a_commit_deleted_goes_though_its_leader_died_before(store):
    kept, *_ = write(store, 1, "1-owner1.1")
    deleted, *_ = write(store, 1, "1-owner1.1")
    leader, _ = lead(store, lambda job, order: [done(job, order, deleted=(deleted,))])
    leader.run()
    assert deleted not in left(store)
    with store.storage.writer(deleted) as stream:
        stream.write(b"the leader died before it deleted it")
    leftovers.remove(store, leader.progress)
    assert kept in left(store)
    assert deleted not in left(store)


def test_values_that_the_result_is_made_of_stay(store):
    blob = store.write_value(1, "1-owner1.1", b"large")

    def react(job, order):
        report = Report(order.job, order.attempt, 1.0, 0.5, token=order.token, host="h", value=blob)
        return [BatchUpdate(job.id, BatchState.COMPLETED, encode_message(report))]

    leader, _ = lead(store, react)
    leader.run()
    assert leader.progress.finished
    store.write_value(1, "1-owner1.2", b"of nobody")
    assert leftovers.remove(store, leader.progress) == 1
    assert left(store) == [blob.where]


def test_many_keys_are_looked_at_in_pieces(store, monkeypatch):
    monkeypatch.setattr(leftovers, "AT_ONCE", 2)
    leader, batch = lead(store, lambda job, order: [done(job, order)], jobs=("a", "b", "c"))
    leader.run()
    kept = [write(store, order.job, order.token)[0] for order in batch.orders]
    for number in range(5):
        write(store, 1, f"9.{number}")
    leftovers.remove(store, leader.progress)
    assert [key for key in left(store) if key.startswith(keys.FILES)] == kept


def test_a_leader_sweeps_as_long_as_it_runs_and_at_its_end(monkeypatch, store):
    swept = []
    monkeypatch.setattr(MemoryStorage, "sweep", lambda self: swept.append(1), raising=False)
    leader, _ = lead(store, lambda job, order: [done(job, order)])
    leader.run()
    assert len(swept) == 1
    leader.close()
    assert len(swept) == 2


def test_a_sweep_that_fails_does_not_end_the_run(monkeypatch, store):
    def sweep(self):
        raise StorageError("the disk is broken")

    monkeypatch.setattr(MemoryStorage, "sweep", sweep, raising=False)
    leader, _ = lead(store, lambda job, order: [done(job, order)])
    leader.run()
    leader.close()
    assert leader.progress.finished


@jobsys.job
def give(value):
    return value


def run(locator, **options):
    return jobsys.run(give(7), locator, batch_system="inline", progress="off", **options)


@pytest.fixture
def finished():
    """A finished run with something of nobody in its store."""
    locator = f"memory:test-leftovers-{next(_stores)}"
    assert run(locator) == 7
    store = locate(locator)
    store.put_commit(1, "1-owner1.1", b"of nobody")
    return locator, store


def test_a_run_that_was_finished_when_its_leader_died_is_tidied_by_the_next(finished, tmp_path):
    locator, store = finished
    directory = WorkDirectory.make(tmp_path)
    os.close(directory.lock)
    store.beat(1, 3, 0.0)  # as if it had not given the lease back
    lease = store.last_lease()
    gone = msgspec.json.encode(msgspec.structs.replace(lease, pid=2**22))
    store.storage.put(keys.lease(1), store.key.seal(keys.lease(1), gone))
    assert run(locator, restart=True, work_dir=str(tmp_path)) == 7
    assert left(store) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ended_in_order_is_not_looked_through_again(finished):
    locator, store = finished
    assert run(locator, restart=True) == 7
    assert len(left(store)) == 1


def test_the_result_counts_although_nothing_can_be_removed(finished, capsys, monkeypatch):
    locator, store = finished
    store.beat(1, 3, 0.0)
    lease = store.last_lease()
    gone = msgspec.json.encode(msgspec.structs.replace(lease, pid=2**22))
    store.storage.put(keys.lease(1), store.key.seal(keys.lease(1), gone))

    def fail(*_):
        raise StorageError("the disk is read-only")

    monkeypatch.setattr(leftovers, "remove", fail)
    assert run(locator, restart=True) == 7
    assert "could not be removed: the disk is read-only" in capsys.readouterr().err


def test_what_can_not_be_removed_at_once_is_removed_soon(finished, capsys, monkeypatch):
    locator, store = finished
    store.beat(1, 3, 0.0)
    lease = store.last_lease()
    gone = msgspec.json.encode(msgspec.structs.replace(lease, pid=2**22))
    store.storage.put(keys.lease(1), store.key.seal(keys.lease(1), gone))
    remove, calls = leftovers.remove, []

    def fail_twice(*given):
        calls.append(given)
        if len(calls) < 3:
            raise StorageError("the file server does not answer")
        return remove(*given)

    monkeypatch.setattr(leftovers, "remove", fail_twice)
    assert run(locator, restart=True) == 7
    assert left(store) == []
    assert "could not be removed" not in capsys.readouterr().err


def test_sweeping_is_what_a_storage_makes_of_it(tmp_path):
    assert MemoryStorage().sweep() == 0
    assert LocalStorage(tmp_path / "x").sweep() == 0
