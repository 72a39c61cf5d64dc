"""The host's cache of shipped code: where it is, how large it may be, what is removed. Fetches nothing, removes nothing that is in use.

Trees lie in ``<root>/code``, assembled environments in ``<root>``; what belongs to a place lies beside it and begins with its name. What
has another name is none of ours, whatever directory JOBSYS_CACHE names.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from jobsys.errors import StorageError, UsageError
from jobsys.fetch import PART, sweep
from jobsys.files import remove, write_whole
from jobsys.holding import hold, parts_of, unused
from jobsys.kept import MANIFEST, size_of
from jobsys.late import Logger

logger = Logger(__name__)

LIMIT: Final = 10 * 10**9
_TREE: Final = r"[0-9A-Za-z]{32,64}-[0-9a-f]{8}"  # this and the others: compiled on use, which most processes never come to
_ENVIRONMENT: Final = r"env-[0-9a-f]{8,64}"
_CORE: Final = r"core-[0-9a-f]{64}\.zip|\.core-[0-9a-f]{16}"  # bootstrap.py writes them
_BEGUN: Final = rf"code$|{_CORE}|\.CACHEDIR\.TAG\."
_BESIDE: Final = (".used", ".lock", ".parts", ".transfer")
_TAG_NAME: Final = "CACHEDIR.TAG"
_TAG: Final = b"Signature: 8a477f597d28d172789f06886806bc55\n# Shipped code of jobsys, which backups can leave out.\n"
_OLD: Final = 7 * 86400  # seconds that an interrupted transfer waits to be resumed
_WRITTEN: Final = 3600  # seconds after which nobody writes a core archive any more
_NO_LOCKS: Final = (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL)


class Place(NamedTuple):
    """What is in a cache: a tree, or an environment that rests on trees."""

    path: str
    size: int
    used: float
    parts: tuple[str, ...]


class Cache:
    """A directory of trees and environments that processes of one user share."""

    def __init__(self, root: str | os.PathLike[str], limit: int = LIMIT) -> None:
        """Take a directory, made where it is missing, and the most bytes that may be in it.

        Raises:
            StorageError: it can't be made, another user owns it, or others may write into it.
        """
        self.root = os.path.abspath(root)
        self.limit = limit
        self.code = f"{self.root}/code"
        _make_private(self.root)
        _make_private(self.code)
        if not os.path.exists(f"{self.root}/{_TAG_NAME}"):
            write_whole(f"{self.root}/{_TAG_NAME}", _TAG, sync=False)

    @classmethod
    def of_host(cls, private: str | os.PathLike[str] | None = None) -> Self:
        """Find this host's cache: JOBSYS_CACHE, or below XDG_CACHE_HOME, the home, or the directory of temporary files.

        Where its file system has no locks, ``private`` is used instead, or a new directory that nobody shares and nobody removes.

        Raises:
            StorageError: there is no directory that can be used.
            UsageError: JOBSYS_CACHE_LIMIT is no size, or JOBSYS_CACHE no absolute path, or a directory that has another use.
        """
        limit = _limit()
        problems = []
        for root in _candidates():
            try:
                if os.environ.get("JOBSYS_CACHE"):
                    _refuse_another_use(root)
                found = cls(root, limit)
                if has_locks(found.code):
                    return found
                other = private or tempfile.mkdtemp(prefix="jobsys-cache-")
                logger.warning(
                    "The file system of %s has no locks: using %s, which other processes do not share. Let JOBSYS_CACHE name another "
                    "directory.",
                    root,
                    other,
                )
                return cls(other, limit)
            except StorageError as error:
                if os.environ.get("JOBSYS_CACHE"):
                    raise
                problems.append(str(error))
                logger.debug("Passing over a directory for the cache: %s", error)
        raise StorageError("there is no directory for shipped code: " + "; ".join(problems))

    @classmethod
    def around(cls, code: str) -> Self | None:
        """Give the cache whose trees lie in a directory; None if it is that of no cache."""
        return cls(os.path.dirname(os.path.abspath(code)), _limit()) if is_cache(code) else None

    def hold(self, place: str, parts: Sequence[str] = ()) -> bool:
        """Keep a place, and those that it rests on, while this process or a fork of it lives; tell whether it is there."""
        return hold(place, parts)

    def places(self) -> list[Place]:
        """List what is in the cache, the least recently used first, and environments before what they rest on."""
        found = [_place(path) for path, rest in self._find() if not rest and os.path.isdir(path)]
        found += [Place(path, size, used, ()) for path, size, used in self._cores()]
        last = {each.path: each.used for each in found}
        for each in found:
            for part in each.parts:
                last[part] = max(last.get(part, 0.0), each.used)
        rests = {part for each in found for part in each.parts}
        return sorted((each._replace(used=last[each.path]) for each in found), key=lambda each: (each.used, each.path in rests, each.path))

    def evict(self, limit: int | None = None) -> list[Place]:
        """Remove the least recently used places that nobody holds until the limit is kept; tell which.

        Each vanishes in one step, and an environment before what it rests on.
        """
        self._sweep()
        limit = self.limit if limit is None else limit
        places = self.places()
        total = sum(each.size for each in places)
        removed: list[Place] = []
        for each in places:
            if total <= limit:
                break
            if _remove(each.path):
                removed.append(each)
                total -= each.size
        if total > limit:
            logger.debug("%s holds %d bytes, more than its limit of %d, and all of it is in use", self.root, total, limit)
        return removed

    def _find(self) -> Iterator[tuple[str, str]]:
        """Go through the paths that are the cache's own, each as a place and what follows its name."""
        for directory, pattern in ((self.root, _ENVIRONMENT), (self.code, _TREE)):
            for name in os.listdir(directory):
                match = re.match(pattern, name)
                rest = name[match.end() :] if match else ""
                if match and (rest in {"", *_BESIDE} or rest.startswith(PART)):
                    yield f"{directory}/{match[0]}", rest

    def _cores(self) -> Iterator[tuple[str, int, float]]:
        """Go through the core archives, with size and time; whoever imports one has it open, so that it may vanish at any time."""
        for name in [each for each in os.listdir(self.root) if re.fullmatch(_CORE, each)]:
            with suppress(FileNotFoundError):
                found = os.lstat(f"{self.root}/{name}")
                if not name.startswith(".") or time.time() - found.st_mtime > _WRITTEN:
                    yield f"{self.root}/{name}", found.st_size, found.st_mtime

    def _sweep(self) -> None:
        """Remove what killed processes left, and what belongs to places that are no more."""
        for place in sorted({place for place, rest in self._find() if rest.startswith(PART) or not os.path.lexists(place)}):
            with unused(place) as free:
                if free:
                    sweep(place)
                    if not os.path.lexists(place):
                        _forget(place)


