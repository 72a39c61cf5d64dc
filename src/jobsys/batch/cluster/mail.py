"""What a leader and its tasks leave for each other in the job store: orders, letters both ways, and who began a task.

All lies below one folder. A *wave* is what was asked for at once; ``WAVE.NUMBER`` names one of its tasks. Each object is written once,
except for the record of a wave, and bears a tag under the wave's key over its own key and bytes: nobody who can write to the store can
put words into a task's mouth, nor move or repeat them under another name.

    FOLDER/wave/WAVE/record    what was asked for, and its native id once that is known
    FOLDER/wave/WAVE/orders    the jobs of all tasks, with a table of where each task's begin
    FOLDER/wave/WAVE/begun/N   made once, by the process that runs task N
    FOLDER/wave/WAVE/to/N/S    letter S of the leader to task N
    FOLDER/from/WAVE.N.S       letter S of task N to the leader: all in one place, so that one list finds what is new
"""

import hashlib
import hmac
import importlib
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from jobsys.errors import IntegrityError, NotFoundError
from jobsys.storage.base import Storage

logger = logging.getLogger(__name__)

T = TypeVar("T")

TAG: Final = 32
_FEW: Final = 4
_AT_ONCE: Final = 16
_TABLE: Final = struct.Struct("<QQ")
_COUNT: Final = struct.Struct("<I")


class Letter(NamedTuple):
    """What a task has written to its leader."""

    key: str
    wave: str
    task: int
    data: bytes


def tagged(secret: bytes, key: str, data: bytes) -> bytes:
    """Put the tag of an object behind its bytes."""
    return data + hmac.digest(secret, key.encode() + b"\0" + hashlib.sha256(data).digest(), "sha256")


def untagged(secret: bytes, key: str, data: bytes) -> bytes:
    """Take the tag off.

    Raises:
        IntegrityError: it is not the one of this key.
    """
    body = data[:-TAG]
    if not hmac.compare_digest(tagged(secret, key, body), data):
        raise IntegrityError(
            f"{key} does not bear the tag of its wave: it was changed, or put there, by somebody who can write to the store"
        )
    return body


def pack_orders(secret: bytes, key: str, parts: Sequence[bytes]) -> bytes:
    """Write the orders of all tasks as one object, each task's tagged on its own so that it need read no other's."""
    sealed = [tagged(secret, f"{key}/{number}", part) for number, part in enumerate(parts)]
    at = _COUNT.size + _TABLE.size * len(parts)
    table = bytearray(_COUNT.pack(len(parts)))
    for part in sealed:
        table += _TABLE.pack(at, len(part))
        at += len(part)
    return bytes(table) + b"".join(sealed)


def unpack_orders(secret: bytes, key: str, data: bytes) -> list[bytes]:
    """Read the orders of all tasks.

    Raises:
        IntegrityError: they are not whole.
    """
    try:
        (count,) = _COUNT.unpack_from(data)
        places = [_TABLE.unpack_from(data, _COUNT.size + _TABLE.size * number) for number in range(count)]
    except struct.error as error:
        raise IntegrityError(f"{key} is damaged: {error}") from error
    return [untagged(secret, f"{key}/{number}", data[at : at + size]) for number, (at, size) in enumerate(places)]


class Places:
    """Where everything lies below a folder, which ends with a slash."""

    def __init__(self, folder: str) -> None:
        """Name the folder."""
        self.waves = f"{folder}wave/"
        self.letters = f"{folder}from/"

    def wave(self, wave: str) -> str:
        """All of a wave but its tasks' letters."""
        return f"{self.waves}{wave}/"

    def record(self, wave: str) -> str:
        """What was asked for."""
        return f"{self.wave(wave)}record"

    def orders(self, wave: str) -> str:
        """The jobs of its tasks."""
        return f"{self.wave(wave)}orders"

    def begun(self, wave: str, task: int) -> str:
        """Who runs a task."""
        return f"{self.wave(wave)}begun/{task}"

    def to(self, wave: str, task: int, serial: int | None = None) -> str:
        """A letter to a task, or what all of them begin with."""
        return f"{self.wave(wave)}to/{task}/" + ("" if serial is None else f"{serial:08d}")

    def sent(self, wave: str, task: int, serial: int) -> str:
        """A letter of a task."""
        return f"{self.letters}{wave}.{task}.{serial:08d}"


