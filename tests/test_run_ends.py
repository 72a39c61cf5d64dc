"""How run() ends when something else than a job goes wrong: what is kept, what is deleted, which error is told."""

import contextlib
import itertools
import os
import signal
import socket
import tempfile

import pytest

import jobsys
from jobsys import GraphError, processes
from jobsys.batch.inline import InlineBatchSystem
from jobsys.errors import FailedJobsError, LeaderRunningError, LeaseLostError, StorageError
from jobsys.events import AttemptFailed, Committed, Policy
from jobsys.jobstores import JobStore, Lease, locate
from jobsys.journal import replay, take_over
from jobsys.leader.listener import Listener
from jobsys.message import attempt_token
from jobsys.storage.faulty import Fault, FaultyStorage
from jobsys.storage.memory import MemoryStorage

_stores = itertools.count()


@pytest.fixture
def locator():
    return f"memory:test-ends-{next(_stores)}"


def run(workflow, locator, **options):
    return jobsys.run(workflow, locator, batch_system="inline", progress="off", backoff=0.0, **options)


@jobsys.job
def give(value):
    return value


class Unloadable:
    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("it can't be loaded")


@jobsys.job
def unloadable():
    return Unloadable()


class Takeover(Listener):
    """Another leader takes the run over as soon as the first event is durable."""

    def __init__(self, locator):
        self.store = locate(locator)

    def on_event(self, event, name):
        last = self.store.last_lease()
        if last is not None and last.epoch == 1:
            lease = Lease(2, "other", "elsewhere", 1, 0.0, 0.0)
            assert self.store.take_lease(lease)
            take_over(self.store, lease, Policy(), *replay(self.store))


@pytest.mark.parametrize("clean", ["never", "on-success", "always"])
def test_the_store_of_a_living_leader_is_not_deleted(locator, clean):
    run(give(1), locator)
    store = locate(locator)
    store.take_lease(Lease(2, "other", socket.gethostname(), os.getppid(), processes.started(os.getppid()), 0.0))
    with pytest.raises(LeaderRunningError):
        run(give(1), locator, restart=True, clean=clean)
    assert store.info().format


@pytest.mark.parametrize("clean", ["never", "on-success", "always"])
def test_a_store_that_another_leader_took_over_is_not_deleted(locator, clean):
    with pytest.raises(LeaseLostError):
        run([give(1), give(2)], locator, clean=clean, listeners=[Takeover(locator)])
    assert locate(locator).info().format


class LateTakeover(Takeover):
    """Another leader takes the run over when this one has nothing more to write: after ``give`` and the job behind it."""

    def on_event(self, event, name):
        if isinstance(event, (AttemptFailed, Committed)) and "last" in name:
            super().on_event(event, name)


@jobsys.job
def last_give(value):
    return value


@jobsys.job
def last_fail(value):
    raise ValueError("on purpose")


@pytest.mark.parametrize("clean", ["on-success", "always"])
@pytest.mark.parametrize("last", [last_give, last_fail])
def test_a_store_that_another_leader_took_over_at_the_very_end_is_not_deleted(locator, clean, last, capsys):
    with contextlib.suppress(FailedJobsError):
        run(last(give(1)), locator, clean=clean, retries=0, listeners=[LateTakeover(locator)])
    assert replay(locate(locator))[0].epoch == 2
    if (last, clean) != (last_fail, "on-success"):
        assert "was not deleted: another leader has taken the run over" in capsys.readouterr().err


def test_a_leader_that_was_replaced_shows_nothing_more(locator):
    with pytest.raises(FailedJobsError):
        run(last_fail(give(1)), locator, retries=0, listeners=[LateTakeover(locator)])
    assert b'"state":"running"' in (locate(locator).read_status() or b"")


def test_a_store_whose_lease_could_not_be_taken_is_not_deleted(locator, monkeypatch):
    """Who does not lead deletes nothing: another leader may be at work in it."""
    inner = MemoryStorage()
    monkeypatch.setattr("jobsys.jobstores.memory.storage", lambda name: FaultyStorage(inner, [Fault("put", 2)]))
    with pytest.raises(StorageError, match="planned"):
        run(give(1), locator, clean="always")
    assert list(inner.list("")) == ["jobsys-store.json"]


def test_a_result_that_was_not_handed_out_is_not_deleted(locator):
    with pytest.raises(ValueError, match="can't be loaded"):
        run(unloadable(), locator, clean="on-success")
    assert replay(locate(locator))[0].finished


def test_deleting_the_store_does_not_hide_why_the_run_was_refused(locator):
    with pytest.raises(GraphError, match="no job"):
        run(42, locator, clean="always")


def test_what_fails_at_the_start_leaves_no_temporary_directory(locator, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    closed = []

    class Ear(Listener):
        def close(self):
            closed.append(True)

    def failing(name):
        return FaultyStorage(MemoryStorage(), [Fault("put", 5, "before", "error")])  # after store, lease, heartbeat and fence

    monkeypatch.setattr("jobsys.jobstores.memory.storage", failing)
    with pytest.raises(StorageError, match="planned"):
        run(give(1), locator, listeners=[Ear()])
    assert list(tmp_path.iterdir()) == []
    assert closed == [True]


def test_a_run_outlives_its_terminal_under_nohup(locator):
    """The end of the session does not end the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        @jobsys.job
        def hangup():
            os.kill(os.getpid(), signal.SIGHUP)
            return "still here"

        assert run(give(hangup()), locator) == "still here"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_replaced_leaders_script_can_not_overwrite_what_the_new_one_wrote(locator):
    @jobsys.job
    def look(large):
        return len(large), list(locate(locator).storage.list("values/0-"))  # where its own body lies, until it is done

    size, mine = run(look(b"x" * 1_000_000), locator)
    assert size == 1_000_000
    assert mine
    lease = locate(locator).last_lease()
    assert lease is not None
    assert all(key.startswith(f"values/0-{attempt_token(1, lease.owner, 0)}/") for key in mine)


def test_a_lease_that_could_not_be_given_back_does_not_stand_in_ones_own_way(locator, monkeypatch):
    """A notebook, or a test, goes on in the same process."""
    store = MemoryStorage()
    with monkeypatch.context() as failing:
        failing.setattr("jobsys.jobstores.memory.storage", lambda name: FaultyStorage(store, [Fault("put", 5, times=1000)]))
        with pytest.raises(StorageError, match="planned"):
            run(give(1), locator)
    monkeypatch.setattr("jobsys.jobstores.memory.storage", lambda name: store)
    assert not JobStore(locator, store).last_beat(1)["released"]
    assert run(give(1), locator, restart=True) == 1


def test_the_lease_is_given_back_when_all_is_shown_and_stopped(locator, monkeypatch):
    """The next leader, and whoever waits for the end of this one, must find the last word."""
    happened = []

    class Recording(MemoryStorage):
        def put(self, key, data, *, if_absent=False):
            happened.append("released" if b'"released":true' in bytes(data) else key)
            return super().put(key, data, if_absent=if_absent)

    shutdown = InlineBatchSystem.shutdown

    def noted(system, *, leave=False):
        happened.append("stopped")
        shutdown(system)

    monkeypatch.setattr(InlineBatchSystem, "shutdown", noted)
    storage = Recording()
    monkeypatch.setattr("jobsys.jobstores.memory.storage", lambda name: storage)
    assert run(give(1), locator) == 1
    assert happened.index("released") == len(happened) - 1
    assert {"stopped", "status.json"} <= set(happened)
