"""Unpack an archive that ``package.py`` wrote, safely. Whether a tree is still what was unpacked is for ``kept.py``.

Nothing in an archive is believed. The manifest is rebuilt from its central directory and must have the expected digest before the first
byte is written; each file must then have the size and the SHA-256 of its line, so nothing can grow beyond what the manifest declares.
Even a manifest with the right digest can't leave the target: names with ``..``, a backslash, a drive letter or a leading slash, names
that come twice or out of order or are longer or deeper than a file system or Python can handle, and files below anything but a directory
of this archive are refused, links are made last, and only those that stay inside.
"""

# A hot path works on text and descriptors, not on Path objects.

import _thread
import importlib
import os
import stat
import time
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from typing import BinaryIO, Final

from jobsys.central import Packed, read_directory
from jobsys.errors import IntegrityError
from jobsys.kept import Kept, noted
from jobsys.manifest import DEFLATED, UNPORTABLE, Entry, PackageError, is_safe_link, order

__all__ = ["PIECE", "Packed", "check_names", "read_directory", "unpack", "write_file"]

PIECE: Final = 1 << 18
_BATCH: Final = 64
_THREADS: Final = 8
_WAIT: Final = 0.0005
"""From so many seconds on that a file waits for its disk, as on a network file system, several threads write at once."""
_TURN: Final = (
    _thread.allocate_lock()
)  # small files are made of short calls: threads that make them together only fight for the interpreter's lock
_MAX_OFFSET: Final = 1 << 62
_HEADER: Final = 512  # more than most entries take before their data
_UNSAFE: Final = frozenset(("", ".", ".."))
_MAX_TARGET: Final = 2000
_MAX_NAME: Final = 255
_MAX_PATH: Final = 2000  # of the 4096 that Linux takes, the rest is for the directory of the cache
_MAX_DEPTH: Final = 200  # shutil.rmtree, which has to remove what was refused, calls itself for each level


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
        if not _UNSAFE.isdisjoint(parts) or "\0" in path or UNPORTABLE.search(path):
            raise PackageError(f"The archive holds the unsafe name {path!r}")
        key = order(path)
        if _is_long(parts, key):
            raise PackageError(f"The archive holds a name that is longer or deeper than any shipped one: {path[:100]!r}…")
        if path.rpartition("/")[0] not in directories:
            raise PackageError(f"The archive puts {path!r} into something that is not one of its directories")
        if key <= before:
            raise PackageError(f"The archive holds {path!r} twice or out of order")
        before = key
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
    masked = _make_directories([entry for entry, *_ in packed if entry.kind == "directory"], target)
    with open(archive, "rb", buffering=0) as stream:
        kept = {each.path: each for each in _write_all(stream, [each for each in packed if each.entry.kind == "file"], target)}
        for each in packed:
            if each.entry.kind == "link":
                kept[each.entry.path] = _write_link(stream, each, target)
    for entry, *_ in reversed(packed):
        if entry.kind == "directory":
            if entry.mode | 0o700 in masked:
                os.chmod(f"{target}/{entry.path}", entry.mode | 0o700)
            kept[entry.path] = Kept(*entry)
    return [kept[entry.path] for entry, *_ in packed]


def _make_directories(entries: list[Entry], target: str) -> set[int]:
    """Make directories; tell which permissions the umask did not let them get."""
    got: dict[int, int] = {}
    for entry in entries:
        path, mode = f"{target}/{entry.path}", entry.mode | 0o700
        os.mkdir(path, mode)
        if mode not in got:
            got[mode] = stat.S_IMODE(os.lstat(path).st_mode) & 0o777
    return {mode for mode, real in got.items() if mode != real}


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_all(stream: BinaryIO, files: list[Packed], target: str) -> list[Kept]:
    """Write all files; by several threads only where small ones wait for the disk."""
    kept: list[Kept] = []
    batches = deque(_batches(files))
    room = bytearray(PIECE)
    waits = False
    while batches and not waits:
        batch = batches.popleft()
        contents = _contents(stream, batch, room)
        if contents == [None]:  # a large one, of long calls
            kept += _write_batch(stream, batch, contents, target)
            continue
        with _TURN:
            start, used = time.perf_counter(), time.thread_time()
            kept += _write_batch(stream, batch, contents, target)
            waits = time.perf_counter() - start - (time.thread_time() - used) > _WAIT * len(batch)
    return kept + _write_at_once(stream, batches, target) if batches else kept


