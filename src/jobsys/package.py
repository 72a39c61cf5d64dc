"""Pack a directory into a reproducible ZIP archive, in flat memory. Knows neither job stores nor modules.

A tree is described by its *manifest*: one line an entry, sorted, with kind, mode, size and SHA-256. The digests of a tree are digests
of that manifest, not of the archive: the same tree has the same digests anywhere, whatever the version of zlib that compressed it, and
what was saved once is recognised without packing it again. The archive carries each SHA-256 in its central directory, so ``unpack.py``
can rebuild the manifest before it writes the first byte. An archive that is not compressed is byte-identical anywhere; a compressed
one is byte-identical only between machines with the same zlib.

What is packed: regular files and empty directories too, permission bits (``rwx``, no set-user-id), no times. A symbolic link that
points inside the tree stays a link, relative, also when it dangles. One that points outside is replaced by what it points to; one that
dangles outside, that leads back to a directory around it or to a directory of the system, is left out with a warning. So are pipes,
sockets, devices and names that other systems can't write (a backslash, a drive letter). ``Scanner`` tells what is left out as no code.
"""
# ruff: noqa: PTH  # a hot path works on text and descriptors, not on Path objects

import logging
import os
import re
import stat
import struct
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from hashlib import sha256
from typing import BinaryIO, Final, Literal, NamedTuple

from jobsys.digest import ContentDigest
from jobsys.errors import JobsysError

logger = logging.getLogger(__name__)

Kind = Literal["directory", "file", "link"]

PIECE: Final = 1 << 20
THREADS: Final = min(4, os.cpu_count() or 1)
IGNORE_FILE: Final = ".jobsysignore"
DIGEST_FIELD: Final = 0x6A73  # the id of our extra field in a central directory
STORED: Final = 0
DEFLATED: Final = 8
_BATCH: Final = 64
_NOT_CODE: Final = frozenset(
    (".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".nox", "node_modules")
)
_NOT_CODE_IF_INSIDE: Final = ("pyvenv.cfg", "jobsys-store.json")
UNPORTABLE: Final = re.compile(r"\\|^[A-Za-z]:")
_SYSTEM: Final = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib "
    "/usr/local /usr/local/bin /usr/sbin /usr/share /var /var/lib /var/run /var/tmp /Users /private/tmp /private/var"
)


class PackageError(JobsysError):
    """Something can't be packed or unpacked; the message names the file."""


class Member(NamedTuple):
    """One thing to pack: its path in the tree, and where its content is (for a link: its target)."""

    path: str
    kind: Kind
    source: str


class Entry(NamedTuple):
    """One line of a manifest."""

    path: str
    kind: Kind
    mode: int
    size: int
    sha256: str

    def line(self) -> bytes:
        """Write the line as the digests see it."""
        return b"%s %o %d %s %s\0" % (self.kind.encode(), self.mode, self.size, self.sha256.encode(), os.fsencode(self.path))


class Item(NamedTuple):
    """An entry, where its content is, and the CRC-32 from its beginning to the end of each piece."""

    entry: Entry
    source: str
    checks: tuple[int, ...]


class Tree(NamedTuple):
    """A directory as it was read: sorted items and the digests of their manifest."""

    items: list[Item]
    md5: str
    sha256: str
    size: int


def is_system_directory(path: str) -> bool:
    """Tell whether a directory holds more than one person's project: ``/``, ``/tmp``, ``/home``, a home directory …"""
    known = {*_SYSTEM.split(), os.path.expanduser("~"), tempfile.gettempdir()}
    return bool({os.path.abspath(path), os.path.realpath(path)} & (known | {os.path.realpath(each) for each in known}))


