"""Promise 2: one leader."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from jobsys import processes
from jobsys.clock import Clock
from jobsys.errors import LeaderRunningError
from jobsys.jobstores import JobStore, Lease
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.leader.lease import HERE, SILENCE, acquire, alive, process_lives, release
from jobsys.storage.memory import MemoryStorage


@pytest.fixture
def store():
    made = JobStore("memory:test", MemoryStorage())
    made.create(StoreInfo(FORMAT, 0.0, "test"))
    return made


class Waiting(Clock):
    """The clock of this machine; who sleeps by it does something else."""

    def __init__(self, instead):
        self.instead = instead

    def sleep(self, seconds):
        self.instead(seconds)


def foreign(store, epoch=1):
    lease = Lease(epoch, "other", "another-host", 1, 0.0, 0.0)
    assert store.take_lease(lease)
    store.beat(epoch, 5, 0.0)
    return lease


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    started = processes.started(process.pid)
    process.wait()
    return process.pid, started


def test_epochs_follow_each_other(store):
    first = acquire(store)
    release(store, first)
    second = acquire(store)
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.owner != second.owner
    assert second.pid == os.getpid()


def test_a_living_leader_of_this_host_is_not_replaced(store):
    acquire(store)
    with pytest.raises(LeaderRunningError, match=f"process {os.getpid()}.*alive"):
        acquire(store)


def test_a_dead_leader_of_this_host_is_replaced_at_once(store):
    pid, started = dead_process()
    store.take_lease(Lease(1, "dead", socket.gethostname(), pid, started, 0.0))
    assert acquire(store, clock=Waiting(lambda _: pytest.fail("it waited"))).epoch == 2


def test_another_process_with_the_same_number_is_not_the_leader(store):
    store.take_lease(Lease(1, "dead", socket.gethostname(), os.getpid(), 12345.0, 0.0))
    assert acquire(store).epoch == 2


def test_a_silent_leader_of_another_host_is_replaced_after_watching_it(store):
    foreign(store)
    waited: list[float] = []
    said: list[str] = []
    assert acquire(store, clock=Waiting(waited.append), say=said.append).epoch == 2
    assert waited == [SILENCE]
    assert "another-host" in said[0]


def test_a_leader_of_another_host_whose_heart_beats_is_not_replaced(store):
    lease = foreign(store)
    with pytest.raises(LeaderRunningError, match="another-host"):
        acquire(store, clock=Waiting(lambda _: store.beat(lease.epoch, 6, 0.0)))


def test_a_leader_of_another_host_that_left_is_replaced_at_once(store):
    lease = foreign(store)
    store.beat(lease.epoch, 6, 0.0, released=True)
    assert acquire(store, clock=Waiting(lambda _: pytest.fail("it waited"))).epoch == 2


def test_of_two_that_come_at_the_same_time_one_leads(store):
    lease = foreign(store)

    def quicker(_):
        store.beat(lease.epoch, 5, 0.0)
        assert store.take_lease(Lease(2, "quicker", "third-host", 1, 0.0, 0.0))

    with pytest.raises(LeaderRunningError, match="this very moment"):
        acquire(store, clock=Waiting(quicker))


def test_who_comes_too_late_forgets_no_request_to_the_one_that_was_quicker(store):
    foreign(store)

    def quicker(_):
        assert store.take_lease(Lease(2, "quicker", "third-host", 1, 0.0, 0.0))
        store.ask_to_stop(b"the quicker one")

    with pytest.raises(LeaderRunningError, match="this very moment"):
        acquire(store, clock=Waiting(quicker))
    assert store.asked_to_stop() == b"the quicker one"


def test_a_request_that_comes_while_the_lease_is_taken_counts(store):
    store.ask_to_stop(b"the last leader")
    foreign(store)
    acquire(store, clock=Waiting(lambda _: store.ask_to_stop(b"whoever leads")))
    assert store.asked_to_stop() == b"whoever leads"


def test_whether_a_leader_lives(store):
    mine = acquire(store)
    assert alive(store, mine)
    assert process_lives(mine)
    release(store, mine)
    assert alive(store, mine) is False
    assert alive(store, foreign(store, 2)) is None


def test_setting_the_clock_makes_nobody_dead(store, monkeypatch):
    """The clock of the machine is set while a leader runs: it is seen as alive, as what it is."""
    mine = acquire(store)
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600.0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert process_lives(mine)
    with pytest.raises(LeaderRunningError):
        acquire(store)


def test_a_lease_that_this_process_lost_sight_of_is_no_other_leaders(store):
    gone = acquire(store)
    HERE.held.discard(gone.owner)
    assert acquire(store, clock=Waiting(lambda _: pytest.fail("it waited"))).epoch == 2


def test_a_request_to_stop_is_meant_for_the_leader_of_its_time(store):
    store.ask_to_stop(b"the last leader")
    lease = acquire(store)
    assert store.asked_to_stop() is None
    store.ask_to_stop(b"this leader, which is still starting")
    with pytest.raises(LeaderRunningError):
        acquire(store)
    assert store.asked_to_stop() == b"this leader, which is still starting"
    release(store, lease)
