"""The durable log of events over the job store, and with it the fence between leaders.

A segment is ``magic, payloads, events (JSON), footer``; it is created once under the next number. A leader that was replaced
finds the number taken, and can write no more.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from jobsys.errors import IntegrityError, LeaseLostError, NotFoundError
from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy
from jobsys.jobstores import JobStore, Lease
from jobsys.message import attempt_token
from jobsys.progress import Effect, Progress
from jobsys.progress.machine import Snapshot
from jobsys.record import Blob

_MAGIC: Final = b"jobsys1\n"
RESCUE: Final = "put the file back from a copy of the store, or begin a new run in another job store"
_FOOTER: Final = struct.Struct("<Q32s")


class Page(msgspec.Struct, frozen=True):
    """The events of one segment, and who wrote them."""

    segment: int
    epoch: int
    owner: str
    events: list[Event]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Page).decode


class Journal:
    """Collects events and writes many at once."""

    def __init__(self, store: JobStore, epoch: int, owner: str, segment: int) -> None:
        """Write for the leader of ``epoch``; ``segment`` is the next number."""
        self._store = store
        self._epoch = epoch
        self._owner = owner
        self.segment = segment
        self._events: list[Event] = []
        self._payloads: list[bytes] = [_MAGIC]
        self._size = len(_MAGIC)

    @property
    def pending(self) -> int:
        """How many events are not written yet."""
        return len(self._events)

    def place(self, payload: bytes) -> Blob:
        """Put bytes into the segment that is being collected; say where they will lie."""
        blob = Blob(self.segment, self._size, len(payload))
        if payload:
            self._payloads.append(payload)
            self._size += len(payload)
        return blob

    def add(self, event: Event) -> None:
        """Put an event into the segment that is being collected."""
        self._events.append(event)

    def flush(self) -> None:
        """Write what was collected; when this returns it is durable.

        Raises:
            LeaseLostError: another leader took the run over.
            StorageError: it can't be written; nothing is lost in the store.
        """
        events = _encode(Page(self.segment, self._epoch, self._owner, self._events))
        body = b"".join((*self._payloads, events))
        if not self._store.append(self.segment, body + _FOOTER.pack(len(events), hashlib.sha256(body).digest())):
            raise lease_lost(self._store, f"epoch {read(self._store, self.segment).epoch}")
        self.segment += 1
        self._events, self._payloads, self._size = [], [_MAGIC], len(_MAGIC)


def lease_lost(store: JobStore, later: str) -> LeaseLostError:
    """Say that a ``later`` leader has taken the run over."""
    return LeaseLostError(
        f"another leader ({later}) took over the run in {store.locator}: this one stops; "
        f"what it had not written will be done again by the other"
    )


def read(store: JobStore, segment: int) -> Page:
    """Read one segment.

    Raises:
        IntegrityError: it is not what was written, or it is not there.
    """
    try:
        data = store.segment(segment)
    except NotFoundError:
        raise IntegrityError(
            f"segment {segment} of the journal in {store.locator} is missing: what came after it can't be used; {RESCUE}"
        ) from None
    end = len(data) - _FOOTER.size
    if end < len(_MAGIC) or not data.startswith(_MAGIC):
        raise IntegrityError(f"segment {segment} of the journal in {store.locator} is damaged: it is no segment; {RESCUE}")
    length, digest = _FOOTER.unpack_from(data, end)
    if hashlib.sha256(memoryview(data)[:end]).digest() != digest:
        raise IntegrityError(f"segment {segment} of the journal in {store.locator} is damaged: its SHA-256 does not match; {RESCUE}")
    return _decode(memoryview(data)[end - length : end])


def pages(store: JobStore, after: int = 0) -> Iterator[Page]:
    """Read the segments after a number, in order and without a gap.

    A list made while a leader writes may lack a segment, although it has a later one: so what it lacks is read all the same.

    Raises:
        IntegrityError: one is damaged or missing.
    """
    next_one = after + 1
    for found in store.segments(after):
        for segment in range(next_one, found + 1):
            yield read(store, segment)
        next_one = found + 1


def replay(store: JobStore, see: Callable[[Event], None] | None = None) -> tuple[Progress, int]:
    """Restore the state of a run: the last readable snapshot, then the journal.

    Args:
        store: where the run is.
        see: called with every event; given, the whole journal is read and no snapshot.

    Returns:
        the state, and the number of the last segment.
    """
    progress, last = (None, 0) if see else _from_snapshot(store)
    progress = progress or Progress()
    for page in pages(store, last):
        for event in page.events:
            progress.apply(event)
            if see is not None:
                see(event)
        last = page.segment
    return progress, last


def attempts_over(store: JobStore, last: int) -> tuple[dict[str, bool], set[str]]:
    """Read in the journal up to a segment which attempts have ended.

    Returns:
        by token, whether it was with a commit; and how the tokens of all its leaders begin.
    """
    over: dict[str, bool] = {}
    leaders: set[str] = set()
    for segment in range(1, last + 1):  # not as listed: a list may lack what the last leader wrote
        for event in read(store, segment).events:
            if isinstance(event, Committed):
                over[event.report.token] = True
            elif isinstance(event, AttemptFailed):
                over[event.token] = False
            elif isinstance(event, LeaderStarted):
                leaders.add(attempt_token(event.epoch, event.owner, 0).rpartition(".")[0])
    over.pop("", None)
    return over, leaders


class Started(NamedTuple):
    """A run that a leader has taken over: its state, what is to be done first, and the journal to go on with."""

    progress: Progress
    effects: list[Effect]
    journal: Journal


def take_over(store: JobStore, lease: Lease, policy: Policy, progress: Progress, last: int) -> Started:
    """Put the fence into the journal: behind it, no earlier leader can write.

    Args:
        store: where the run is.
        lease: the new leader's.
        policy: what it does about failures.
        progress: the state as replayed.
        last: the number of the segment up to which it was.

    Raises:
        LeaseLostError: a later leader was there first.
    """
    if progress.epoch > lease.epoch:  # this leader slept between its lease and the reading of the journal
        raise lease_lost(store, f"epoch {progress.epoch}")
    fence = LeaderStarted(lease.epoch, lease.owner, lease.host, lease.pid, lease.time, policy)
    while True:
        journal = Journal(store, lease.epoch, lease.owner, last + 1)
        journal.add(fence)
        try:
            journal.flush()
        except LeaseLostError:
            page = read(store, last + 1)
            if page.epoch > lease.epoch:
                raise
            for event in page.events:  # an earlier leader was still writing
                progress.apply(event)
            last += 1
        else:
            return Started(progress, progress.apply(fence), journal)


def write_snapshot(store: JobStore, progress: Progress, segment: int) -> None:
    """Keep the state after a segment, so that a restart need not read what came before."""
    body = _encode(progress.snapshot())
    store.write_snapshot(segment, body + hashlib.sha256(body).digest())


def _from_snapshot(store: JobStore) -> tuple[Progress | None, int]:
    for segment in store.snapshots():
        data = store.snapshot(segment)
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            continue
        with suppress(msgspec.DecodeError):  # another version wrote it; the journal has all that is in it
            return Progress.restore(msgspec.json.decode(data[:-32], type=Snapshot)), segment
    return None, 0