def _write_at_once(stream: BinaryIO, batches: Collection[list[Packed]], target: str) -> list[Kept]:
    def written(batch: list[Packed]) -> list[Kept]:
        return _write_batch(stream, batch, _contents(stream, batch, bytearray(PIECE)), target)

    futures = importlib.import_module("concurrent.futures")  # loaded on use: it takes its time
    with futures.ThreadPoolExecutor(min(_THREADS, len(batches))) as pool:
        try:
            return [each for kept in pool.map(written, batches) for each in kept]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _batches(files: list[Packed]) -> Iterator[list[Packed]]:
    """Put small files together that are neighbours in the archive, so that one call reads them."""
    batch: list[Packed] = []
    begin = size = 0
    for each in files:
        length = each.header - begin + _HEADER + each.entry.size
        size += each.entry.size  # of what is inflated, too, no more is in memory
        if batch and (len(batch) == _BATCH or size > PIECE or not 0 <= length <= PIECE):
            yield batch
            batch = []
        if not batch:
            begin, size = each.header, each.entry.size
        batch.append(each)
    if batch:
        yield batch


def _contents(stream: BinaryIO, batch: list[Packed], room: bytearray) -> list[bytes | memoryview | None]:
    """Read neighbours into ``room``; give the content of each, or None for what has to be read, or complained of, alone."""
    begin, last = batch[0].header, batch[-1]
    length = last.header - begin + _HEADER + last.entry.size
    if not 0 <= begin < _MAX_OFFSET or not 0 <= length <= PIECE:
        return [None] * len(batch)
    view = memoryview(room)  # one piece of memory for all: many large ones in turn make the allocator keep more than is used
    held = view[: os.preadv(stream.fileno(), [view[:length]], begin)]
    return [_small(held, each, begin) for each in batch]


def _write_batch(stream: BinaryIO, batch: list[Packed], contents: list[bytes | memoryview | None], target: str) -> list[Kept]:
    return [
        write_file(f"{target}/{each.entry.path}", each.entry, _checked_data(stream, each) if data is None else (data,))
        for each, data in zip(batch, contents, strict=True)
    ]


def _small(held: memoryview, each: Packed, begin: int) -> bytes | memoryview | None:
    """Give the content of a file that is whole in what was read, and right."""
    entry, header, compressed, method = each
    start = header - begin
    if start < 0 or held[start : start + 4].tobytes() != b"PK\3\4":
        return None
    start += 30 + int.from_bytes(held[start + 26 : start + 28], "little") + int.from_bytes(held[start + 28 : start + 30], "little")
    if method == DEFLATED:
        if start + compressed > len(held):
            return None
        data: bytes | memoryview
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(held[start : start + compressed], entry.size + 1)
        except zlib.error:
            return None
    else:
        data = held[start : start + entry.size]
    return data if len(data) == entry.size and sha256(data).hexdigest() == entry.sha256 else None


def _data(stream: BinaryIO, each: Packed) -> Iterator[bytes | memoryview]:
    """Read the data of an entry: never more than its size, in pieces, each of which is gone when the next is asked for."""
    descriptor = stream.fileno()
    length = each.compressed if each.method == DEFLATED else each.entry.size
    start = os.pread(descriptor, 30, each.header) if 0 <= each.header < _MAX_OFFSET else b""
    if len(start) < 30 or start[:4] != b"PK\3\4":
        raise IntegrityError(f"{each.entry.path!r} is damaged in the archive")
    position = each.header + 30 + int.from_bytes(start[26:28], "little") + int.from_bytes(start[28:30], "little")
    end = position + length
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if each.method == DEFLATED else None
    view = memoryview(bytearray(min(PIECE, length)))
    while position < end and (count := os.preadv(descriptor, [view[: end - position]], position)):
        position += count
        if inflater is None:
            yield view[:count]
        else:
            yield from _inflated(inflater, view[:count])


def _inflated(inflater: "zlib._Decompress", piece: bytes | memoryview) -> Iterator[bytes]:
    """Inflate all of a piece, a part at a time; zlib may still hold output when it has taken in everything."""
    more = True
    while more:
        part = inflater.decompress(piece, PIECE)
        piece = inflater.unconsumed_tail
        more = bool(piece) or len(part) == PIECE
        yield part


def _checked_data(stream: BinaryIO, each: Packed) -> Iterator[bytes | memoryview]:
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


def write_file(path: str, entry: Entry, pieces: Iterable[bytes | memoryview]) -> Kept:
    """Write a new file and note what ``fstat`` says of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, entry.mode)
    try:
        for piece in pieces:
            written = os.write(descriptor, piece) if piece else 0
            while written < len(piece):
                written += os.write(descriptor, memoryview(piece)[written:])
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
