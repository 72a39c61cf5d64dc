"""What is known of files from before: digests, as long as ``stat`` proves that nothing changed, and what a source imports.

An entry is believed only where it can be: on a file system of this machine (a server's clock and caches are its own), for a file whose
size, times, inode and device are the very same, and which had not been changed within the last seconds before it was hashed: a second
change in the same tick of the clock would leave no trace. A *summary* of a tree is believed if all files on which it rests can be, and
those that were missing still are. Losing this file costs time, never correctness.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

import msgspec

from jobsys.files import write_whole
from jobsys.late import Logger
from jobsys.version import VERSION

logger = Logger(__name__)

SETTLED: Final = 2_000_000_000
"""Nanoseconds for which a file must have been left alone before it was hashed."""
_LOCAL: Final = frozenset(["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "tmpfs", "overlay"])
_VERSION: Final = f"jobsys digests 4 {VERSION}\0".encode()  # another version may pack other files
_MISSING: Final = (0, 0, 0, 0)
_ESCAPED: Final = r"\\([0-7]{3})"  # blanks and the like, in /proc


class Fact(msgspec.Struct, array_like=True, frozen=True):
    """What was found out about a file: what ``stat`` said, its SHA-256, and the CRC-32 from its beginning to the end of each piece."""

    size: int
    modified: int
    changed: int
    inode: int
    sha256: bytes
    checks: tuple[int, ...]

    @property
    def stamps(self) -> "_Stamps":
        """Give what must be the same for it to be believed."""
        return self.size, self.modified, self.changed, self.inode


class Summary(msgspec.Struct, array_like=True, frozen=True):
    """What was found out about a tree: the digests of its manifest, its size, how many entries it has, what it needs of a worker.

    Args:
        tag: the platforms that its native code was built for.
        abi: the ending of the extension modules in it that only one Python can load; empty if there are none.
        names: what it occupies of the directory that it was installed in.
    """

    md5: str
    sha256: str
    size: int
    count: int
    tag: str
    abi: str
    names: tuple[str, ...] = ()


class _Proven(msgspec.Struct, array_like=True, frozen=True):
    """A summary, and the files that must look as they did: their paths, and the digest of what ``stat`` said of them."""

    summary: Summary
    paths: bytes
    stamps: bytes


class _Book(msgspec.Struct):
    files: msgspec.Raw = msgspec.Raw(b"\x80")  # a dictionary as _Files; decoded only if a file is asked for
    imports: dict[bytes, tuple[str, ...]] = {}
    summaries: dict[str, _Proven] = {}


_Files = dict[str, Fact]
_Stamps = tuple[int, int, int, int]


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
        self._recorded: _Files | None = None  # the files of the old book
        self._files: _Files = {}
        self._passing: _Files = {}  # good for this process only
        self._watched: dict[str, _Stamps | None] = {}
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

    @property
    def _old_files(self) -> _Files:
        if self._recorded is None:
            try:
                self._recorded = msgspec.msgpack.decode(self._old.files, type=_Files)
            except msgspec.MsgspecError as error:
                logger.debug("%s can't be used, everything is hashed anew: %s", self._path, error)
                self._recorded = {}
        return self._recorded

    def has_any(self) -> bool:
        """Tell whether anything is known of any file."""
        return bool(self._old_files or self._files or self._passing)

    def has(self, path: str) -> bool:
        """Tell whether anything is known of a file, so that it pays to look at it."""
        return path in self._old_files or path in self._files or path in self._passing

    def look(self, path: str, status: os.stat_result) -> Fact | None:
        """Give what is known of a file that looks like this now; None if it must be read."""
        stamps = _stamps(status)
        for facts in (self._passing, self._files, self._old_files):
            fact = facts.get(path)
            if fact is not None and fact.stamps == stamps:
                break
        else:
            return None
        if facts is not self._passing:
            if status.st_dev != self._device:
                return None
            self._files[path] = fact
        return fact

    def note(self, path: str, status: os.stat_result, digest: bytes, checks: tuple[int, ...]) -> None:
        """Remember a file that looked like this before and after it was read."""
        stamps = _stamps(status)
        if self._is_settled(stamps, status.st_dev) and _is_text(path):
            self._files[path] = Fact(*stamps, digest, checks)
            self._learned = True
        else:
            self._files.pop(path, None)
            self._passing[path] = Fact(*stamps, digest, checks)

    def _is_settled(self, stamps: _Stamps, device: int) -> bool:
        return self._device is not None and device == self._device and 0 <= max(stamps[1], stamps[2]) <= self._clock() - SETTLED

    # ── whole trees ──────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self, name: str) -> Summary | None:
        """Give what is known of a tree; None unless each file on which that rests is what it was."""
        proven = self._new.summaries.get(name) or self._old.summaries.get(name)
        if proven is None or self._stamps_now(os.fsdecode(proven.paths).split("\0")) != proven.stamps:
            return None
        self._new.summaries[name] = proven
        return proven.summary

    def watch(self, path: str) -> None:
        """Look at a file, which may be missing, before it is read for something else than its digest; the first look counts."""
        if path in self._watched:
            return
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            self._watched[path] = _MISSING
        except OSError:
            self._watched[path] = None
        else:
            stamps = _stamps(status)
            self._watched[path] = stamps if self._is_settled(stamps, status.st_dev) else None

    def note_summary(self, name: str, summary: Summary, paths: Iterable[str]) -> None:
        """Remember a tree that rests on these files, if each was watched, or noted, before it was read, and can be believed."""
        resting = list(dict.fromkeys(paths))
        stamps = [self._stamps_then(path) for path in resting]
        self._new.summaries.pop(name, None)
        if self._device is not None and None not in stamps and _is_text(name):
            self._new.summaries[name] = _Proven(summary, os.fsencode("\0".join(resting)), _digest(stamps))
            self._learned = True

    def _stamps_then(self, path: str) -> _Stamps | None:
        if path in self._watched:
            return self._watched[path]
        fact = self._files.get(path)
        if fact is None and path not in self._passing and not os.path.lexists(path):
            return _MISSING  # and it was when the tree was read, or there would be a fact
        return None if fact is None else fact.stamps

    def _stamps_now(self, paths: list[str]) -> bytes | None:
        """Digest what ``stat`` says of all files; None if one lies elsewhere, or can't be looked at."""
        stat, device, stamps = os.stat, self._device, list[_Stamps]()
        for path in paths:
            try:
                status = stat(path)
            except (FileNotFoundError, NotADirectoryError):
                stamps.append(_MISSING)
                continue
            except OSError:
                return None
            if status.st_dev != device:
                return None
            stamps.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
        return _digest(stamps)

    # ── what sources import ──────────────────────────────────────────────────────────────────────────────────────────

    def imports(self, digest: bytes) -> tuple[str, ...] | None:
        """Give what was noted of the modules that a source of this SHA-256 imports; None if it must be parsed."""
        names = self._new.imports.get(digest, self._old.imports.get(digest))
        if names is not None:
            self._new.imports[digest] = names
        return names

    def note_imports(self, digest: bytes, names: tuple[str, ...]) -> None:
        """Remember what a source imports."""
        if not all(map(_is_text, names)):
            return
        self._new.imports[digest] = names
        self._learned = True

    def save(self) -> None:
        """Keep what was looked at for the next time; what was not is forgotten."""
        if self._path is None or not (self._learned or self._forgets()):
            return
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._new.files = msgspec.Raw(msgspec.msgpack.encode(self._kept()))
            data = bytearray(32)
            msgspec.msgpack.Encoder().encode_into(self._new, data, 32)
            data[:32] = _sealed(memoryview(data)[32:])
            write_whole(self._path, memoryview(data), sync=False)
        except (OSError, ValueError, OverflowError) as error:
            logger.debug("%s can't be written, everything will be hashed anew: %s", self._path, error)

    def _forgets(self) -> bool:
        if len(self._new.summaries) < len(self._old.summaries):
            return True
        asked = self._recorded is not None or not self._old.summaries  # else all that was asked for were summaries
        return asked and len(self._kept()) < len(self._old_files)

    def _kept(self) -> _Files:
        """Collect the files that were looked at, one by one or for a summary."""
        resting = {path for each in self._new.summaries.values() for path in os.fsdecode(each.paths).split("\0")}
        return {path: fact for path, fact in self._old_files.items() if path in resting} | self._files


def _is_text(name: str) -> bool:
    """Tell whether a name can stand in a book, which is UTF-8; one that can't is good for this process only."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sealed(data: bytes | memoryview) -> bytes:
    digest = sha256(_VERSION)
    digest.update(data)
    return digest.digest()


def _digest(stamps: "list[_Stamps] | list[_Stamps | None]") -> bytes:
    return sha256(msgspec.msgpack.encode(stamps)).digest()


def _stamps(status: os.stat_result) -> "_Stamps":
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
                point = re.sub(_ESCAPED, lambda match: chr(int(match[1], 8)), fields.split()[4])
                if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
                    best, found = point, rest.split()[0]
    except OSError:
        return ""
    return found
