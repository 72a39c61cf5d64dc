"""The central directory of an archive that ``package.py`` wrote: what the archive says of itself. Believes nothing, reads no file's data.

Stricter than ``zipfile`` and several times as fast: nothing may stand before, between or behind what ``package.py`` writes.
"""

import os
import stat
import struct
from typing import BinaryIO, Final, NamedTuple

from jobsys.errors import IntegrityError
from jobsys.kept import KINDS
from jobsys.manifest import DEFLATED, DIGEST_FIELD, STORED, Entry

_ENTRY: Final = struct.Struct("<4s2B5H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_WIDE_END: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_DIGEST_START: Final = struct.pack("<2H", DIGEST_FIELD, 32)
_DIGEST_LENGTH: Final = 36
_WIDE_FIELD: Final = 1
_MAX_32: Final = 0xFFFFFFFF
_NEWEST: Final = 45  # the version of the format that has 64 bits
_ENCRYPTED, _UTF_8 = 1, 0x800


class Packed(NamedTuple):
    """An entry and where its data is in the archive."""

    entry: Entry
    header: int
    compressed: int
    method: int


def read_directory(archive: str) -> list[Packed]:
    """Read what an archive says of itself, believing none of it.

    Raises:
        IntegrityError: it is no archive, or a broken one.
    """
    try:
        with open(archive, "rb", buffering=0) as stream:
            count, data = _read(stream)
        return _entries(count, data)
    except (ValueError, struct.error) as error:
        raise IntegrityError(f"{archive} is no archive of jobsys, or a broken one: {error}") from error


def _read(stream: BinaryIO) -> tuple[int, bytes]:
    """Give the number of entries and the bytes of the central directory, which must end where the last records begin."""
    descriptor = stream.fileno()
    length = os.fstat(descriptor).st_size
    behind = _END.size + _LOCATOR.size + _WIDE_END.size
    tail = os.pread(descriptor, behind, max(0, length - behind))
    mark, *_, count, size, start, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        raise ValueError("it does not end as an archive does")
    end = length - _END.size
    if len(tail) == behind and tail.startswith(b"PK\6\6") and tail.startswith(b"PK\6\7", _WIDE_END.size):
        end -= _LOCATOR.size + _WIDE_END.size
        *_, count, size, start = _WIDE_END.unpack_from(tail)
        if _LOCATOR.unpack_from(tail, _WIDE_END.size)[2] != end:
            raise ValueError("its last records contradict each other")
    if start + size != end:
        raise ValueError("its central directory is not where it says")
    data = os.pread(descriptor, size, start)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), start + len(data))):
        data += more
    return count, data


def _entries(count: int, data: bytes) -> list[Packed]:
    packed = []
    position = 0
    while position < len(data):
        mark, _, _, needed, flags, method, _, _, _, compressed, size, *lengths, _, _, attributes, start = _ENTRY.unpack_from(data, position)
        name_length, extra_length, comment_length = lengths
        extra_start = position + _ENTRY.size + name_length
        name, extra = data[position + _ENTRY.size : extra_start], data[extra_start : extra_start + extra_length]
        position = extra_start + extra_length + comment_length
        if mark != b"PK\1\2" or needed > _NEWEST or position > len(data):
            raise ValueError("its central directory is damaged")
        digest = extra[4:].hex() if extra.startswith(_DIGEST_START) and extra_length == _DIGEST_LENGTH else None
        if (digest is None and extra) or _MAX_32 in {compressed, size, start}:
            digest, size, compressed, start = _from_extra(extra, size, compressed, start)
        entry = _entry(_decoded(name, flags), attributes >> 16, size, digest)
        if flags & _ENCRYPTED or method not in {STORED, DEFLATED}:
            raise ValueError(f"{entry.path!r} is encrypted, or compressed in another way")
        packed.append(Packed(entry, start, compressed, method))
    if count != len(packed):
        raise ValueError(f"it holds {len(packed)} entries and says {count}")
    return packed


def _entry(name: str, mode: int, size: int, digest: str | None) -> Entry:
    kind = KINDS.get(stat.S_IFMT(mode))
    if kind == "directory":
        return Entry(name.removesuffix("/"), kind, mode & 0o777, size, "-")
    if kind is None or digest is None:
        raise ValueError(f"{name!r} is of another kind, or has no SHA-256")
    return Entry(name, kind, mode & 0o777, size, digest)


def _decoded(name: bytes, flags: int) -> str:
    return name.decode() if flags & _UTF_8 or name.isascii() else os.fsdecode(name)


def _from_extra(extra: bytes, size: int, compressed: int, start: int) -> tuple[str | None, int, int, int]:
    """Give the SHA-256, and the numbers that need 64 bits, from an entry's extra fields."""
    fields: dict[int, bytes] = {}
    while len(extra) >= 4:
        key, length = struct.unpack_from("<2H", extra)
        if key in fields or length + 4 > len(extra):
            raise ValueError("its central directory has a damaged field")
        fields[key], extra = extra[4 : 4 + length], extra[4 + length :]
    digest, wide = fields.get(DIGEST_FIELD, b""), fields.get(_WIDE_FIELD, b"")
    numbers = []
    for number in (size, compressed, start):
        if number == _MAX_32:
            numbers.append(int.from_bytes(_taken(wide), "little"))
            wide = wide[8:]
        else:
            numbers.append(number)
    return (digest.hex() if len(digest) == 32 else None, *numbers)  # type: ignore[return-value]  # three of them


def _taken(wide: bytes) -> bytes:
    if len(wide) < 8:
        raise ValueError("its central directory lacks a number of 64 bits")
    return wide[:8]
