"""Unpack an archive that ``package.py`` wrote, safely. Whether a tree is still what was unpacked is for ``kept.py``.

Nothing in an archive is believed. The manifest is rebuilt from its central directory and must have the expected digest before the first
byte is written; each file must then have the size and the SHA-256 of its line, so nothing can grow beyond what the manifest declares.
Even a manifest with the right digest can't leave the target: names with ``..``, a backslash, a drive letter or a leading slash, names
that come twice or out of order or are longer or deeper than a file system or Python can handle, and files below anything but a directory
of this archive are refused, links are made last, and only those that stay inside.
"""

# A hot path works on text and descriptors, not on Path objects.

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

from jobsys.errors import IntegrityError
from jobsys.kept import KINDS, Kept, noted
from jobsys.manifest import DEFLATED, DIGEST_FIELD, STORED, THREADS, UNPORTABLE, Entry, PackageError, is_safe_link, order

PIECE: Final = 1 << 18
_BATCH: Final = 64
_MAX_OFFSET: Final = 1 << 62
_HEADER: Final = 512  # more than most entries take before their data
_MAX_TARGET: Final = 2000
_MAX_NAME: Final = 255
_MAX_PATH: Final = 2000  # of the 4096 that Linux takes, the rest is for the directory of the cache
_MAX_DEPTH: Final = 200  # shutil.rmtree, which has to remove what was refused, calls itself for each level


class Packed(NamedTuple):
    """An entry and where its data is in the archive."""

    entry: Entry
    header: int
    compressed: int
    method: int


