"""What is written down of tasks so that another leader finds them again, and how it takes them over."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState
from jobsys.batch.cluster.book import Part, Wave
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import Ask, PassingError, Scheduler
from jobsys.clock import SYSTEM, Clock
from jobsys.errors import IntegrityError, NotFoundError
from jobsys.framing import FrameReader
from jobsys.requirements import Requirements

T = TypeVar("T")

logger = logging.getLogger(__name__)

_TRIES: Final = 6
_PAUSE: Final = 1.0
_TAIL: Final = 2000  # characters of what a task has printed, in a message


class Record(msgspec.Struct, frozen=True):
    """What is known of a wave: with an empty native id, it may have been submitted, and its name tells."""

    scheduler: str
    name: str
    count: int
    requirements: Requirements
    service: bool
    native: str
    log: str = ""
    title: str = ""
    options: tuple[str, ...] = ()  # with which the scheduler was made
    canceled: bool = False  # all its tasks were, in order; what they had finished may still lie there


def record(wave: Wave, scheduler: str, native: str, options: tuple[str, ...] = (), canceled: bool = False) -> bytes:
    """Write down a wave."""
    ask = wave.ask
    return msgspec.json.encode(
        Record(scheduler, ask.name, ask.count, ask.requirements, wave.service, native, ask.log, ask.title, options, canceled)
    )


def records(office: Office) -> Iterator[Record]:
    """Go through the waves that leaders have left."""
    for wave, data in office.waves():
        try:
            yield msgspec.json.decode(data, type=Record)
        except msgspec.DecodeError as error:
            logger.warning("tasks %s of an earlier leader are passed over: %s", wave, error)


def left(office: Office, scheduler: Scheduler, adoptable: bool, clock: Clock = SYSTEM) -> list[Wave]:
    """Find the waves that an earlier leader has left; those that can't reach the store any more are canceled.

    Raises:
        BatchSystemError: the scheduler can't tell.
    """
    ids = itertools.count(-1, -1)
    found = []
    for each in records(office):
        if each.canceled:
            if (wave := _wave(office, each, "", ids, clock)) is not None:
                found.append(wave)
            continue
        if each.scheduler != scheduler.name:
            logger.warning("tasks %s were left to %s, where nobody looks after them now", each.native or each.name, each.scheduler)
            continue
        native = each.native or _insist(lambda name=each.name: scheduler.find(name), clock)  # type: ignore[misc]
        if native is None:
            office.close(each.name)
            if (native := _insist(lambda name=each.name: scheduler.find(name), clock)) is not None:  # type: ignore[misc]
                _insist(lambda native=native: scheduler.cancel({native: None}), clock)  # type: ignore[misc]
        elif not adoptable:
            _insist(lambda native=native: scheduler.cancel({native: None}), clock)  # type: ignore[misc]
            office.close(each.name)
        elif (wave := _wave(office, each, native, ids, clock)) is not None:
            found.append(wave)
        else:
            _insist(lambda native=native: scheduler.cancel({native: None}), clock)  # type: ignore[misc]
    return found


def _wave(office: Office, each: Record, native: str, ids: Iterator[int], clock: Clock) -> Wave | None:
    """Read what became of a wave; None, and it is deleted, where that can't be believed, or another leader was about to delete it."""
    try:
        wave = _read(office, each, ids, clock)
    except (NotFoundError, IntegrityError) as error:
        logger.warning("tasks %s of an earlier leader are given up: %s", native or each.name, error)
        office.close(each.name)
        return None
    wave.native = native
    wave.canceled = each.canceled
    for part in wave.live() if each.canceled else ():
        part.ended = clock.monotonic()
    return wave


def _read(office: Office, each: Record, ids: Iterator[int], clock: Clock) -> Wave:
    wave = Wave(Ask(each.name, each.count, each.requirements, "", each.log, each.title), each.service)
    orders, begun = office.orders(each.name), office.begun(each.name)
    if len(orders) != each.count:
        raise IntegrityError(f"there are orders for {len(orders)} of {each.count} tasks")
    for part, payload in zip(wave.parts, orders, strict=True):
        part.adopted = True
        claim = begun.get(part.number)
        part.over = claim is not None and claim.leader
        if not part.over:
            _add(part, wire.unpack_jobs(payload), ids)
            part.since = 0.0 if claim is None else clock.monotonic()
    for number in office.told(each.name):
        if number >= each.count:
            continue
        letters = office.written(each.name, number)
        wave.parts[number].written = len(letters)
        for letter in letters:
            for kind, _, _, payload in FrameReader().feed(letter):
                if kind == framing.SUBMIT:
                    _add(wave.parts[number], wire.unpack_jobs(payload), ids)
    return wave


def _add(part: Part, jobs: list[BatchJob], ids: Iterator[int]) -> None:
    for job in jobs:
        part.add(msgspec.structs.replace(job, id=next(ids)), job.id)


def cancel(office: Office, scheduler: Scheduler, each: Record) -> None:
    """Cancel the tasks of a wave, if there are any, and note that: what they have finished is the next leader's.

    Raises:
        BatchSystemError: the scheduler can't be reached.
    """
    native = each.native or _insist(lambda: scheduler.find(each.name))
    if native is not None:
        _insist(lambda: scheduler.cancel({native: None}))
    office.write_record(each.name, msgspec.json.encode(msgspec.structs.replace(each, native=native or "", canceled=True)))


def finished(office: Office, each: Record) -> list[tuple[bytes, bytes]]:
    """Give the orders of a wave that its tasks have said they finished, each with the report: what nobody has read yet."""
    wave = _wave(office, each, each.native, itertools.count(-1, -1), SYSTEM)
    found: list[tuple[bytes, bytes]] = []
    if wave is None:
        return found
    for letter in office.letters():
        if letter.wave != each.name or letter.task >= each.count:
            continue
        jobs = wave.parts[letter.task].jobs
        for kind, _, _, payload in FrameReader().feed(letter.data):
            news = wire.unpack_updates(payload, "") if kind == framing.UPDATES else []
            found += [(jobs[new.id].order, new.payload) for new in news if new.state is BatchState.COMPLETED and new.id in jobs]
    return found


def _insist(ask: Callable[[], T], clock: Clock = SYSTEM) -> T:
    for _ in range(_TRIES - 1):
        try:
            return ask()
        except PassingError as error:
            logger.info("%s", error)
            clock.sleep(_PAUSE)
    return ask()


def stillborn(scheduler: str, part: Part) -> str:
    """Say why tasks end before they say a word, as far as that can be known."""
    seen = part.seen
    how = seen.message or ("" if seen.exit_status is None else f"exit status {seen.exit_status}") or "no reason given"
    where = f" on {seen.host}" if seen.host else ""
    printed = _printed(part)
    way = (
        f"it printed:\n{printed}"
        if printed
        else "what it prints is not kept: name a directory that its host has, too, by --task-log, to see that"
        if not part.wave.ask.log
        else f"it printed nothing into {part.wave.ask.log}, which its host may not have"
    )
    return f"tasks of {scheduler} end before they can begin a job, the last {part.shown()}{where} ({how}); {way}"


def _printed(part: Part) -> str:
    """Find the end of what a task printed, in the newest file of its directory."""
    if not part.wave.ask.log:
        return ""
    try:
        files = [path for path in Path(part.wave.ask.log).iterdir() if path.is_file() and path.stat().st_size]
        text = max(files, key=lambda path: path.stat().st_mtime).read_bytes().decode(errors="replace") if files else ""
    except OSError as error:
        logger.info("what task %s printed can't be read: %s", part.shown(), error)
        return ""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()[-_TAIL:]