class Claim(msgspec.Struct, frozen=True):
    """Who runs a task."""

    host: str
    pid: int
    time: float  # seconds since the epoch
    leader: bool = False  # it took the jobs out before anybody ran them


class Office:
    """The leader's end."""

    def __init__(self, storage: Storage, folder: str, secret: Callable[[str], bytes]) -> None:
        """Use a folder of a storage; ``secret`` gives the key of a wave by its name."""
        self.places = Places(folder)
        self._storage = storage
        self._secret = secret
        self._known: set[str] = set()  # letters that were read and still lie there

    def write_record(self, wave: str, record: bytes) -> None:
        """Write, or replace, what is known of a wave."""
        key = self.places.record(wave)
        self._storage.put(key, tagged(self._secret(wave), key, record))

    def write_orders(self, wave: str, parts: Sequence[bytes]) -> None:
        """Write the orders of all tasks of a wave."""
        key = self.places.orders(wave)
        self._storage.put(key, pack_orders(self._secret(wave), key, parts))

    def write(self, wave: str, task: int, serial: int, data: bytes) -> None:
        """Write to a task."""
        key = self.places.to(wave, task, serial)
        letter = tagged(self._secret(wave), key, data)
        if not self._storage.put(key, letter, if_absent=True) and self._storage.get(key) != letter:
            raise IntegrityError(f"{key} is there already: another leader writes to the task, or somebody who can write to the store")

    def claim(self, wave: str, task: int) -> bool:
        """Begin a task in place of the process that would run it; tell whether it had not been begun. That process then runs nothing."""
        claim = Claim(socket.gethostname(), os.getpid(), time.time(), leader=True)
        key, mine = self.places.begun(wave, task), msgspec.json.encode(claim)
        return self._storage.put(key, mine, if_absent=True) or self._storage.get(key) == mine

    def letters(self) -> list[Letter]:
        """Read what tasks have written that was not read before; what is not theirs is passed over."""
        found = []
        for key in self._storage.list(self.places.letters):
            if key in self._known:
                continue
            letter = self._letter(key)
            if letter is not None:
                found.append(letter)
        return found

    def _letter(self, key: str) -> Letter | None:
        wave, _, rest = key.removeprefix(self.places.letters).partition(".")
        task = rest.partition(".")[0]
        try:
            data = self._storage.get(key)
            letter = Letter(key, wave, int(task), untagged(self._secret(wave), key, data))
        except NotFoundError:  # of a list that was older
            return None
        except (IntegrityError, ValueError) as error:
            logger.warning("%s is passed over: %s", key, error)
            letter = None
        self._known.add(key)
        return letter

    def forget(self, letters: Sequence[str]) -> None:
        """Delete letters that were acted on."""
        self._storage.delete(letters)
        self._known.difference_update(letters)

    def close(self, wave: str) -> None:
        """Delete a wave, and the letters of its tasks.

        The orders go first: a task that begins now must not find them without the claim. The record goes last: whoever is killed here
        is followed by somebody who finds it.
        """
        letters = list(self._storage.list(f"{self.places.letters}{wave}."))
        record = self.places.record(wave)
        self._storage.delete([self.places.orders(wave)])
        self._storage.delete([*letters, *(key for key in self._storage.list(self.places.wave(wave)) if key != record)])
        self._storage.delete([record])
        self._known.difference_update(letters)

    # -- what an earlier leader left ---------------------------------------------------------------------------

    def waves(self) -> Iterator[tuple[str, bytes]]:
        """Go through the waves and their records; one that does not bear its tag is passed over."""
        names = dict.fromkeys(key.removeprefix(self.places.waves).partition("/")[0] for key in self._storage.list(self.places.waves))
        for wave in names:
            key = self.places.record(wave)
            try:
                yield wave, untagged(self._secret(wave), key, self._storage.get(key))
            except (NotFoundError, IntegrityError) as error:
                logger.warning("tasks of an earlier leader are passed over: %s", error)

    def orders(self, wave: str) -> list[bytes]:
        """Read the orders of all tasks of a wave.

        Raises:
            NotFoundError: they were never written: nothing was asked for.
            IntegrityError: they were changed.
        """
        key = self.places.orders(wave)
        return unpack_orders(self._secret(wave), key, self._storage.get(key))

    def has_orders(self, wave: str) -> bool:
        """Tell whether the orders of a wave are there: whoever gives it up deletes them first."""
        try:
            self._storage.stat(self.places.orders(wave))
        except NotFoundError:
            return False
        return True

    def written(self, wave: str, task: int) -> list[bytes]:
        """Read all that was written to a task."""
        secret = self._secret(wave)
        return [untagged(secret, key, self._storage.get(key)) for key in self._storage.list(self.places.to(wave, task))]

    def begun(self, wave: str) -> dict[int, Claim]:
        """Tell who began which tasks of a wave; what can't be read was no leader."""
        start = f"{self.places.wave(wave)}begun/"
        found = [key for key in self._storage.list(start) if key.removeprefix(start).isdecimal()]
        return {int(key.removeprefix(start)): claim for key, claim in zip(found, _side_by_side(self._claim, found), strict=True)}

    def _claim(self, key: str) -> Claim:
        try:
            return msgspec.json.decode(self._storage.get(key), type=Claim)
        except (NotFoundError, msgspec.DecodeError):
            return Claim("", 0, 0.0)

    def told(self, wave: str) -> list[int]:
        """List the tasks of a wave that were written to."""
        start = f"{self.places.wave(wave)}to/"
        numbers = {key.removeprefix(start).partition("/")[0] for key in self._storage.list(start)}
        return sorted(int(number) for number in numbers if number.isdecimal())


