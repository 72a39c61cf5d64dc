"""Who leads: a sequence of epochs, each created once. A leader that lives is never replaced without ``take_over``."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

from jobsys import processes
from jobsys.errors import LeaderRunningError
from jobsys.jobstores import JobStore, Lease

BEAT: Final = 5.0
"""Seconds between two signs of life."""
SILENCE: Final = 4 * BEAT
"""Seconds without a sign of life after which a leader on another host counts as dead."""
_held: Final[set[str]] = set()
"""The owners of the leases that this very process holds: one that it could not give back does not stand in its own way."""


def acquire(store: JobStore, wait: Callable[[float], None] = time.sleep, say: Callable[[str], None] = lambda _: None) -> Lease:
    """Become the leader of a run.

    Raises:
        LeaderRunningError: another leader lives.
    """
    stale = store.asked_to_stop()  # meant for a leader that is gone; whoever asks from now on means the one that comes
    last = store.last_lease()
    if last is not None and not store.last_beat(last.epoch)["released"]:
        _check_dead(store, last, wait, say)
    lease = Lease(
        epoch=1 if last is None else last.epoch + 1,
        owner=secrets.token_hex(16),
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=processes.started(os.getpid()),
        time=time.time(),
    )
    if not store.take_lease(lease):
        raise LeaderRunningError(f"another leader took the run in {store.locator} in this very moment; see 'jobsys status'")
    store.beat(lease.epoch, 0, lease.time)
    if stale is not None and store.asked_to_stop() == stale:
        store.forget_request()
    _held.add(lease.owner)
    return lease


def release(store: JobStore, lease: Lease) -> None:
    """Give the lease back, so that the next leader need not wait."""
    _held.discard(lease.owner)
    store.info()
    store.beat(lease.epoch, -1, time.time(), released=True)


def alive(store: JobStore, lease: Lease) -> bool | None:
    """Tell whether a leader lives; None if that can't be seen from this host without waiting."""
    if store.last_beat(lease.epoch)["released"]:
        return False
    return process_lives(lease) if lease.host == socket.gethostname() else None


def process_lives(lease: Lease) -> bool:
    """Tell whether the very process that took the lease on this host still runs."""
    return processes.is_running(lease.pid) and processes.started(lease.pid) == lease.process_started


def _check_dead(store: JobStore, last: Lease, wait: Callable[[float], None], say: Callable[[str], None]) -> None:
    who = f"the leader on {last.host} (process {last.pid})"
    refusal = (
        f"{who} holds the run in {store.locator} and is alive: two leaders can't share a run; "
        f"watch it with 'jobsys status --watch', or stop it with 'jobsys kill'"
    )
    if last.host == socket.gethostname():
        if process_lives(last) and (last.pid != os.getpid() or last.owner in _held):
            raise LeaderRunningError(refusal)
        return
    # clocks of two hosts can't be compared: what counts is whether the beat changes while this host watches
    before = store.last_beat(last.epoch)["count"]
    say(f"{who} left no word; waiting {SILENCE:.0f} s to see whether it is alive")
    wait(SILENCE)
    beat = store.last_beat(last.epoch)
    if beat["count"] != before and not beat["released"]:
        raise LeaderRunningError(refusal)