# ── unpack ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_directory(archive: str) -> list[Packed]:
    """Read what an archive says of itself, believing none of it.

    Raises:
        IntegrityError: it is no archive, or a broken one.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return [_packed(info) for info in opened.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error) as error:
        raise IntegrityError(f"{archive} is no archive of jobsys, or a broken one: {error}") from error


def _packed(info: zipfile.ZipInfo) -> Packed:
    name = info.orig_filename if info.flag_bits & 0x800 else os.fsdecode(info.orig_filename.encode("cp437"))
    mode = info.external_attr >> 16
    kind = KINDS.get(stat.S_IFMT(mode))
    digest = "-" if kind == "directory" else _digest_field(info.extra)
    if kind is None or digest is None or info.flag_bits & 1 or info.compress_type not in {STORED, DEFLATED}:
        raise ValueError(f"{name!r} is encrypted, compressed in another way, of another kind, or has no SHA-256")
    path = name.removesuffix("/") if kind == "directory" else name
    return Packed(Entry(path, kind, mode & 0o777, info.file_size, digest), info.header_offset, info.compress_size, info.compress_type)


def _digest_field(extra: bytes) -> str | None:
    while len(extra) >= 4:
        key, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if key == DIGEST_FIELD and length == 32 and len(extra) >= 36:
            return extra[4:36].hex()
        extra = extra[4 + length :]
    return None


def check_names(packed: list[Packed]) -> None:
    """Make sure that no entry can be written outside the target, or twice.

    Raises:
        PackageError: one could be; the message names it.
    """
    directories = {""}
    before = b""
    for entry, *_ in packed:
        path = entry.path
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in path or UNPORTABLE.search(path):
            raise PackageError(f"The archive holds the unsafe name {path!r}")
        if _is_long(parts, order(path)):
            raise PackageError(f"The archive holds a name that is longer or deeper than any shipped one: {path[:100]!r}…")
        if "/".join(parts[:-1]) not in directories:
            raise PackageError(f"The archive puts {path!r} into something that is not one of its directories")
        if order(path) <= before:
            raise PackageError(f"The archive holds {path!r} twice or out of order")
        before = order(path)
        if entry.kind == "directory":
            directories.add(path)


def _is_long(parts: list[str], path: bytes) -> bool:
    return len(parts) > _MAX_DEPTH or (len(path) > _MAX_NAME and (len(path) > _MAX_PATH or max(map(len, path.split(b"/"))) > _MAX_NAME))


def unpack(archive: str, packed: list[Packed], target: str) -> list[Kept]:
    """Unpack into a new directory and tell what is there now.

    Raises:
        IntegrityError: the data is not what the manifest says.
        PackageError: a name or a link would leave the directory.
    """
    check_names(packed)
    os.mkdir(target, 0o700)
    for entry, *_ in packed:
        if entry.kind == "directory":
            os.mkdir(f"{target}/{entry.path}", 0o700)
    files = [each for each in packed if each.entry.kind == "file"]
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
    with open(archive, "rb", buffering=0) as stream:
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                kept = [each for batch in pool.map(lambda batch: _write_files(stream, batch, target), batches) for each in batch]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        kept += [_write_link(stream, each, target) for each in packed if each.entry.kind == "link"]
    for entry, *_ in reversed(packed):
        if entry.kind == "directory":
            os.chmod(f"{target}/{entry.path}", entry.mode | 0o700)
            kept.append(Kept(*entry))
    return sorted(kept, key=lambda each: order(each.path))


def _data(stream: BinaryIO, each: Packed) -> Iterator[bytes]:
    """Read the data of an entry: never more than its size, in pieces."""
    descriptor = stream.fileno()
    length = each.compressed if each.method == DEFLATED else each.entry.size
    # Of a small file, header and data come in one call.
    start = os.pread(descriptor, min(PIECE, _HEADER + length), each.header) if 0 <= each.header < _MAX_OFFSET else b""
    if len(start) < 30 or start[:4] != b"PK\3\4":
        raise IntegrityError(f"{each.entry.path!r} is damaged in the archive")
    offset = 30 + int.from_bytes(start[26:28], "little") + int.from_bytes(start[28:30], "little")
    position = each.header + offset
    end = position + length
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if each.method == DEFLATED else None
    piece = start[offset : offset + length]
    while position < end and (piece := piece or os.pread(descriptor, min(PIECE, end - position), position)):
        position += len(piece)
        if inflater is None:
            yield piece
        else:
            yield from _inflated(inflater, piece)
        piece = b""


def _inflated(inflater: "zlib._Decompress", piece: bytes) -> Iterator[bytes]:
    """Inflate all of a piece, a part at a time; zlib may still hold output when it has taken in everything."""
    more = True
    while more:
        part = inflater.decompress(piece, PIECE)
        piece = inflater.unconsumed_tail
        more = bool(piece) or len(part) == PIECE
        yield part


def _checked_data(stream: BinaryIO, each: Packed) -> Iterator[bytes]:
    entry = each.entry
    digest = sha256()
    size = 0
    try:
        for piece in _data(stream, each):
            size += len(piece)
            if size > entry.size:
                break
            digest.update(piece)
            yield piece
    except zlib.error as error:
        raise IntegrityError(f"{entry.path!r} is damaged in the archive: {error}") from error
    if size != entry.size or digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{entry.path!r} is not what was packed: size or SHA-256 differ")


def _write_files(stream: BinaryIO, batch: list[Packed], target: str) -> list[Kept]:
    return [write_file(f"{target}/{each.entry.path}", each.entry, _checked_data(stream, each)) for each in batch]


def write_file(path: str, entry: Entry, pieces: Iterator[bytes]) -> Kept:
    """Write a new file and note what ``fstat`` says of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, entry.mode)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        found = os.fstat(descriptor)
        if stat.S_IMODE(found.st_mode) != entry.mode:  # the umask has its say
            os.fchmod(descriptor, entry.mode)
            found = os.fstat(descriptor)
        return noted(entry, found)
    finally:
        os.close(descriptor)


def _write_link(stream: BinaryIO, each: Packed, target: str) -> Kept:
    entry = each.entry
    if entry.size > _MAX_TARGET:
        raise PackageError(f"The archive's link {entry.path!r} is longer than a link can be")
    goal = os.fsdecode(b"".join(_checked_data(stream, each)))
    if "\0" in goal or not is_safe_link(entry.path, goal):
        raise PackageError(f"The archive's link {entry.path!r} leads outside, to {goal!r}")
    path = f"{target}/{entry.path}"
    os.symlink(goal, path)
    return noted(entry, os.lstat(path))
