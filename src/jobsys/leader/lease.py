"""Who leads: a sequence of epochs, each created once. A leader that lives is never replaced without ``take_over``."""

import os
import secrets
import socket
from collections.abc import Callable
from typing import Final

from jobsys import processes
from jobsys.clock import SYSTEM, Clock
from jobsys.errors import LeaderRunningError
from jobsys.jobstores import JobStore, Lease

BEAT: Final = 5.0
"""Seconds between two signs of life."""
SILENCE: Final = 4 * BEAT
"""Seconds without a sign of life after which a leader on another host counts as dead."""


class Here:
    """This process and this host, as far as a lease depends on them."""

    def __init__(self) -> None:
        """Hold no lease."""
        self.host = socket.gethostname()
        self.held: set[str] = set()  # owners of the leases of this very process: one that it could not give back is not in its own way

    @property
    def pid(self) -> int:
        """The number of this process."""
        return os.getpid()

    def started(self, pid: int) -> float:
        """Tell when a process of this host began, 0 if there is none: its number alone may have been used before."""
        return processes.started(pid)

    def owner(self) -> str:
        """Make a name for one leader that no other has."""
        return secrets.token_hex(16)

    def lives(self, lease: Lease) -> bool:
        """Tell whether the very process that took the lease on this host still runs."""
        return self.started(lease.pid) == lease.process_started and processes.is_running(lease.pid)


HERE: Final = Here()


def acquire(store: JobStore, say: Callable[[str], None] = lambda _: None, clock: Clock = SYSTEM, here: Here = HERE) -> Lease:
    """Become the leader of a run.

    Args:
        store: where the run is.
        say: tells a person why this takes long.
        clock: by which to wait for another leader's sign of life.
        here: who wants to lead.

    Raises:
        LeaderRunningError: another leader lives.
    """
    stale = store.asked_to_stop()  # meant for a leader that is gone; whoever asks from now on means the one that comes
    last = store.last_lease()
    if last is not None and not store.last_beat(last.epoch)["released"]:
        _check_dead(store, last, say, clock, here)
    lease = Lease(
        epoch=1 if last is None else last.epoch + 1,
        owner=here.owner(),
        host=here.host,
        pid=here.pid,
        process_started=here.started(here.pid),
        time=clock.time(),
    )
    if not store.take_lease(lease):
        raise LeaderRunningError(f"another leader took the run in {store.locator} in this very moment; see 'jobsys status'")
    store.beat(lease.epoch, 0, lease.time)
    if stale is not None and store.asked_to_stop() == stale:
        store.forget_request()
    here.held.add(lease.owner)
    return lease


def release(store: JobStore, lease: Lease, clock: Clock = SYSTEM, here: Here = HERE) -> None:
    """Give the lease back, so that the next leader need not wait."""
    here.held.discard(lease.owner)
    store.info()
    store.release()
    store.beat(lease.epoch, -1, clock.time(), released=True)


def alive(store: JobStore, lease: Lease) -> bool | None:
    """Tell whether a leader lives; None if that can't be seen from this host without waiting."""
    if store.last_beat(lease.epoch)["released"]:
        return False
    return HERE.lives(lease) if lease.host == HERE.host else None


def process_lives(lease: Lease) -> bool:
    """Tell whether the very process that took the lease on this host still runs."""
    return HERE.lives(lease)


def _check_dead(store: JobStore, last: Lease, say: Callable[[str], None], clock: Clock, here: Here) -> None:
    who = f"the leader on {last.host} (process {last.pid})"
    refusal = (
        f"{who} holds the run in {store.locator} and is alive: two leaders can't share a run; "
        f"watch it with 'jobsys status --watch', or stop it with 'jobsys kill'"
    )
    if last.host == here.host:
        if here.lives(last) and (last.pid != here.pid or last.owner in here.held):
            raise LeaderRunningError(refusal)
        return
    # clocks of two hosts can't be compared: what counts is whether the beat changes while this host watches
    before = store.last_beat(last.epoch)["count"]
    say(f"{who} left no word; waiting {SILENCE:.0f} s to see whether it is alive")
    clock.sleep(SILENCE)
    beat = store.last_beat(last.epoch)
    if beat["count"] != before and not beat["released"]:
        raise LeaderRunningError(refusal)
