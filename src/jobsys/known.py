"""What is known of files from before: digests, as long as ``stat`` proves that nothing changed, and what a source imports.

An entry is believed only where it can be: on a file system of this machine (a server's clock and caches are its own), for a file whose
size, times, inode and device are the very same, and which had not been changed within the last seconds before it was hashed: a second
change in the same tick of the clock would leave no trace. Losing this file costs time, never correctness.
"""

import logging
import os
import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from jobsys.files import write_whole

logger = logging.getLogger(__name__)

SETTLED: Final = 2_000_000_000
"""Nanoseconds for which a file must have been left alone before it was hashed."""
_LOCAL: Final = frozenset(["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "tmpfs", "overlay"])
_VERSION: Final = b"jobsys digests 2\0"


_ESCAPED: Final = re.compile(r"\\([0-7]{3})")  # blanks and the like, in /proc


class Fact(msgspec.Struct, array_like=True, frozen=True):
    """What was found out about a file: what ``stat`` said, its SHA-256, and the CRC-32 from its beginning to the end of each piece."""

    size: int
    modified: int
    changed: int
    inode: int
    sha256: bytes
    checks: tuple[int, ...]

    @property
    def stamps(self) -> tuple[int, int, int, int]:
        """Give what must be the same for it to be believed."""
        return self.size, self.modified, self.changed, self.inode


class _Book(msgspec.Struct):
    files: dict[str, Fact] = {}
    imports: dict[bytes, tuple[str, ...]] = {}


class Known:
    """The facts about the files of one tree; safe to use from many threads."""

    def __init__(self, directory: str | None, tree: str, clock: Callable[[], int] = time.time_ns) -> None:
        """Read what is known.

        Args:
            directory: where such facts are kept; None keeps them for this process only.
            tree: the directory that the files lie in; names the facts.
            clock: tells the time in nanoseconds since the epoch.
        """
        name = sha256(os.fsencode(os.path.realpath(tree))).hexdigest()[:32]
        self._path = None if directory is None else os.path.join(directory, f"{name}.digests")
        self._clock = clock
        self._device = _device(tree) if _file_system(os.path.realpath(tree)) in _LOCAL else None
        self._old = self._read()
        self._new = _Book()
        self._passing: dict[str, Fact] = {}  # good for this process only
        self._learned = False

    def _read(self) -> _Book:
        try:
            if self._path is not None and self._device is not None:
                with open(self._path, "rb") as stream:
                    digest, data = stream.read(32), stream.read()
                if digest == _sealed(data):
                    return msgspec.msgpack.decode(data, type=_Book)
                logger.debug("%s is damaged or of another version, everything is hashed anew", self._path)
        except FileNotFoundError:
            return _Book()
        except (OSError, msgspec.MsgspecError) as error:
            logger.debug("%s can't be used, everything is hashed anew: %s", self._path, error)
        return _Book()

    def has(self, path: str) -> bool:
        """Tell whether anything is known of a file, so that it pays to look at it."""
        return path in self._old.files or path in self._new.files or path in self._passing

    def look(self, path: str, status: os.stat_result) -> Fact | None:
        """Give what is known of a file that looks like this now; None if it must be read."""
        stamps = _stamps(status)
        for facts in (self._passing, self._new.files, self._old.files):
            fact = facts.get(path)
            if fact is not None and fact.stamps == stamps:
                break
        else:
            return None
        if facts is not self._passing:
            if status.st_dev != self._device:
                return None
            self._new.files[path] = fact
        return fact

    def note(self, path: str, status: os.stat_result, digest: bytes, checks: tuple[int, ...]) -> None:
        """Remember a file that looked like this before and after it was read."""
        fact = Fact(*_stamps(status), digest, checks)
        settled = 0 <= max(fact.modified, fact.changed) <= self._clock() - SETTLED
        if settled and self._device is not None and status.st_dev == self._device:
            self._new.files[path] = fact
            self._learned = True
        else:
            self._new.files.pop(path, None)
            self._passing[path] = fact

    def imports(self, digest: bytes) -> tuple[str, ...] | None:
        """Give the modules that a source of this SHA-256 imports; None if it must be parsed."""
        names = self._new.imports.get(digest, self._old.imports.get(digest))
        if names is not None:
            self._new.imports[digest] = names
        return names

    def note_imports(self, digest: bytes, names: tuple[str, ...]) -> None:
        """Remember what a source imports."""
        self._new.imports[digest] = names
        self._learned = True

    def save(self) -> None:
        """Keep what was looked at for the next time; what was not is forgotten."""
        if self._path is None or not (self._learned or len(self._new.files) < len(self._old.files)):
            return
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            data = msgspec.msgpack.encode(self._new)
            write_whole(self._path, _sealed(data) + data, sync=False)
        except OSError as error:
            logger.debug("%s can't be written, everything will be hashed anew: %s", self._path, error)


def _sealed(data: bytes) -> bytes:
    return sha256(_VERSION + data).digest()


def _stamps(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def _file_system(path: str) -> str:
    """Name the type of the file system on which a path lies; empty if that can't be told."""
    best, found = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                fields, _, rest = line.partition(" - ")
                point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields.split()[4])
                if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
                    best, found = point, rest.split()[0]
    except OSError:
        return ""
    return found
