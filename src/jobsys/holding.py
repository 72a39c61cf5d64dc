"""Places of a cache that a process uses: held by a shared lock on ``<place>.used`` as long as it lives. Fetches and evicts nothing.

The file's time of modification is that of the last use; ``<place>.parts`` lists the places that this one rests on, which are held with it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from jobsys.files import is_file_of, lock_file, write_whole

_held: Final[dict[str, int]] = {}  # descriptors, open until this process and its forks end


def hold(place: str, parts: Sequence[str] = ()) -> bool:
    """Keep a place, and those that it rests on, from being evicted while this process or a fork of it lives; tell whether it is there.

    The place need not exist yet: hold it first, then look, or make it. What was held when it was looked at can't vanish after.
    """
    place = os.path.abspath(place)
    known = parts_of(place)
    wanted = [os.path.abspath(part) for part in parts] or known
    for part in wanted:
        if part != place:
            hold(part)
    if wanted != known:
        write_whole(f"{place}.parts", json.dumps(wanted).encode(), sync=False)
    path = f"{place}.used"
    if place not in _held or not is_file_of(_held[place], path):
        old = _held.pop(place, None)
        _held[place] = lock_file(path, fcntl.LOCK_SH)
        if old is not None:
            os.close(old)
    os.utime(_held[place])
    return os.path.lexists(place)


def parts_of(place: str) -> list[str]:
    """List the places that this one rests on."""
    try:
        with open(f"{place}.parts", "rb") as stream:
            found = json.loads(stream.read())
    except (FileNotFoundError, ValueError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def hold_over_exec() -> None:
    """Let what this process holds stay held by the program that it becomes."""
    for descriptor in _held.values():
        os.set_inheritable(descriptor, True)


@contextmanager
def unused(place: str) -> Iterator[bool]:
    """Tell whether nobody holds a place or works on it; while it is so told, nobody begins to."""
    opened: list[int] = []
    try:
        try:
            for kind in ("used", "lock"):
                opened.append(lock_file(f"{place}.{kind}", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        for descriptor in opened:
            os.close(descriptor)


def is_held(place: str) -> bool:
    """Tell whether a process holds a place now."""
    try:
        descriptor = os.open(f"{place}.used", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
