"""A directory as jobsys ships it: what of it is code, and the manifest that describes it. Knows no archive and no module.

A tree is described by its *manifest*: one line an entry, sorted, with kind, mode, size and SHA-256. The digests of a tree are digests
of that manifest, not of an archive: the same tree has the same digests anywhere, whatever the version of zlib that compressed it, and
what was saved once is recognised without packing it again.

What belongs to a tree: regular files and empty directories too, permission bits (``rwx``, no set-user-id), no times. A symbolic link
that points inside the tree stays a link, relative, also when it dangles. One that points outside is replaced by what it points to; one
that dangles outside, that leads back to a directory around it or to a directory of the system, is left out with a warning. So are
pipes, sockets, devices and names that other systems can't write (a backslash, a drive letter). ``Scanner`` tells what is no code.
"""

# A hot path works on text and descriptors, not on Path objects.

import logging
import os
import stat
import tempfile
import zlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from hashlib import sha256
from typing import Final, NamedTuple

from jobsys.manifest import (
    THREADS,
    UNPORTABLE,
    ChangedError,
    Entry,
    Kind,
    PackageError,
    is_inside,
    is_safe_link,
    manifest_digest,
    order,
)

logger = logging.getLogger(__name__)

PIECE: Final = 1 << 20
LARGE_TREE: Final = 1_000_000_000
"""From this size in bytes on, the leader warns of what it ships."""
IGNORE_FILE: Final = ".jobsysignore"
BATCH: Final = 64
_NOT_CODE: Final = frozenset(
    (".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".nox", "node_modules")
)
_OF_WORKERS: Final = f"jobsys-{os.getuid()}-"  # temporary directories of runs that go on
_NOT_CODE_IF_INSIDE: Final = ("pyvenv.cfg", "jobsys-store.json")
_SYSTEM: Final = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib "
    "/usr/local /usr/local/bin /usr/sbin /usr/share /var /var/lib /var/run /var/tmp /Users /private/tmp /private/var"
)


class Member(NamedTuple):
    """One thing to pack: its path in the tree, and where its content is (for a link: its target)."""

    path: str
    kind: Kind
    source: str


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
    """Tell whether a directory holds more than one person's project: such as ``/tmp`` or a home."""
    known = {*_SYSTEM.split(), os.path.expanduser("~"), tempfile.gettempdir()}
    return bool({os.path.abspath(path), os.path.realpath(path)} & (known | {os.path.realpath(each) for each in known}))


def read_tree(root: str, only: Collection[str] | None = None) -> Tree:
    """Find and hash what there is to pack in a directory, or in those of its top-level names that are in ``only``.

    Raises:
        PackageError: the directory, or a file in it, can't be read.
    """
    members = sorted(Scanner(root, only).scan(), key=lambda member: order(member.path))
    batches = [members[start : start + BATCH] for start in range(0, len(members), BATCH)]
    with ThreadPoolExecutor(THREADS) as pool:
        items = [item for batch in pool.map(_hash_members, batches) for item in batch if item is not None]
    digest = manifest_digest(item.entry for item in items)
    tree = Tree(items, digest.md5, digest.sha256, sum(item.entry.size for item in items))
    if tree.size > LARGE_TREE:
        largest = sorted(items, key=lambda item: -item.entry.size)[:3]
        names = ", ".join(f"{item.entry.path} ({item.entry.size / 1e6:.0f} MB)" for item in largest)
        logger.warning("Shipping %.1f GB of %s; largest: %s. List what is no code in %s.", tree.size / 1e9, root, names, IGNORE_FILE)
    return tree


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
        with naming(path), open(path, encoding="utf-8") as stream:
            return [line.strip().rstrip("/") for line in stream if line.strip() and not line.startswith("#")]

    def scan(self) -> Iterator[Member]:
        """Go through the members, in no particular order.

        Raises:
            PackageError: a directory can't be read.
        """
        self._todo = [(self.root, "", ())]
        while self._todo:
            path, relative, foreign = self._todo.pop()
            try:
                with naming(path), os.scandir(path) as found:
                    children = {child.name: child for child in found}
            except ChangedError:
                if not relative:
                    raise
                continue  # gone since the directory above was read, as if it had never been
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
        no_code = name in _NOT_CODE or name.startswith(_OF_WORKERS) or (name.endswith(".pyc") and name[:-1] in siblings)
        if no_code or any(fnmatch(name, pattern) or fnmatch(relative, pattern) for pattern in self.ignored):
            logger.debug("Leaving out %s", child.path)
            return True
        if UNPORTABLE.search(relative):
            logger.warning("Leaving out %s: a name with a backslash or a drive letter can't be shipped; rename it", child.path)
            return True
        return False

    def _member(self, relative: str, child: os.DirEntry[str], foreign: tuple[str, ...]) -> Iterator[Member]:
        if child.is_symlink():
            with suppress(ChangedError):
                yield from self._link(relative, child.path, foreign)
        elif child.is_dir(follow_symlinks=False):
            self._todo.append((child.path, relative, foreign))
        elif child.is_file(follow_symlinks=False):
            yield Member(relative, "file", child.path)
        else:
            logger.warning("Leaving out %s: it is a pipe, a socket or a device", child.path)

    def _link(self, relative: str, path: str, foreign: tuple[str, ...]) -> Iterator[Member]:
        """Keep a link that stays inside the tree; follow one that leaves it, but not in a circle."""
        with naming(path):
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


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Say which file could not be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise ChangedError(f"{path} can't be read: {error.strerror}.") from error
    except OSError as error:
        raise PackageError(f"{path} can't be read: {error.strerror}. Make it readable, or list it in {IGNORE_FILE}.") from error


def open_file(path: str) -> int:
    """Open a regular file to read, and never wait for a pipe that took its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ChangedError(f"{path} changed while it was being packed. Keep it still and start again.")
    return descriptor


def _hash_members(members: list[Member]) -> list[Item | None]:
    return [_hash_member_if_there(member) for member in members]


def _hash_member_if_there(member: Member) -> Item | None:
    """Hash a member; None if it has gone since its directory was read: other programs work beside the script, and jobs, too."""
    try:
        return _hash_member(member)
    except ChangedError:
        return None


def _hash_member(member: Member) -> Item:
    path, kind, source = member
    if kind == "link":
        target = os.fsencode(source)
        return Item(Entry(path, kind, 0o777, len(target), sha256(target).hexdigest()), source, (zlib.crc32(target),))
    with naming(source):
        if kind == "directory":
            return Item(Entry(path, kind, os.stat(source).st_mode & 0o777 | 0o700, 0, "-"), source, (0,))
        descriptor = open_file(source)
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