def is_inside(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it, by its components."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def manifest_digest(entries: Iterable[Entry]) -> ContentDigest:
    """Digest a manifest; its entries must be sorted by ``order``."""
    digest = ContentDigest()
    digest.update(b"jobsys manifest 1\0")
    for entry in entries:
        digest.update(entry.line())
    return digest


def order(path: str) -> bytes:
    """Give the sort key of a path in a manifest; a directory comes before what is in it."""
    return os.fsencode(path)


def read_tree(root: str, only: Collection[str] | None = None) -> Tree:
    """Find and hash what there is to pack in a directory, or in those of its top-level names that are in ``only``.

    Raises:
        PackageError: the directory, or a file in it, can't be read.
    """
    members = sorted(Scanner(root, only).scan(), key=lambda member: order(member.path))
    batches = [members[start : start + _BATCH] for start in range(0, len(members), _BATCH)]
    with ThreadPoolExecutor(THREADS) as pool:
        items = [item for batch in pool.map(_hash_members, batches) for item in batch]
    digest = manifest_digest(item.entry for item in items)
    return Tree(items, digest.md5, digest.sha256, sum(item.entry.size for item in items))


class Scanner:
    """Finds what there is to pack in one directory.

    Left out as no code: caches of Python and of tools, version control, ``node_modules``, virtual environments and job stores below
    the root, a ``.pyc`` beside its ``.py``, and what a pattern in the root's ``.jobsysignore`` matches (one a line, against the
    name or the path in the tree).
    """

    def __init__(self, root: str, only: Collection[str] | None = None) -> None:
        """Prepare to scan ``root``, or only some top-level names in it."""
        self.root = os.path.abspath(root)
        self.real_root = os.path.realpath(root)
        self.only = only
        self.ignored = self._read_ignore_file()
        self._todo: list[tuple[str, str, tuple[str, ...]]] = []

    def _read_ignore_file(self) -> list[str]:
        path = os.path.join(self.root, IGNORE_FILE)
        if not os.path.isfile(path):
            return []
        with _naming(path), open(path, encoding="utf-8") as stream:
            return [line.strip().rstrip("/") for line in stream if line.strip() and not line.startswith("#")]

    def scan(self) -> Iterator[Member]:
        """Go through the members, in no particular order.

        Raises:
            PackageError: a directory can't be read.
        """
        self._todo = [(self.root, "", ())]
        while self._todo:
            path, relative, foreign = self._todo.pop()
            with _naming(path), os.scandir(path) as found:
                children = {child.name: child for child in found}
            if relative and any(name in children for name in _NOT_CODE_IF_INSIDE):
                logger.debug("Leaving out %s: a virtual environment or a job store, no code", path)
                continue
            if relative:
                yield Member(relative, "directory", path)
            for name, child in children.items():
                inner = f"{relative}/{name}" if relative else name
                if not self._left_out(inner, child, children):
                    yield from self._member(inner, child, foreign)

    def _left_out(self, relative: str, child: os.DirEntry[str], siblings: Collection[str]) -> bool:
        name = child.name
        if self.only is not None and relative == name and name not in self.only:
            return True
        no_code = name in _NOT_CODE or (name.endswith(".pyc") and name[:-1] in siblings)
        if no_code or any(fnmatch(name, pattern) or fnmatch(relative, pattern) for pattern in self.ignored):
            logger.debug("Leaving out %s", child.path)
            return True
        if UNPORTABLE.search(relative):
            logger.warning("Leaving out %s: a name with a backslash or a drive letter can't be shipped; rename it", child.path)
            return True
        return False

    def _member(self, relative: str, child: os.DirEntry[str], foreign: tuple[str, ...]) -> Iterator[Member]:
        if child.is_symlink():
            yield from self._link(relative, child.path, foreign)
        elif child.is_dir(follow_symlinks=False):
            self._todo.append((child.path, relative, foreign))
        elif child.is_file(follow_symlinks=False):
            yield Member(relative, "file", child.path)
        else:
            logger.warning("Leaving out %s: it is a pipe, a socket or a device", child.path)

    def _link(self, relative: str, path: str, foreign: tuple[str, ...]) -> Iterator[Member]:
        """Keep a link that stays inside the tree; follow one that leaves it, but not in a circle."""
        with _naming(path):
            target = os.readlink(path)
        real = os.path.realpath(path)
        inner = os.path.relpath(real, self.real_root)
        shipped = self.only is None or inner.partition("/")[0] in self.only
        if is_inside(real, self.real_root) and shipped:
            kept = not foreign and is_safe_link(relative, target)
            yield Member(relative, "link", target if kept else os.path.relpath(inner, os.path.dirname(relative) or "."))
        elif os.path.isdir(real):
            if is_inside(self.real_root, real) or any(is_inside(around, real) for around in foreign) or is_system_directory(real):
                logger.warning("Leaving out %s: it links to %s, which is around it or belongs to the system", path, real)
            else:
                self._todo.append((real, relative, (*foreign, real)))
        elif os.path.isfile(real):
            yield Member(relative, "file", real)
        else:
            logger.warning("Leaving out %s: it links to %s, which is not there or no file", path, target)


def is_safe_link(path: str, target: str) -> bool:
    """Tell whether a link at ``path`` stays in its tree: relative, ``..`` only at the beginning, and not too many of them."""
    parts = target.split("/")
    climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and not target.startswith("/") and ".." not in parts[climbs:] and climbs <= path.count("/")


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PackageError(f"{path} can't be read: {error.strerror}. Make it readable, or list it in {IGNORE_FILE}.") from error


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PackageError(f"{path} changed while it was being packed. Keep it still and start again.")
    return descriptor


def _hash_members(members: list[Member]) -> list[Item]:
    return [_hash_member(member) for member in members]


def _hash_member(member: Member) -> Item:
    path, kind, source = member
    if kind == "link":
        target = os.fsencode(source)
        return Item(Entry(path, kind, 0o777, len(target), sha256(target).hexdigest()), source, (zlib.crc32(target),))
    with _naming(source):
        if kind == "directory":
            return Item(Entry(path, kind, os.stat(source).st_mode & 0o777 | 0o700, 0, "-"), source, (0,))
        descriptor = _open(source)
        try:
            mode = os.fstat(descriptor).st_mode & 0o777 | 0o400
            digest = sha256()
            checks = [0]
            size = 0
            while data := os.read(descriptor, PIECE):
                while len(data) < PIECE and (more := os.read(descriptor, PIECE - len(data))):
                    data += more
                digest.update(data)
                checks.append(zlib.crc32(data, checks[-1]))
                size += len(data)
        finally:
            os.close(descriptor)
    return Item(Entry(path, kind, mode, size, digest.hexdigest()), source, tuple(checks[1:]) or (0,))


# ── the archive ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
        PackageError: a file changed since the tree was read, or can't be read any more.
    """
    writer = _ZipWriter(stream)
    waiting: deque[Future[list[_Block]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for work in _portions(tree.items, compress):
                waiting.append(pool.submit(work))
                if len(waiting) > 2 * THREADS:
                    writer.write(waiting.popleft().result())
            while waiting:
                writer.write(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()
    writer.close()


def _portions(items: list[Item], compress: bool) -> Iterator[Callable[[], list[_Block]]]:
    """Cut the work: many small files, or one piece of a large one."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if item.entry.size <= PIECE:
            batch.append(item)
            size += item.entry.size
        if batch and (size >= PIECE or len(batch) >= _BATCH or item.entry.size > PIECE):
            yield partial(_read_small, batch, compress)
            batch, size = [], 0
        if item.entry.size > PIECE:
            method = DEFLATED if compress and _pays(item) else STORED
            for index in range(len(item.checks)):
                yield partial(_read_piece, item, index, method)
    if batch:
        yield partial(_read_small, batch, compress)


def _pays(item: Item) -> bool:
    """Try a sample from the middle of a large file."""
    sample = _read_at(item.source, item.entry.size // 2, 1 << 16)
    return len(zlib.compress(sample, 1)) < 0.9 * len(sample)


def _read_at(path: str, offset: int, size: int) -> bytes:
    with _naming(path):
        descriptor = _open(path)
        try:
            data = os.pread(descriptor, size, offset)
            while 0 < len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
                data += more
            return data
        finally:
            os.close(descriptor)


def _checked(item: Item, index: int) -> bytes:
    """Read a piece of a file and make sure that it is what was hashed."""
    start = index * PIECE
    last = index + 1 == len(item.checks)
    data = _read_at(item.source, start, PIECE + 1 if last else PIECE)
    whole = start + len(data) == item.entry.size or not last
    if not whole or zlib.crc32(data, item.checks[index - 1] if index else 0) != item.checks[index]:
        raise PackageError(f"{item.source} changed while it was being packed. Keep it still and start again.")
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
        for block in blocks:
            name, flags = _name(block.entry)
            late = block.method == DEFLATED and not (block.first and block.last)
            flags |= 8 * late
            large = block.entry.size >= _LARGE
            if block.first:
                self._start, self._compressed = self._position, 0
                known = block.entry.size if block.method == STORED else len(block.data)
                self._write(_local_header(block, name, flags, 0 if late else known))
            self._write(block.data)
            self._compressed += len(block.data)
            if block.last:
                if late:
                    layout = "<4sLQQ" if large else "<4sLLL"
                    self._write(struct.pack(layout, b"PK\7\10", block.crc, self._compressed, block.entry.size))
                self._directory.append(_central_header(block, name, flags, self._compressed, self._start))

    def close(self) -> None:
        """Write the central directory."""
        start, count = self._position, len(self._directory)
        self._write(b"".join(self._directory))
        size = self._position - start
        if count > _MAX_COUNT or start + size > _MAX_32:
            end = self._position
            self._write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
            self._write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
        short = min(count, _MAX_COUNT)
        self._write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, short, short, min(size, _MAX_32), min(start, _MAX_32), 0))


