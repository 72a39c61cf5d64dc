"""Bring what was shipped to this host: over HTTP or from a file, checked, once however many processes ask, repaired where damaged.

Files are laid out as ``<place>/<name>``, with the list of what was unpacked beside it (``kept.py``). A place is made in ``<place>.part-…``
under the lock ``<place>.lock``, and only a rename makes it visible; ``<place>.transfer`` is what was downloaded so far, also by a process
that was killed. Whoever obtains a place holds it from then on (``holding.py``).
"""

import _thread
import errno
import functools
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from jobsys.digest import ContentDigest, chunks
from jobsys.errors import IntegrityError, NotFoundError, StorageError, TransferError
from jobsys.files import locked, pour
from jobsys.holding import hold
from jobsys.kept import MANIFEST, SEALED, Kept, harm, read_list, write_list
from jobsys.late import Logger
from jobsys.manifest import Entry, manifest_digest, shown
from jobsys.unpack import PIECE, read_directory, unpack, write_file

logger = Logger(__name__)

TRIES: Final = 5
PAUSE: Final = 0.25
PART: Final = ".part-"
_WAY_OUT: Final = "If it is so in the job store, delete it there and start the script again with --restart: what is missing is sent anew"
_making: Final = _thread.allocate_lock()
_UNPACK_MOST: Final = 2  # transfers wait for a network, unpacking for processors, and lists of entries take memory
_PASSING: Final = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_AT_CWD: Final = -100
_EXCHANGE: Final = 2


class Wanted(NamedTuple):
    """What to fetch: where from, the name it gets here, and the digests it must have (of a manifest, or of one file)."""

    url: str
    name: str
    md5: str
    sha256: str | None
    archive: bool
    executable: bool = False