def is_cache(code: str) -> bool:
    """Tell whether a directory holds the trees of a cache."""
    root, name = os.path.split(os.path.abspath(code))
    return name == "code" and os.path.exists(f"{root}/{_TAG_NAME}")


def has_locks(directory: str) -> bool:
    """Tell whether files in a directory can be locked."""
    with tempfile.TemporaryFile(dir=directory) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
    return True


def _candidates() -> Iterator[str]:
    """Give the places to try, one by one: whoever asks for the temporary directory tries it out, and is best not killed at that."""
    if chosen := os.environ.get("JOBSYS_CACHE"):
        if not os.path.isabs(os.path.expanduser(chosen)):
            raise UsageError(f"JOBSYS_CACHE={chosen!r} is not an absolute path, so that every process would have another cache: name one")
        yield os.path.expanduser(chosen)
        return
    homes = [os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")]
    yield from (f"{home}/jobsys" for home in homes if os.path.isabs(home))
    yield f"{tempfile.gettempdir()}/jobsys-cache-{os.getuid()}"


def _refuse_another_use(root: str) -> None:
    """Refuse a directory in which something else is than a cache, finished or just being made; the tag comes before what is cached.

    Raises:
        UsageError: it is one.
    """
    try:
        strange = [name for name in os.listdir(root) if not re.match(_BEGUN, name)] or os.listdir(f"{root}/code")
    except OSError:  # nothing is there yet, or nothing that may be seen: what is wrong with that is told by who makes it
        return
    if strange and not _has_our_tag(root):
        raise UsageError(
            f"JOBSYS_CACHE={root} is neither empty nor a cache of jobsys: name an empty or new directory "
            f"(there is {strange[0]!r}, and no {_TAG_NAME} of jobsys)"
        )


def _has_our_tag(root: str) -> bool:
    try:
        with open(f"{root}/{_TAG_NAME}", "rb") as stream:
            return b"jobsys" in stream.read(len(_TAG))
    except FileNotFoundError:
        return False


def _limit() -> int:
    text = os.environ.get("JOBSYS_CACHE_LIMIT")
    if not text:
        return LIMIT
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?\s*", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise UsageError(f"JOBSYS_CACHE_LIMIT={text!r} is no size: give bytes, or text such as '500M', '10G' or '2GiB'")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGTP".index(match[2].upper() or " "))


def _make_private(directory: str) -> None:
    way = "let JOBSYS_CACHE name another directory"
    try:
        Path(directory).parent.mkdir(parents=True, exist_ok=True)
        Path(directory).mkdir(mode=0o700, exist_ok=True)
        found, owner = os.stat(directory), os.lstat(directory).st_uid  # of a link, too: its owner could let it point elsewhere
    except OSError as error:
        raise StorageError(f"the cache {directory} can't be made: {error.strerror}; {way}") from error
    for user in {found.st_uid, owner} - {os.getuid()}:
        raise StorageError(f"the cache {directory} belongs to another user (number {user}), who could change the code in it; {way}")
    if found.st_mode & 0o022:
        raise StorageError(f"others may write into the cache {directory} and could change the code in it: chmod go-w it, or {way}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StorageError(f"the cache {directory} can't be written; {way}")


def _place(path: str) -> Place:
    used = next((os.stat(each).st_mtime for each in (f"{path}.used", path) if os.path.exists(each)), 0.0)
    return Place(path, size_of(path) or 0, used, tuple(parts_of(path)))


def _remove(place: str) -> bool:
    """Remove a place in one step, unless somebody uses it."""
    if re.fullmatch(_CORE, os.path.basename(place)):
        Path(place).unlink(missing_ok=True)
        return True
    with unused(place) as free:
        if not free:
            return False
        gone = tempfile.mkdtemp(prefix=f"{os.path.basename(place)}{PART}", dir=os.path.dirname(place))
        if os.path.isdir(place):
            _rename_or_empty(place, gone)
        _forget(place)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _rename_or_empty(place: str, gone: str) -> None:
    """Rename a place that nobody uses; where that can't be (overlayfs: it is of a container's image), remove it as it is.

    Its list goes first: what has none is not used again, so that it does no harm if this process is killed on the way.
    """
    try:
        os.rename(place, gone)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(f"{place}/{MANIFEST}")
        remove(place)


def _forget(place: str) -> None:
    """Remove what lies beside a place that is no more; one that was half transferred may still be gone on with."""
    for ending in (".transfer", ".parts", ".used", ".lock"):
        with suppress(FileNotFoundError):
            if ending != ".transfer" or time.time() - os.lstat(place + ending).st_mtime > _OLD:
                os.unlink(place + ending)
