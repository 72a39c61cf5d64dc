"""Pack a tree into a ZIP archive, in one pass over its files and in flat memory. Knows neither job stores nor modules.

The archive carries the SHA-256 of each file in its central directory, so ``unpack.py`` can rebuild the manifest before it writes the
first byte. Entries are sorted and dated 1980. An archive that is not compressed is byte-identical anywhere; a compressed one (deflate,
level 1) only between machines with the same zlib, which is why names and digests are those of the manifest (``tree.py``) instead.
"""

import importlib
import os
import stat
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from jobsys.manifest import DEFLATED, DIGEST_FIELD, STORED, THREADS, ChangedError, Entry
from jobsys.tree import BATCH, PIECE, Item, Tree, open_file, unreadable

# Compiled here: formats that struct keeps as text are compared with zipfile's, which are bytes, and `python -bb` forbids that.
_WIDE_END: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_WIDE_SIZES: Final = struct.Struct("<2H2Q")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_TWO_WIDE: Final = struct.Struct("<2Q")
_WIDE: Final = struct.Struct("<Q")
_FIELD: Final = struct.Struct("<2H")
_DIGEST: Final = struct.Struct("<2H32s")
_CENTRAL: Final = struct.Struct("<4s2B5H3L5H2L")
_LATE: Final = struct.Struct("<4sLLL")
_LATE_WIDE: Final = struct.Struct("<4sLQQ")


class _Block(NamedTuple):
    """Bytes as they go into the archive: a whole entry, or one piece of it."""

    entry: Entry
    crc: int
    data: bytes
    method: int
    first: bool
    last: bool


def pack(tree: Tree, stream: BinaryIO, *, compress: bool) -> None:
    """Write a tree as a ZIP archive to a stream that need not be seekable.

    Compression (deflate, level 1, in pieces, on all cores) pays where the archive crosses a network; for a local disk it only costs.

    Raises:
        ChangedError: a file is no longer what it was when the tree was read.
        PackageError: a file can't be read any more.
    """
    writer = _ZipWriter(stream)
    waiting: deque[Callable[[], list[_Block]]] = deque()
    futures = importlib.import_module("concurrent.futures")  # loaded on use: a worker host needs none of it
    with futures.ThreadPoolExecutor(THREADS) as pool:
        try:
            for work, alone in _portions(tree.items, compress):
                # What is read in a moment is read by this thread, for others would wait for it.
                waiting.append(pool.submit(work).result if alone else work)
                if len(waiting) > 2 * THREADS:
                    writer.write(waiting.popleft()())
            while waiting:
                writer.write(waiting.popleft()())
        finally:
            pool.shutdown(cancel_futures=True)
    writer.close()