def local_file(url: str) -> str | None:
    """Give the path that a ``file:`` URL means on this machine, or None for another URL."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"}:
        raise NotFoundError(f"{url} names the host {parts.netloc}; write it as file:///path")
    return os.fsdecode(unquote_to_bytes(parts.path))


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def obtain(wanted: Wanted, place: str, prepare: Callable[[str], None] | None = None) -> bool:
    """Have ``place/<name>`` be what is wanted; download it where it is missing or damaged. Tell whether that was necessary.

    However many processes ask, one downloads and the others wait for it. ``prepare`` is called with the new directory before it gets
    its final name; one that a killed process left behind is swept away. Broken transfers and wrong digests are tried again.
    This process holds the place from then on: it is not evicted from a cache as long as this process, or a fork of it, lives.

    Raises:
        StorageError: it can't be had; the message tells where from and why.
        PackageError: the archive is not safe to unpack.
    """
    return obtain_listed(wanted, place, prepare)[0]


def obtain_listed(
    wanted: Wanted, place: str, prepare: Callable[[str], None] | None = None, *, small: int | None = None
) -> tuple[bool, list[Kept]]:
    """Do what ``obtain`` does, and give the list of what is there as well; ``small`` is that of ``kept.harm``."""
    kept: list[Kept] = []

    def build(part: str) -> None:
        kept[:] = _persist(wanted, part, f"{place}.transfer")
        write_list(part, kept)
        if prepare is not None:
            prepare(part)

    def is_usable() -> bool:
        found = _usable(wanted, place, small)
        kept[:] = found or ()
        return found is not None

    return make_once(place, is_usable, build), kept


def make_once(place: str, is_usable: Callable[[], bool], build: Callable[[str], None]) -> bool:
    """Have a place be usable: hold it, and where it is not, let one process build it beside. Tell whether this process did.

    ``build`` is called with a new directory, which then gets the place's name in one step, also where a damaged one had it.

    Raises:
        StorageError: the disk is full.
    """
    with _explaining_no_room(os.path.dirname(place)):
        hold(place)
        if is_usable():
            return False
        with locked(f"{place}.lock"):
            sweep(place)
            if is_usable():
                return False
            try:
                part = _directory_beside(place)
                build(part)
                _put(part, place)
            finally:
                sweep(place)
        return True


@contextmanager
def _explaining_no_room(directory: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            f"the disk below {directory}, where shipped code is unpacked, is full: make room there, with 'jobsys cache --clear' for one, "
            "or let JOBSYS_CACHE name a directory on another disk"
        ) from error


def _directory_beside(place: str) -> str:
    return tempfile.mkdtemp(prefix=f"{os.path.basename(place)}{PART}", dir=os.path.dirname(place))


def _put(part: str, place: str) -> None:
    """Give a new directory the name of a place, or what is in it, so that who uses the old one never finds nothing there."""
    if not os.path.lexists(place):
        os.rename(part, place)
        return
    for name in os.listdir(place) if os.path.isdir(place) else []:
        if name.startswith(".jobsys-") and name not in {MANIFEST, SEALED} and not os.path.lexists(f"{part}/{name}"):
            shutil.copy2(f"{place}/{name}", f"{part}/{name}", follow_symlinks=False)  # what others have noted of this place
    if not _exchange(part, place):
        try:
            os.rename(place, _directory_beside(place))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            pour(part, place)  # a directory of a container's image: overlayfs does not rename those
            return
        os.rename(part, place)


def _exchange(one: str, other: str) -> bool:
    """Let two paths change names in one step, where this system can."""
    try:
        import ctypes  # noqa: PLC0415 - a Python may have been built without it; only a repair needs it

        rename = ctypes.CDLL(None).renameat2
    except (ImportError, OSError, AttributeError):
        return False
    return bool(rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)


def sweep(place: str) -> None:
    """Remove the directories beside a place that a killed process left; call only with the lock."""
    root, name = os.path.split(place)
    for left in os.listdir(root):
        if left.startswith(f"{name}{PART}"):
            path = f"{root}/{left}"
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path)  # unless whoever evicted it has just done so


def _usable(wanted: Wanted, place: str, small: int | None) -> list[Kept] | None:
    """Give the list of what is in a place if that can be used again."""
    kept: list[Kept] = []
    try:
        kept = read_list(place)
        reason = _difference(wanted, place, kept, small)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        logger.warning("%s can't be used again, downloading it anew: %s", place, reason)
    return None if reason else kept


def _difference(wanted: Wanted, place: str, kept: list[Kept], small: int | None) -> str | None:
    if wanted.archive:
        digest = manifest_digest(kept)
        fits = _matches(wanted, digest.md5, digest.sha256)
        return harm(place, wanted.name, kept, small=small) if fits else "its manifest was changed"
    fits = [each.path for each in kept] == [wanted.name] and wanted.sha256 in {None, kept[0].sha256}
    return harm(place, ".", kept, alone=False, small=small) if fits else "its manifest was changed"


def _matches(wanted: Wanted, md5: str, sha256: str) -> bool:
    return wanted.md5 == md5 and wanted.sha256 in {None, sha256}


# ── transfers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _persist(wanted: Wanted, part: str, transferred: str) -> list[Kept]:
    """Try until it is there, or the tries are used up; a transfer that gets further does not use one up."""
    attempt = 0
    furthest = _size(transferred)
    while True:
        attempt += 1
        try:
            kept = _fetch_once(wanted, part, transferred)
        except (TransferError, IntegrityError) as error:
            size = _size(transferred)
            if isinstance(error, IntegrityError):
                _remove(transferred)
            elif size > furthest:
                attempt, furthest = 1, size
            if attempt == TRIES and isinstance(error, IntegrityError):
                raise IntegrityError(f"{error}. {_WAY_OUT}") from error
            if attempt == TRIES:
                raise
            logger.warning("Trying again (%d of %d): %s", attempt, TRIES, error)
            shutil.rmtree(f"{part}/{wanted.name}", ignore_errors=True)
            time.sleep(PAUSE * 2 ** (attempt - 1) * importlib.import_module("random").uniform(0.5, 1.5))
        else:
            _remove(transferred)
            return kept


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _fetch_once(wanted: Wanted, part: str, transferred: str) -> list[Kept]:
    try:
        path = local_file(wanted.url)
        if path is None:
            if urlsplit(wanted.url).scheme not in {"http", "https"}:
                raise NotFoundError(f"{shown(wanted.url)} is neither a file: nor an http(s): URL, so no worker can fetch it")
            from jobsys.transfer import fetch  # noqa: PLC0415 - loads HTTP and TLS; only code from a server needs them

            fetch(wanted.url, transferred)
            path = transferred
        elif not os.path.isfile(path):
            raise TransferError(f"{path} is not there; is the job store's directory mounted on this host?")
        return _unpack_tree(wanted, path, part) if wanted.archive else [_copy_file(wanted, path, part)]
    except OSError as error:
        if error.errno in _FULL:
            _remove(transferred)  # it must not keep the disk full
            raise
        problem = f"{shown(wanted.url)} can't be brought to {part}: {error.strerror}"
        raise (TransferError if error.errno in _PASSING else StorageError)(problem) from error


@functools.cache
def _turns() -> Any:
    """Give what lets a few threads unpack at once; to be called with the lock held, since it is made on use."""
    return importlib.import_module("threading").BoundedSemaphore(_UNPACK_MOST)


def _unpack_tree(wanted: Wanted, path: str, part: str) -> list[Kept]:
    with _making:
        turns = _turns()
    with turns:
        try:
            packed = read_directory(path)
            digest = manifest_digest(each.entry for each in packed)
            if _matches(wanted, digest.md5, digest.sha256):
                return unpack(path, packed, f"{part}/{wanted.name}")
        except IntegrityError as error:
            raise IntegrityError(f"{shown(wanted.url)} is damaged: {error}") from error
    raise IntegrityError(f"{shown(wanted.url)} is not what was saved: its manifest has the SHA-256 {digest.sha256}, not {wanted.sha256}")


def _copy_file(wanted: Wanted, path: str, part: str) -> Kept:
    digest = ContentDigest()
    target = f"{part}/{wanted.name}"
    if os.path.lexists(target):
        os.unlink(target)
    entry = Entry(wanted.name, "file", 0o755 if wanted.executable else 0o644, 0, "")
    with open(path, "rb", buffering=0) as stream:
        kept = write_file(target, entry, digested(chunks(stream, PIECE), digest))
    if not _matches(wanted, digest.md5, digest.sha256):
        raise IntegrityError(f"{shown(wanted.url)} is not what was saved: it has the SHA-256 {digest.sha256}, not {wanted.sha256}")
    return kept._replace(size=digest.size, sha256=digest.sha256)


def digested(pieces: Iterable[bytes], digest: ContentDigest) -> Iterator[bytes]:
    """Pass pieces on and digest them on the way."""
    for piece in pieces:
        digest.update(piece)
        yield piece
