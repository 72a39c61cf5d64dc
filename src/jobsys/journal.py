"""The durable log of events over the job store, and with it the fence between leaders.

A segment is ``magic, payloads, events (JSON), footer``; it is created once under the next number. A leader that was replaced
finds the number taken, and can write no more. The footer holds a SHA-256, by which anybody sees damage, and a tag made with the run's
key, which signs the segment and all before it: a leader believes nothing else.
"""

import hashlib
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, NamedTuple

import msgspec

from jobsys.collecting import uncollected
from jobsys.errors import IntegrityError, LeaseLostError, NotFoundError
from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy
from jobsys.jobstores import JobStore, Lease
from jobsys.message import Report, attempt_token, decode_report
from jobsys.parts import read_part
from jobsys.progress import Effect, Progress
from jobsys.progress.machine import Snapshot
from jobsys.record import Blob, JobRecord
from jobsys.sealing import BEGINNING, TAG, RunKey, check_signed, same, signed

logger = logging.getLogger(__name__)

_MAGIC: Final = b"jobsys2\n"
RESCUE: Final = "put the file back from a copy of the store, or begin a new run in another job store"
_FOOTER: Final = struct.Struct("<Q32s32s")
_BEHIND_SNAPSHOT: Final = struct.Struct("<32s32s32s")


_NEAR: Final = 1024
_NEAR_SEGMENT: Final = 16 * 1024
NOWHERE: Final = Blob(0, 0, 0)
"""Where nothing lies yet that came with a report."""


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

    def __init__(self, store: JobStore, epoch: int, owner: str, segment: int, tag: bytes | None = None) -> None:
        """Write for the leader of ``epoch``; ``segment`` is the next number, ``tag`` the one of the segment before, read if not given.

        Raises:
            RunKeyError: the run's key is not on this host.
            IntegrityError: the segment before is not there.
        """
        self._store = store
        self._epoch = epoch
        self._owner = owner
        self.segment = segment
        self.tag = tag_of(store, segment - 1) if tag is None else tag
        self._key = store.key
        self._events: list[Event] = []
        self._payloads: list[bytes] = [_MAGIC]
        self._size = len(_MAGIC)
        self._newest = (0, b"")  # number and bytes of the segment written last, if it is small

    @property
    def pending(self) -> int:
        """How many events are not written yet."""
        return len(self._events)

    def place(self, payload: bytes, *, whole: bool = True) -> Blob:
        """Put bytes into the segment that is being collected; say where they will lie.

        They are described as a whole, unless they are a message's payload, whose parts are described by the message.
        """
        blob = Blob.of(payload, self.segment, self._size) if whole else Blob(self.segment, self._size, len(payload))
        if payload:
            self._payloads.append(payload)
            self._size += len(payload)
        return blob

    def add(self, event: Event) -> None:
        """Put an event into the segment that is being collected."""
        self._events.append(event)

    def recall(self, blob: Blob) -> bytes:
        """Give what lies at a place, if it was written a moment ago and is small; else nothing."""
        segment, body = self._newest
        return body[blob.offset : blob.offset + blob.length] if blob.where == segment and blob.length <= _NEAR else b""

    def flush(self) -> None:
        """Write what was collected; when this returns it is durable.

        Raises:
            LeaseLostError: another leader took the run over.
            StorageError: it can't be written; nothing is lost in the store.
        """
        events = _encode(Page(self.segment, self._epoch, self._owner, self._events))
        body = b"".join((*self._payloads, events))
        digest = hashlib.sha256(body).digest()
        tag = self._key.segment(self.segment, len(events), digest, self.tag)
        if not self._store.append(self.segment, body + _FOOTER.pack(len(events), digest, tag)):
            raise lease_lost(self._store, f"epoch {read(self._store, self.segment).epoch}")
        self._newest = (self.segment, body if len(body) <= _NEAR_SEGMENT else b"")
        self.segment += 1
        self.tag = tag
        self._events, self._payloads, self._size = [], [_MAGIC], len(_MAGIC)


def lease_lost(store: JobStore, later: str) -> LeaseLostError:
    """Say that a ``later`` leader has taken the run over."""
    return LeaseLostError(
        f"another leader ({later}) took over the run in {store.locator}: this one stops; "
        f"what it had not written will be done again by the other"
    )


def read(store: JobStore, segment: int, previous: bytes | None = None) -> Page:
    """Read one segment.

    Args:
        store: where the run is.
        segment: its number.
        previous: the tag of the one before: given, this one must bear its own. Otherwise only damage is seen, which is enough to look.

    Raises:
        IntegrityError: it is not what was written, or it is not there.
    """
    return _read(store, segment, previous)[0]


def tag_of(store: JobStore, segment: int) -> bytes:
    """Read the tag of a segment as it stands there; what was before the first has one, too."""
    return _read(store, segment, None)[1] if segment else BEGINNING