def _portions(items: list[Item], compress: bool) -> Iterator[tuple[Callable[[], list[_Block]], bool]]:
    """Cut the work: many small files, or one piece of a large one; and tell whether it pays to give it to another thread."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if item.entry.size <= PIECE:
            batch.append(item)
            size += item.entry.size
        if batch and (size >= PIECE or len(batch) >= BATCH or item.entry.size > PIECE):
            yield partial(_read_small, batch, compress), compress
            batch, size = [], 0
        if item.entry.size > PIECE:
            method = DEFLATED if compress and _pays(item) else STORED
            for index in range(len(item.checks)):
                yield partial(_read_piece, item, index, method), True
    if batch:
        yield partial(_read_small, batch, compress), compress


def _pays(item: Item) -> bool:
    """Try a sample from the middle of a large file."""
    sample = _read_at(item.source, item.entry.size // 2, 1 << 16)
    return len(zlib.compress(sample, 1)) < 0.9 * len(sample)


def _read_at(path: str | bytes, offset: int, size: int) -> bytes:
    if isinstance(path, bytes):  # the content itself
        return path[offset : offset + size]
    try:
        descriptor, _ = open_file(path)
        try:
            data = os.pread(descriptor, size, offset)
            while 0 < len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
                data += more
            return data
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(path, error) from error


def _checked(item: Item, index: int) -> bytes:
    """Read a piece of a file, unless it is in memory, and make sure that it is what was hashed.

    What was written behind it since, as to a log, is left out.
    """
    start = index * PIECE
    if isinstance(item.source, bytes):
        return item.source[start : start + PIECE]
    data = _read_at(item.source, start, min(PIECE, item.entry.size - start))
    if zlib.crc32(data, item.checks[index - 1] if index else 0) != item.checks[index]:
        raise ChangedError(f"{item.source} changed while it was being packed. Keep it still and start again.")
    return data


def _read_small(items: list[Item], compress: bool) -> list[_Block]:
    blocks = []
    for item in items:
        entry, source, checks = item
        data = _checked(item, 0) if entry.kind == "file" else os.fsencode(source) if entry.kind == "link" else b""
        method = STORED
        if compress and len(data) > 100:
            deflated = _deflate(data, last=True)
            if len(deflated) < 0.95 * len(data):
                data, method = deflated, DEFLATED
        blocks.append(_Block(entry, checks[0], data, method, first=True, last=True))
    return blocks


def _read_piece(item: Item, index: int, method: int) -> list[_Block]:
    last = index + 1 == len(item.checks)
    data = _checked(item, index)
    if method == DEFLATED:
        data = _deflate(data, last=last)
    return [_Block(item.entry, item.checks[-1], data, method, first=index == 0, last=last)]


def _deflate(data: bytes, *, last: bool) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


_MAX_32: Final = 0xFFFFFFFF
_LARGE: Final = 0xF0000000  # from here on, the sizes of an entry are written with 64 bits
_MAX_COUNT: Final = 0xFFFF
_UNIX: Final = 3
_DATE: Final = 0x21  # 1980-01-01
_TYPES: Final = {"directory": stat.S_IFDIR, "file": stat.S_IFREG, "link": stat.S_IFLNK}


class _ZipWriter:
    """Writes a ZIP archive from blocks, front to back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0
        self._directory: list[bytes] = []
        self._start = self._compressed = 0

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._position += len(data)

    def write(self, blocks: list[_Block]) -> None:
        """Append whole entries, or the next piece of one."""
        pieces: list[bytes] = []
        for block in blocks:
            self._add(block, pieces)
        self._stream.writelines(pieces)

    def _add(self, block: _Block, pieces: list[bytes]) -> None:
        """Say what stands in the archive for a block, and note it for the central directory."""
        entry, _, data, method, first, last = block
        name, flags = _name(entry)
        late = method == DEFLATED and not (first and last)
        flags |= 8 * late
        if first:
            self._start, self._compressed = self._position, 0
            known = entry.size if method == STORED else len(data)
            header = _local_header(block, name, flags, 0 if late else known)
            pieces.append(header)
            self._position += len(header)
        pieces.append(data)
        self._position += len(data)
        self._compressed += len(data)
        if last:
            if late:
                layout = _LATE_WIDE if entry.size >= _LARGE else _LATE
                trailer = layout.pack(b"PK\7\10", block.crc, self._compressed, entry.size)
                pieces.append(trailer)
                self._position += len(trailer)
            self._directory.append(_central_header(block, name, flags, self._compressed, self._start))

    def close(self) -> None:
        """Write the central directory."""
        start, count = self._position, len(self._directory)
        self._write(b"".join(self._directory))
        size = self._position - start
        if count > _MAX_COUNT or start + size > _MAX_32:
            end = self._position
            self._write(_WIDE_END.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
            self._write(_LOCATOR.pack(b"PK\6\7", 0, end, 1))
        short = min(count, _MAX_COUNT)
        self._write(_END.pack(b"PK\5\6", 0, 0, short, short, min(size, _MAX_32), min(start, _MAX_32), 0))


def _name(entry: Entry) -> tuple[bytes, int]:
    name = os.fsencode(f"{entry.path}/" if entry.kind == "directory" else entry.path)
    if name.isascii():
        return name, 0
    try:
        return name, 0x800 * bool(name.decode())
    except UnicodeDecodeError:
        return name, 0


def _local_header(block: _Block, name: bytes, flags: int, compressed: int) -> bytes:
    size, extra = block.entry.size, b""
    late = bool(flags & 8)
    if size >= _LARGE:
        extra = _WIDE_SIZES.pack(1, 16, 0 if late else size, compressed)
        size = compressed = _MAX_32
    elif late:
        size = 0
    crc = 0 if late else block.crc
    version = 45 if extra else 20
    return _LOCAL.pack(b"PK\3\4", version, flags, block.method, 0, _DATE, crc, compressed, size, len(name), len(extra)) + name + extra


def _central_header(block: _Block, name: bytes, flags: int, compressed: int, start: int) -> bytes:
    entry, size = block.entry, block.entry.size
    wide = b""
    if size >= _LARGE:
        wide += _TWO_WIDE.pack(size, compressed)
        size = compressed = _MAX_32
    if start >= _MAX_32:
        wide += _WIDE.pack(start)
        start = _MAX_32
    extra = _FIELD.pack(1, len(wide)) + wide if wide else b""
    version = 45 if wide else 20
    if entry.kind != "directory":
        extra += _DIGEST.pack(DIGEST_FIELD, 32, bytes.fromhex(entry.sha256))
    attributes = (_TYPES[entry.kind] | entry.mode) << 16 | 0x10 * (entry.kind == "directory")
    sizes = (block.crc, compressed, size, len(name), len(extra), 0, 0, 0, attributes, start)
    return _CENTRAL.pack(b"PK\1\2", version, _UNIX, version, flags, block.method, 0, _DATE, *sizes) + name + extra
