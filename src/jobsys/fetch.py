"""Bring what was shipped to this host: over HTTP or from a file, checked, once however many processes ask, repaired where damaged.

Files are laid out as ``<place>/<name>``, with the list of what was unpacked beside it in ``<place>/.jobsys-manifest``. A download happens
in ``<place>.part-…`` under the lock ``<place>.lock``, and only a rename makes it visible.
"""

import errno
import logging
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from jobsys.digest import ContentDigest, chunks
from jobsys.errors import IntegrityError, NotFoundError, StorageError
from jobsys.files import locked, write_whole
from jobsys.tree import Entry, manifest_digest
from jobsys.unpack import PIECE, Kept, damage, read_directory, unpack, write_file

logger = logging.getLogger(__name__)

MANIFEST: Final = ".jobsys-manifest"
TRIES: Final = 5
PAUSE: Final = 0.25
_PART: Final = ".part-"
_PASSING: Final = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN)
_TIMEOUTS: Final = (20, 60)


class Wanted(NamedTuple):
    """What to fetch: where from, the name it gets here, and the digests it must have (of a manifest, or of one file)."""

    url: str
    name: str
    md5: str
    sha256: str | None
    archive: bool
    executable: bool = False


class TransferError(StorageError):
    """A transfer broke off; another try may succeed."""


def local_file(url: str) -> str | None:
    """Give the path that a ``file:`` URL means on this machine, or None for another URL."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"}:
        raise NotFoundError(f"{url} names the host {parts.netloc}; write it as file:///path")
    return os.fsdecode(unquote_to_bytes(parts.path))


def shown(url: str) -> str:
    """Write a URL for a message, without the signature that its query may carry."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def fetch(url: str, target: str) -> None:
    """Download over HTTP into a file, going on where an earlier try broke off.

    Raises:
        TransferError: the server was out of order or the connection broke.
        NotFoundError: the server refuses the URL.
    """
    have = os.path.getsize(target) if os.path.exists(target) else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    address = urlsplit(url)._replace(fragment="").geturl()
    import requests  # noqa: PLC0415 - takes longer to import than all of a worker's own code; only code from a server needs it

    try:
        with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUTS) as answer:
            if answer.status_code in {408, 416, 425, 429} or answer.status_code >= 500:
                if answer.status_code == 416 and have:
                    os.truncate(target, 0)
                raise TransferError(f"{shown(url)}: the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in {200, 206}:
                raise NotFoundError(f"{shown(url)}: the server answered {answer.status_code} {answer.reason}")
            with open(target, "ab" if answer.status_code == 206 else "wb") as stream:
                for piece in answer.iter_content(PIECE):
                    stream.write(piece)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise TransferError(f"{shown(url)}: the transfer broke off: {error}") from error


def obtain(wanted: Wanted, place: str, prepare: Callable[[str], None] | None = None) -> None:
    """Have ``place/<name>`` be what is wanted; download it where it is missing or damaged.

    However many processes ask, one downloads and the others wait for it. ``prepare`` is called with the new directory before it gets
    its final name; one that a killed process left behind is swept away. Broken transfers and wrong digests are tried again

    Raises:
        StorageError: it can't be had; the message tells where from and why.
        PackageError: the archive is not safe to unpack.
    """
    if _is_usable(wanted, place):
        return
    with locked(f"{place}.lock"):
        _sweep(place)
        if _is_usable(wanted, place):
            return
        part = tempfile.mkdtemp(prefix=f"{os.path.basename(place)}{_PART}", dir=os.path.dirname(place))
        try:
            kept = _persist(wanted, part)
            write_whole(f"{part}/{MANIFEST}", msgspec.msgpack.encode(kept), sync=False)
            if prepare is not None:
                prepare(part)
            if os.path.lexists(place):
                os.rename(place, tempfile.mkdtemp(prefix=f"{os.path.basename(place)}{_PART}", dir=os.path.dirname(place)))
            os.rename(part, place)
        finally:
            _sweep(place)


def _is_usable(wanted: Wanted, place: str) -> bool:
    try:
        with open(f"{place}/{MANIFEST}", "rb") as stream:
            kept = msgspec.msgpack.decode(stream.read(), type=list[Kept])
    except FileNotFoundError:
        return False
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("%s can't be used again, downloading it anew: %s", place, error)
        return False
    if wanted.archive:
        digest = manifest_digest(each.entry for each in kept)
        reason = None if _matches(wanted, digest.md5, digest.sha256) else "its manifest was changed"
        reason = reason or damage(f"{place}/{wanted.name}", kept, alone=True)
    else:
        reason = None if [each.path for each in kept] == [wanted.name] else "its manifest was changed"
        reason = reason or (None if wanted.sha256 in {None, kept[0].sha256} else "its manifest was changed")
        reason = reason or damage(place, kept, alone=False)
    if reason:
        logger.warning("%s can't be used again, downloading it anew: %s", place, reason)
    return not reason


def _matches(wanted: Wanted, md5: str, sha256: str) -> bool:
    return wanted.md5 == md5 and wanted.sha256 in {None, sha256}


def _sweep(place: str) -> None:
    """Remove what a killed download left; call only with the lock."""
    root, name = os.path.split(place)
    for left in os.listdir(root):
        if left.startswith(f"{name}{_PART}"):
            path = f"{root}/{left}"
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


def _persist(wanted: Wanted, part: str) -> list[Kept]:
    """Try until it is there, or the tries are used up."""
    transferred = f"{part}.transfer"
    attempt = 0
    while True:
        attempt += 1
        try:
            return _fetch_once(wanted, part, transferred)
        except (TransferError, IntegrityError) as error:
            if attempt == TRIES:
                raise
            logger.warning("Trying again (%d of %d): %s", attempt, TRIES, error)
            if isinstance(error, IntegrityError) and os.path.exists(transferred):
                os.unlink(transferred)
            shutil.rmtree(f"{part}/{wanted.name}", ignore_errors=True)
            time.sleep(PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))


def _fetch_once(wanted: Wanted, part: str, transferred: str) -> list[Kept]:
    try:
        path = local_file(wanted.url)
        if path is None:
            if urlsplit(wanted.url).scheme not in {"http", "https"}:
                raise NotFoundError(f"{shown(wanted.url)} is neither a file: nor an http(s): URL, so no worker can fetch it")
            fetch(wanted.url, transferred)
            path = transferred
        elif not os.path.isfile(path):
            raise TransferError(f"{path} is not there; is the job store's directory mounted on this host?")
        return _unpack_tree(wanted, path, part) if wanted.archive else [_copy_file(wanted, path, part)]
    except OSError as error:
        problem = f"{shown(wanted.url)} can't be brought to {part}: {error.strerror}"
        raise (TransferError if error.errno in _PASSING else StorageError)(problem) from error


def _unpack_tree(wanted: Wanted, path: str, part: str) -> list[Kept]:
    packed = read_directory(path)
    digest = manifest_digest(each.entry for each in packed)
    if not _matches(wanted, digest.md5, digest.sha256):
        raise IntegrityError(
            f"{shown(wanted.url)} is not what was saved: its manifest has the SHA-256 {digest.sha256}, not {wanted.sha256}"
        )
    return unpack(path, packed, f"{part}/{wanted.name}")


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
    return msgspec.structs.replace(kept, size=digest.size, sha256=digest.sha256)


def digested(pieces: Iterable[bytes], digest: ContentDigest) -> Iterator[bytes]:
    """Pass pieces on and digest them on the way."""
    for piece in pieces:
        digest.update(piece)
        yield piece