def _name(entry: Entry) -> tuple[bytes, int]:
    name = os.fsencode(entry.path) + (b"/" if entry.kind == "directory" else b"")
    try:
        return name, 0 if name.isascii() else 0x800 * bool(name.decode())
    except UnicodeDecodeError:
        return name, 0


def _local_header(block: _Block, name: bytes, flags: int, compressed: int) -> bytes:
    size, extra = block.entry.size, b""
    late = bool(flags & 8)
    if size >= _LARGE:
        extra = struct.pack("<2H2Q", 1, 16, 0 if late else size, compressed)
        size = compressed = _MAX_32
    elif late:
        size = 0
    crc = 0 if late else block.crc
    version = 45 if extra else 20
    return (
        struct.pack("<4s5H3L2H", b"PK\3\4", version, flags, block.method, 0, _DATE, crc, compressed, size, len(name), len(extra))
        + name
        + extra
    )


def _central_header(block: _Block, name: bytes, flags: int, compressed: int, start: int) -> bytes:
    entry, size = block.entry, block.entry.size
    wide = b""
    if size >= _LARGE:
        wide += struct.pack("<2Q", size, compressed)
        size = compressed = _MAX_32
    if start >= _MAX_32:
        wide += struct.pack("<Q", start)
        start = _MAX_32
    extra = struct.pack("<2H", 1, len(wide)) + wide if wide else b""
    version = 45 if wide else 20
    if entry.kind != "directory":
        extra += struct.pack("<2H32s", DIGEST_FIELD, 32, bytes.fromhex(entry.sha256))
    attributes = (_TYPES[entry.kind] | entry.mode) << 16 | 0x10 * (entry.kind == "directory")
    sizes = (block.crc, compressed, size, len(name), len(extra), 0, 0, 0, attributes, start)
    return struct.pack("<4s2B5H3L5H2L", b"PK\1\2", version, _UNIX, version, flags, block.method, 0, _DATE, *sizes) + name + extra
