"""A tree as jobsys ships it: its members, read and hashed, and the manifest that describes it. Knows no archive and no module.

A tree is described by its *manifest*: one line an entry, sorted, with kind, mode, size and SHA-256. The digests of a tree are digests
of that manifest, not of an archive: the same tree has the same digests anywhere, whatever the version of zlib that compressed it, and
what was saved once is recognised without packing it again.

What belongs to a tree: regular files, directories, links that stay inside it; of their permissions only whether the owner may execute
them, for the rest depends on who checked it out and how; no times. ``scan.py`` finds the members of a directory.
"""

# A hot path works on text and descriptors, not on Path objects.

import importlib
import os
import stat
import sysconfig
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final, NamedTuple

from jobsys.known import Known
from jobsys.manifest import THREADS, ChangedError, Entry, Kind, PackageError, manifest_digest, order

PIECE: Final = 1 << 20
_SMALL: Final = 1 << 14  # what takes longer to open than to read
IGNORE_FILE: Final = ".jobsysignore"
BATCH: Final = 64
_SYSTEM: Final = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib "
    "/usr/local /usr/local/bin /usr/sbin /usr/share /var /var/lib /var/run /var/tmp /Users /private/tmp /private/var"
)


class Member(NamedTuple):
    """One thing to pack: its path in the tree, and where its content is, or the content itself (for a link: its target)."""

    path: str
    kind: Kind
    source: str | bytes


class Item(NamedTuple):
    """An entry, where its content is, and the CRC-32 from its beginning to the end of each piece."""

    entry: Entry
    source: str | bytes
    checks: tuple[int, ...]


_LARGE: Final = Item(Entry("", "file", 0, 0, ""), "", ())
"""Stands for a file that is not read in one piece."""


class Tree(NamedTuple):
    """A directory as it was read: sorted items and the digests of their manifest."""

    items: list[Item]
    md5: str
    sha256: str
    size: int


def is_system_directory(path: str) -> bool:
    """Tell whether a directory holds more than one person's project: such as ``/tmp`` or a home."""
    known = {*_SYSTEM.split(), os.path.expanduser("~"), tempfile.gettempdir()}
    return bool({os.path.abspath(path), os.path.realpath(path)} & (known | {os.path.realpath(each) for each in known}))


def needed_abi(tree: Tree) -> str:
    """Name the Python that alone can load the extension modules in a tree by how they end; empty if there are none for this one."""
    suffix: str = sysconfig.get_config_var("EXT_SUFFIX")
    return suffix if any(item.entry.path.endswith(suffix) for item in tree.items) else ""


def read_members(members: Iterable[Member], known: Known | None = None, room: int = 0) -> Tree:
    """Hash what there is to pack, but for what is known.

    Args:
        members: what there is.
        known: facts about files.
        room: how many bytes of small files that were read may stay in memory, so that they need not be read again to be packed.

    Raises:
        PackageError: a file can't be read.
    """
    items = hash_members(_sorted(members), known, room)
    digest = manifest_digest(item.entry for item in items)
    return Tree(items, digest.md5, digest.sha256, sum(item.entry.size for item in items))


def _sorted(members: Iterable[Member]) -> list[Member]:
    found = list(members)
    # Names in ASCII sort as their bytes do.
    plain = all(member.path.isascii() for member in found)
    return sorted(found, key=attrgetter("path") if plain else lambda member: order(member.path))


def hash_members(members: Sequence[Member], known: Known | None = None, room: int = 0) -> list[Item]:
    """Hash members, in their order; those that have gone meanwhile are left out: other programs work beside the script."""
    futures = importlib.import_module("concurrent.futures")  # loaded on use: a worker host needs none of it
    found: list[Any] = []  # items, those that are promised, and None for what has gone
    recalls = known is not None and known.has_any()
    # Small files are read by this thread, for others would wait for it; large ones on all cores.
    with futures.ThreadPoolExecutor(THREADS) as pool:
        for member in members:
            item = _recall(member, known) if recalls and known is not None else None
            if item is None:
                with suppress(ChangedError):  # gone
                    item = _hash_member(member, known, room)
                if item is not None and item.source is not member.source:
                    room -= item.entry.size
            found.append(pool.submit(_hash_large, member, known) if item is _LARGE else item)
        done = [each.result() if isinstance(each, futures.Future) else each for each in found]
    return [item for item in done if item is not None]


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Say which file could not be read."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> PackageError:
    """Make the error of a file that can't be read, as ``naming`` raises it; a hot loop has no time for a context."""
    if isinstance(error, FileNotFoundError):
        return ChangedError(f"{path} can't be read: {error.strerror}.")
    return PackageError(f"{path} can't be read: {error.strerror}. Make it readable, or list it in {IGNORE_FILE}.")


