"""Archives that this host has sent before, kept beside its cache so that another job store gets them without packing anew.

An archive is named by the digest of its manifest and by that of its own bytes, which are compared before it is used: what is not the
very same any more is forgotten. The least recently used go first.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import file_digest
from typing import BinaryIO, Final, NamedTuple, Self

from jobsys.cache import Cache

logger = logging.getLogger(__name__)

SHARE: Final = 0.2
"""The part of the cache's limit that archives may take."""
_NAME: Final = r"([0-9a-f]{64})-([0-9a-f]{64})\.zip"


class Kept(NamedTuple):
    """An archive: where it is, its size in bytes, and when it was used last."""

    path: str
    size: int
    used: float


class Archives:
    """The archives in a directory, which need not exist."""

    def __init__(self, directory: str, limit: int) -> None:
        """Keep at most ``limit`` bytes in a directory."""
        self.directory = directory
        self._limit = limit

    @classmethod
    def of(cls, cache: Cache) -> Self:
        """Give the archives beside a cache."""
        return cls(f"{cache.root}/archives", int(cache.limit * SHARE))

    def open(self, digest: str) -> BinaryIO | None:
        """Give the archive of a manifest, to read; None if there is none that is still what it was."""
        for name in self._names():
            match = re.fullmatch(_NAME, name)
            if match is None or match[1] != digest:
                continue
            path = os.path.join(self.directory, name)
            try:
                stream = open(path, "rb")  # noqa: SIM115 - the caller closes it
            except FileNotFoundError:  # another run has just made room
                continue
            if file_digest(stream, "sha256").hexdigest() == match[2]:
                stream.seek(0)
                with suppress(OSError):  # it was forgotten meanwhile: what is open can still be read
                    os.utime(path)
                return stream
            stream.close()
            logger.warning("%s is not what it was any more: packing anew", path)
            with suppress(FileNotFoundError):
                os.unlink(path)
        return None

    def keep(self, digest: str, source: str) -> None:
        """Keep a copy of an archive of a manifest; that there is no room for it is no error."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(prefix=".part-", dir=self.directory)
        except OSError as error:
            logger.debug("%s is not kept: %s", source, error)
            return
        try:
            with os.fdopen(descriptor, "r+b") as target, open(source, "rb") as stream:
                shutil.copyfileobj(stream, target, 1 << 18)
                target.seek(0)
                name = f"{digest}-{file_digest(target, 'sha256').hexdigest()}.zip"
            os.replace(beside, os.path.join(self.directory, name))
            self.make_room()
        except OSError as error:
            logger.debug("%s is not kept: %s", source, error)
            with suppress(FileNotFoundError):
                os.unlink(beside)

    def make_room(self, limit: int | None = None) -> list[Kept]:
        """Forget the least recently used until the limit is kept; tell which."""
        kept = sorted(self.kept(), key=lambda each: each.used)
        total = sum(each.size for each in kept)
        gone = []
        for each in kept:
            if total <= (self._limit if limit is None else limit):
                break
            with suppress(FileNotFoundError):
                os.unlink(each.path)
            total -= each.size
            gone.append(each)
        return gone

    def kept(self) -> Iterator[Kept]:
        """Go through the archives, in no particular order."""
        for name in self._names():
            path = os.path.join(self.directory, name)
            with suppress(FileNotFoundError):
                found = os.stat(path)
                yield Kept(path, found.st_size, found.st_mtime)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
