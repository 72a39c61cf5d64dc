"""Objects one behind the other in a file that only grows: how they are written down, and where they end. Opens no file.

A record is ``header, key, bytes``. The header has a CRC of the bytes and one of itself, the key and its place, so that nothing but a
record that was written there passes for one: not zeros, not what a power cut left of one, not a copy of one inside of another's bytes.
"""

import re
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

Read = Callable[[int, int], bytes]
"""Gives ``length`` bytes from a place on, or fewer where the file ends; (length, place), as `os.pread` after its first argument."""

_MAGIC: Final = b"\x93rec"
_HEADER: Final = struct.Struct("<4sIIBxHQQd")  # magic, CRC of the bytes, CRC of the rest, kind, length of the key, length, place, time
_BEHIND_CRC: Final = struct.Struct("<BxHQQd")
_CRC: Final = struct.Struct("<I")
_KINDS: Final = {0: False, 1: True}
_LITTLE, _MUCH = 4096, 1 << 18
_DIGITS: Final = 18
_NUMBERED: Final = re.compile(rf"(.*?)([0-9]{{1,{_DIGITS}}})")
GONE: Final = -1


class Record(NamedTuple):
    """An object, or that it was deleted."""

    key: str
    gone: bool
    at: int
    """Where the record begins."""
    begin: int
    """Where the object's bytes begin."""
    length: int
    time: float
    crc: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.begin + self.length


def head(key: str, data: bytes | memoryview, at: int, time: float, *, gone: bool = False) -> bytes:
    """Make what stands before an object's bytes in a record that begins ``at``."""
    name = key.encode()
    rest = _BEHIND_CRC.pack(gone, len(name), len(data), at, time)
    crc = zlib.crc32(data)
    return _MAGIC + _CRC.pack(crc) + _CRC.pack(zlib.crc32(name, zlib.crc32(rest, crc))) + rest + name


def parse(data: bytes, at: int, offset: int = 0) -> Record | None:
    """Read the record that begins ``at`` from bytes in which it stands at ``offset``; None if its header and key are not whole there."""
    if len(data) - offset < _HEADER.size:
        return None
    magic, crc, own, kind, width, length, place, time = _HEADER.unpack_from(data, offset)
    begin = offset + _HEADER.size
    name = data[begin : begin + width]
    if magic != _MAGIC or place != at or kind not in _KINDS or len(name) != width:
        return None
    if zlib.crc32(name, zlib.crc32(data[begin - _BEHIND_CRC.size : begin], crc)) != own:
        return None
    return Record(name.decode(), _KINDS[kind], at, at + _HEADER.size + width, length, time, crc)


def scan(read: Read, start: int) -> Iterator[Record]:
    """Go through the records from a place on, up to where no header stands; whether the last one's bytes are whole is not looked at."""
    window, base, much = b"", start, _LITTLE
    while True:
        record = parse(window, start, start - base) if 0 <= start - base < len(window) else None
        if record is None:
            much = min(much * 4, _MUCH) if start - base < 2 * len(window) else _LITTLE
            window, base = read(much, start), start
            record = parse(window, start)
            if record is None:
                return
        yield record
        start = record.end


def whole(read: Read, start: int) -> list[Record]:
    """Give the records from a place on that are whole; only the last can be otherwise: each is synced before the next is begun."""
    found = list(scan(read, start))
    if found and not _has_its_bytes(read, found[-1]):
        del found[-1]
    return found


def search(read: Read, end: int, key: str) -> Record | None:
    """Find a record by bisection, where keys of one length come in order; None if it is not found so, which says nothing."""
    low, high = parse(read(_LITTLE, 0), 0), end
    while low is not None and low.key < key and len(low.key) == len(key):
        if high - low.end <= 2 * _LITTLE:
            return next((record for record in scan(read, low.end) if record.key == key), None)
        middle = (low.end + high) // 2
        next_one = _next(read, middle, high)
        if next_one is None or next_one.key > key:
            high = middle
        else:
            low = next_one
    return low if low is not None and low.key == key else None


def is_whole(read: Read, record: Record) -> bool:
    """Tell whether all bytes of a record are there."""
    return bool(parse(read(_LITTLE, record.end), record.end)) or _has_its_bytes(read, record)


def _next(read: Read, start: int, end: int) -> Record | None:
    """Give the first record that begins in a range."""
    while start < end:
        data = read(_LITTLE * 4, start)
        found = data.find(_MAGIC)
        while 0 <= found < end - start:
            record = parse(data, start + found, found) or parse(read(_LITTLE, start + found), start + found)
            if record is not None:
                return record
            found = data.find(_MAGIC, found + 1)
        if len(data) < len(_MAGIC):
            break
        start += len(data) - len(_MAGIC) + 1
    return None


def follows(read: Read, start: int) -> bool:
    """Tell whether a record stands somewhere behind a place where none does: then it is not the end, but damage."""
    kept = b""  # in which a header may begin
    while piece := read(_MUCH, start + len(kept)):
        data = kept + piece
        found = data.find(_MAGIC)
        while found >= 0:
            if parse(data, start + found, found) is not None:
                return True
            found = data.find(_MAGIC, found + 1)
        kept = data[-_LITTLE:]
        start += len(data) - len(kept)
    return False


def _has_its_bytes(read: Read, record: Record) -> bool:
    crc, at = 0, record.begin
    while at < record.end:
        piece = read(min(_MUCH, record.end - at), at)
        if not piece:
            return False
        crc, at = zlib.crc32(piece, crc), at + len(piece)
    return crc == record.crc


class Contents:
    """Where the newest record of each key begins. Keys that are numbered one after the other, as those of a log, take eight bytes each."""

    def __init__(self) -> None:
        """Know of none."""
        self._run = array("q")
        self._prefix = ""
        self._width = 0
        self._first = 0
        self._others: dict[str, int] = {}

    def add(self, key: str, at: int) -> None:
        """Take in a record; ``GONE`` for a deletion."""
        if at >= 0 and not self._run and key not in self._others and (numbered := _NUMBERED.fullmatch(key)):
            self._prefix, self._width, self._first = numbered[1], len(numbered[2]), int(numbered[2])
            self._run.append(at)
        elif at >= 0 and self._run and key == self._key(len(self._run)) and key not in self._others:
            self._run.append(at)
        else:
            self._others[key] = at

    def find(self, key: str) -> int | None:
        """Tell where a key's record begins; ``GONE`` if it was deleted, None if there was none."""
        at = self._others.get(key)
        if at is not None or not self._run:
            return at
        digits = key[len(self._prefix) :]
        if len(digits) > _DIGITS or not (digits.isascii() and digits.isdigit()):
            return None
        index = int(digits) - self._first
        return self._run[index] if 0 <= index < len(self._run) and self._key(index) == key else None

    def keys(self, after: str = "") -> Iterator[str]:
        """Go through the keys behind one, deleted ones too, each once, in no order."""
        yield from (key for key in self._others if key > after)
        begin = 0
        numbered = _NUMBERED.fullmatch(after)
        if numbered is not None and numbered[1] == self._prefix and len(numbered[2]) == self._width:
            begin = max(0, int(numbered[2]) + 1 - self._first)
        for index in range(begin, len(self._run)):
            key = self._key(index)
            if key > after and key not in self._others:
                yield key

    def _key(self, index: int) -> str:
        return f"{self._prefix}{self._first + index:0{self._width}d}"