def open_file(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file to read, and never wait for a pipe that took its place; give the descriptor and its ``fstat``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ChangedError(f"{path} changed while it was being packed. Keep it still and start again.")
    return descriptor, status


def _recall(member: Member, known: Known) -> Item | None:
    """Give what is known of a file that has not changed; None for all else."""
    path, kind, source = member
    if kind != "file" or isinstance(source, bytes) or not known.has(source):
        return None
    try:
        status = os.stat(source)
    except OSError:  # said by whoever reads it
        return None
    fact = known.look(source, status)
    if fact is None:
        return None
    return Item(Entry(path, kind, _mode(status), status.st_size, fact.sha256.hex()), source, fact.checks)


def _hash_member(member: Member, known: Known | None, room: int) -> Item:
    """Hash a member; a file that takes more than one read is ``_LARGE``, one that fits into ``room`` keeps its content."""
    path, kind, source = member
    if kind == "directory":
        if source:
            with naming(os.fsdecode(source)):
                os.stat(source)  # it may have gone
        return Item(Entry(path, kind, 0o755, 0, "-"), source, (0,))
    if kind == "link":
        target = os.fsencode(source)
        return Item(Entry(path, kind, 0o777, len(target), sha256(target).hexdigest()), source, (zlib.crc32(target),))
    if isinstance(source, bytes):
        mode = 0o755 if source.startswith(b"#!") else 0o644
        return Item(Entry(path, kind, mode, len(source), sha256(source).hexdigest()), source, _checks(source))
    try:
        return _hash_small(path, source, known, room)
    except OSError as error:
        raise unreadable(source, error) from error


def _mode(status: os.stat_result) -> int:
    return 0o755 if status.st_mode & stat.S_IXUSR else 0o644


def _checks(content: bytes) -> tuple[int, ...]:
    checks = [0]
    for start in range(0, len(content), PIECE):
        checks.append(zlib.crc32(content[start : start + PIECE], checks[-1]))
    return tuple(checks[1:]) or (0,)


def _next_piece(descriptor: int, left: int) -> bytes:
    """Read the next piece of a file of which so much should be left; no more room is made for a small file than it needs."""
    data = os.read(descriptor, min(PIECE, max(left, 0) + 1))
    while len(data) != left and len(data) < PIECE and (more := os.read(descriptor, PIECE - len(data))):
        data += more
    return data


def _hash_small(path: str, source: str, known: Known | None, room: int) -> Item:
    descriptor, before = open_file(source)
    try:
        size = before.st_size
        if size > PIECE:
            return _LARGE
        data = os.read(descriptor, size + 1)
        if len(data) != size:
            return _LARGE  # it grows, or comes in pieces
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    digest, checks = sha256(data), (zlib.crc32(data),)
    if known is not None:
        _note(known, source, (before, after), (size, digest.digest(), checks))
    return Item(Entry(path, "file", _mode(after), size, digest.hexdigest()), data if size < min(room, _SMALL) else source, checks)


def _hash_large(member: Member, known: Known | None) -> Item | None:
    source = os.fsdecode(member.source)
    try:
        with naming(source):
            return _hash_file(member.path, source, known)
    except ChangedError:  # gone
        return None


def _hash_file(path: str, source: str, known: Known | None) -> Item:
    descriptor, before = open_file(source)
    try:
        digest = sha256()
        checks = [0]
        size = 0
        while data := _next_piece(descriptor, before.st_size - size):
            digest.update(data)
            checks.append(zlib.crc32(data, checks[-1]))
            size += len(data)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    found = tuple(checks[1:]) or (0,)
    if known is not None:
        _note(known, source, (before, after), (size, digest.digest(), found))
    return Item(Entry(path, "file", _mode(after), size, digest.hexdigest()), source, found)


def _note(known: Known, path: str, looks: tuple[os.stat_result, os.stat_result], found: tuple[int, bytes, tuple[int, ...]]) -> None:
    """Remember a file, unless it changed while it was read."""
    before, after = looks
    size, digest, checks = found
    if size == after.st_size and before.st_mtime_ns == after.st_mtime_ns and before.st_ctime_ns == after.st_ctime_ns:
        known.note(path, after, digest, checks)