def made_by(store: JobStore, report: Report, payload: Blob = NOWHERE) -> Iterator[tuple[Blob, Sequence[JobRecord]]]:
    """Go through the jobs that an attempt made, some at a time, each time with the place into which the places of their bodies point.

    Args:
        store: where the run is.
        report: the attempt's.
        payload: where what came with the report lies.

    Raises:
        IntegrityError: what the attempt kept beside its report is not what it was, or is missing.
    """
    if report.jobs:
        yield payload, report.jobs
    for part in report.parts:
        try:
            data = store.read(part.records)
        except NotFoundError:
            raise IntegrityError(f"{part.records.where} in {store.locator} is missing, which holds jobs of the run; {RESCUE}") from None
        yield read_part(part, data)


def apply(store: JobStore, progress: Progress, event: Event) -> list[Effect]:
    """Have ``progress`` take in an event, with what it refers to; return what is to be done about it.

    Raises:
        IntegrityError: what the event refers to is not what was written.
    """
    return progress.apply(event, made_by(store, event.report, event.payload) if isinstance(event, Committed) else None)


def _read(store: JobStore, segment: int, previous: bytes | None) -> tuple[Page, bytes]:
    try:
        data = store.segment(segment)
    except NotFoundError:
        raise IntegrityError(
            f"segment {segment} of the journal in {store.locator} is missing: what came after it can't be used; {RESCUE}"
        ) from None
    end = len(data) - _FOOTER.size
    if end < len(_MAGIC) or not data.startswith(_MAGIC):
        raise IntegrityError(f"segment {segment} of the journal in {store.locator} is damaged: it is no segment; {RESCUE}")
    length, digest, tag = _FOOTER.unpack_from(data, end)
    if hashlib.sha256(memoryview(data)[:end]).digest() != digest:
        raise IntegrityError(f"segment {segment} of the journal in {store.locator} is damaged: its SHA-256 does not match; {RESCUE}")
    if previous is not None and not same(store.key.segment(segment, length, digest, previous), tag):
        raise IntegrityError(
            f"segment {segment} of the journal in {store.locator} does not bear the tag of this run's key: it, or one before it, was not "
            f"written by a leader of this run, but by somebody who can write to the store; {RESCUE}"
        )
    try:
        return _decode(memoryview(data)[max(0, end - length) : end]), tag
    except msgspec.DecodeError as error:
        raise IntegrityError(f"segment {segment} of the journal in {store.locator} can't be read: {error}; {RESCUE}") from error


def pages(store: JobStore, after: int = 0, tag: bytes | None = None) -> Iterator[Page]:
    """Read the segments after a number, in order and without a gap.

    A list made while a leader writes may lack a segment, although it has a later one: so what it lacks is read all the same.

    Args:
        store: where the run is.
        after: the number.
        tag: the tag of that segment: given, all others must bear theirs. Otherwise only damage is seen, which is enough to look.

    Raises:
        IntegrityError: one is not what was written, or missing.
    """
    return (page for page, _ in _tagged(store, after, tag))


def _tagged(store: JobStore, after: int, tag: bytes | None) -> Iterator[tuple[Page, bytes]]:
    next_one = after + 1
    for found in store.segments(after):
        for segment in range(next_one, found + 1):
            page, its = _read(store, segment, tag)
            tag = None if tag is None else its
            yield page, its
        next_one = found + 1


def replay(store: JobStore, see: Callable[[Event], None] | None = None, *, look: bool = False) -> tuple[Progress, int]:
    """Restore the state of a run: the last readable snapshot, then the journal.

    Args:
        store: where the run is.
        see: called with every event; given, the whole journal is read and no snapshot.
        look: the state is only shown: the run's key is not needed, and nothing is believed that follows from it.

    Returns:
        the state, and the number of the last segment.

    Raises:
        IntegrityError: it is not what leaders of this run wrote.
        RunKeyError: the run's key is not on this host.
    """
    replayed = restore(store, see, look=look)
    return replayed.progress, replayed.last


class Replayed(NamedTuple):
    """The state of a run after its last segment, and the tag of that one, which a leader that goes on from there must sign with its own."""

    progress: Progress
    last: int
    tag: bytes


def restore(store: JobStore, see: Callable[[Event], None] | None = None, *, look: bool = False) -> Replayed:
    """Do what ``replay`` does, and tell the tag that was checked last: what lies in the store a moment later may be another history."""
    key = None if look else store.key
    with uncollected(), making_sense(store) if look else nullcontext():
        progress, last, tag = (None, 0, BEGINNING) if see else _from_snapshot(store, key)
        progress = progress or Progress()
        for page, its in _tagged(store, last, None if look else tag):
            for event in page.events:
                if look:
                    check_new(progress, event)
                apply(store, progress, event)
                if see is not None:
                    see(event)
            last, tag = page.segment, its
        return Replayed(progress, last, tag)