def _side_by_side(read: Callable[[str], T], found: Sequence[str]) -> list[T]:
    """Read many objects at a time, where there are many: a distant store takes long for each."""
    if len(found) <= _FEW:
        return [read(key) for key in found]
    futures = importlib.import_module("concurrent.futures")  # loaded on use: no task needs it
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(read, found))


class Box:
    """A task's end."""

    def __init__(self, storage: Storage, folder: str, wave: str, task: int, secret: bytes) -> None:
        """Use a folder of a storage."""
        self._places = Places(folder)
        self._storage = storage
        self._wave, self._task, self._secret = wave, task, secret
        self._serial = 0
        self.read = 0
        """How many letters of the leader were read."""

    def claim(self, claim: Claim) -> Claim | None:
        """Begin the task; None if this process is the first, else who was. An answer that was lost is no refusal."""
        key, mine = self._places.begun(self._wave, self._task), msgspec.json.encode(claim)
        if self._storage.put(key, mine, if_absent=True) or (theirs := self._storage.get(key)) == mine:
            return None
        return msgspec.json.decode(theirs, type=Claim)

    def orders(self) -> bytes:
        """Read the orders of this task.

        Raises:
            NotFoundError: the wave was deleted: its leader has given it up.
            IntegrityError: they were changed.
        """
        key = self._places.orders(self._wave)
        table = self._storage.get(key, _COUNT.size + _TABLE.size * self._task, _TABLE.size)
        if len(table) != _TABLE.size:
            raise IntegrityError(f"{key} has no orders for task {self._task}")
        at, size = _TABLE.unpack(table)
        return untagged(self._secret, f"{key}/{self._task}", self._storage.get(key, at, size))

    def look(self) -> list[bytes]:
        """Read what the leader has written since the last look, in order."""
        start = self._places.to(self._wave, self._task)
        found = []
        for key in self._storage.list(start, f"{start}{self.read:08d}" if self.read else ""):
            if key != self._places.to(self._wave, self._task, self.read + 1):  # one before it is not to be seen yet
                break
            found.append(untagged(self._secret, key, self._storage.get(key)))
            self.read += 1
        return found

    def write(self, data: bytes) -> None:
        """Write to the leader."""
        self._serial += 1
        key = self._places.sent(self._wave, self._task, self._serial)
        self._storage.put(key, tagged(self._secret, key, data))