@contextmanager
def making_sense(store: JobStore) -> Iterator[None]:
    """Take for damage what can't be followed: who only looks has not seen whether it was a leader that wrote it.

    Raises:
        IntegrityError: something does not fit what was before.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise IntegrityError(
            f"the journal in {store.locator} makes no sense ({type(error).__name__}: {error}): it is damaged, or was changed by somebody "
            f"who can write to the store; {RESCUE}"
        ) from error


def check_new(progress: Progress, event: Event) -> None:
    """Refuse a commit that makes jobs which are there already: they could come of themselves, and who follows them would find no end.

    Raises:
        ValueError: it does.
    """
    if isinstance(event, Committed) and event.first < progress.next_id:
        raise ValueError(f"job {event.first} is made twice")


def confirm(store: JobStore, segment: int) -> None:
    """Have the journal up to a segment survive a power cut before anybody is told of it: who wrote it may have been killed before that.

    To create it again is refused, and leaves it as durable as if this process had written it.
    """
    store.append(segment, store.segment(segment))


def attempts_over(store: JobStore, last: int) -> tuple[dict[str, bool], set[str]]:
    """Read in the journal up to a segment which attempts have ended.

    Returns:
        by token, whether it was with a commit; and how the tokens of all its leaders begin.
    """
    over: dict[str, bool] = {}
    leaders: set[str] = set()
    tag = BEGINNING
    for segment in range(1, last + 1):  # not as listed: a list may lack what the last leader wrote
        page, tag = _read(store, segment, tag)
        for event in page.events:
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


def take_over(store: JobStore, lease: Lease, policy: Policy, progress: Progress, last: int, tag: bytes | None = None) -> Started:
    """Put the fence into the journal: behind it, no earlier leader can write.

    Args:
        store: where the run is.
        lease: the new leader's.
        policy: what it does about failures.
        progress: the state as replayed.
        last: the number of the segment up to which it was.
        tag: its tag as it was checked then, read if not given.

    Raises:
        LeaseLostError: a later leader was there first.
        IntegrityError: so the journal says, but no later lease is there.
    """
    fence = LeaderStarted(lease.epoch, lease.owner, lease.host, lease.pid, lease.time, policy)
    while True:
        if progress.epoch >= lease.epoch:
            if store.replaced(lease.epoch):  # this leader slept between its lease and the reading of the journal
                raise lease_lost(store, f"epoch {progress.epoch}")
            way = "run again with --restart, which takes the next epoch" if progress.epoch == lease.epoch else RESCUE
            raise IntegrityError(
                f"the journal in {store.locator} has a leader of epoch {progress.epoch}, whose lease is not there any more: somebody has "
                f"deleted files of the store; {way}"
            )
        journal = Journal(store, lease.epoch, lease.owner, last + 1, tag)
        journal.add(fence)
        try:
            journal.flush()
        except LeaseLostError:
            page, tag = _read(store, last + 1, journal.tag)
            for event in page.events:  # an earlier leader was still writing, or a later one was quicker
                apply(store, progress, event)
            last += 1
        else:
            return Started(progress, progress.apply(fence), journal)


def write_snapshot(store: JobStore, progress: Progress, segment: int, tag: bytes | None = None) -> None:
    """Keep the state after a segment, so that a restart need not read what came before; ``tag`` is the segment's, read if not given."""
    body = _encode(progress.snapshot())
    digest = hashlib.sha256(body).digest()
    tag = tag_of(store, segment) if tag is None else tag
    store.write_snapshot(segment, body + _BEHIND_SNAPSHOT.pack(digest, tag, store.key.snapshot(segment, digest, tag)))


def _from_snapshot(store: JobStore, key: RunKey | None) -> tuple[Progress | None, int, bytes]:
    """Restore the newest snapshot that is as it was written: without one, the journal has all that is in it."""
    for segment in store.snapshots():
        data = store.snapshot(segment)
        body = data[: -_BEHIND_SNAPSHOT.size]
        if len(body) + _BEHIND_SNAPSHOT.size != len(data):
            continue
        digest, tag, seal = _BEHIND_SNAPSHOT.unpack_from(data, len(body))
        if hashlib.sha256(body).digest() != digest:
            continue
        if key is not None and not same(key.snapshot(segment, digest, tag), seal):
            logger.warning("the snapshot of segment %d does not count: no leader of this run wrote it", segment)
            continue
        if key is not None and not _stands_on(store, segment, tag):
            logger.warning("the snapshot of segment %d does not count: the journal was rolled back, and went on otherwise", segment)
            continue
        with suppress(msgspec.DecodeError):  # another version wrote it
            return Progress.restore(msgspec.json.decode(body, type=Snapshot)), segment, tag
    return None, 0, BEGINNING


def _stands_on(store: JobStore, segment: int, tag: bytes) -> bool:
    """Tell whether a segment is the one behind which a snapshot was taken; where it is gone, those that follow must bear its tag."""
    try:
        return tag_of(store, segment) == tag
    except IntegrityError:
        return True


def open_commit(key: RunKey, data: bytes) -> tuple[Report, bytes]:
    """Read a commit that a worker left in the store without a leader; give the report and its payload.

    Raises:
        IntegrityError: it is damaged, or no attempt of this run signed it.
    """
    if len(data) < TAG:
        raise IntegrityError("it is cut off")
    report, payload = decode_report(signed(data))
    check_signed(key.attempt(report.job, report.token), data)
    return report, payload
