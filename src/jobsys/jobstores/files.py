"""Global files: their ids, which say what is in them, and streams that hold whoever stores them to it."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from jobsys.digest import FileDigest, Readable, chunks, hand_on
from jobsys.errors import IntegrityError
from jobsys.jobstores import keys, unchanged
from jobsys.storage.base import Storage
from jobsys.storage.urls import read_version

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_BUFFER: Final = 1 << 18


class FileId(str):
    """Name a global file; ``size`` in bytes, ``name`` and a digest of what is in it come along."""

    __slots__ = ("digest", "executable", "mark", "origin", "size")

    size: int
    executable: bool
    digest: bytes  # the SHA-256; of more than 1 MiB the BLAKE3; empty: what is read is not checked
    origin: str  # the object elsewhere, and its version, that the file is; empty: it lies in the job store
    mark: bytes  # by which a reader on the writer's host sees that a large file is as it was written; empty: the digest tells

    def __new__(cls, key: str, size: int, executable: bool = False, digest: bytes = b"", mark: bytes = b"", origin: str = "") -> "FileId":
        """Take the file's key in the job store."""
        made = super().__new__(cls, key)
        made.size = size
        made.executable = executable
        made.digest = digest
        made.mark = mark
        made.origin = origin
        return made

    @property
    def name(self) -> str:
        """The name it was written under."""
        return keys.file_name(str(self))

    def __reduce__(self) -> Any:
        """Travel with all that is known of it."""
        more = (self.mark, self.origin) if self.origin else (self.mark,) if self.mark else ()
        return FileId, (str(self), self.size, self.executable, self.digest, *more)


def opened(storage: Storage, file: str) -> AbstractContextManager[BinaryIO]:
    """Read a global file from where it lies: the storage, or, of one that was not copied, its origin."""
    origin = getattr(file, "origin", "")
    return read_version(origin) if origin else storage.reader(str(file))


class HashingWriter(io.BufferedIOBase):
    """Hands on what is written and hashes it on the way. What is not written straight on is noticed: then there is no digest."""

    def __init__(self, stream: BinaryIO) -> None:
        """Write to a stream, which is left open or closed as the user of this leaves it."""
        self._stream = stream
        self._hash = FileDigest()
        self._straight = True

    @property
    def described(self) -> FileDigest | None:
        """The digest and the size of what was written; None where that can't be told."""
        return self._hash if self._straight else None

    def writable(self) -> bool:
        """Tell that this can be written."""
        return True

    def seekable(self) -> bool:
        """Tell whether one may go back and write something anew."""
        return self._stream.seekable()

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes."""
        written = self._stream.write(data)
        self._hash.update(memoryview(data))
        return written

    def tell(self) -> int:
        """Tell where the next byte goes."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go elsewhere."""
        self._straight = False
        return self._stream.seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file off."""
        self._straight = False
        return self._stream.truncate(size)

    def fileno(self) -> int:
        """Give the descriptor, for a program that writes to it."""
        self._straight = False
        return self._stream.fileno()

    def flush(self) -> None:
        """Hand on what is buffered."""
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        """End the file."""
        self._stream.close()
        super().close()


class _Checking(io.RawIOBase):
    """Hashes what is read on the way, and refuses to end where it is not what it should be."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream = cast("Readable", stream)
        self._file = file
        self._hash = FileDigest()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        count = self._stream.readinto(view) or 0
        self._hash.update(view[:count])
        if not count and len(view) and not self._ended:
            self._ended = True
            compare(self._file, self._hash)
        return count

    def finish(self) -> None:
        """Read what is left."""
        while not self._ended and self.readinto(bytearray(_BUFFER)):
            pass


@contextmanager
def checked(stream: BinaryIO, file: str, *, once: bool) -> Iterator[BinaryIO]:
    """Give a stream of a file's bytes, which are what was written: this host has seen so, or all are looked at.

    That is done before, where one can go back to the beginning, or on the way.

    Args:
        stream: the file's bytes.
        file: its id; one that went through a text has no digest, and nothing is checked.
        once: it is read from its beginning to its end, so that it is enough to look on the way.

    Raises:
        IntegrityError: they are not what was written; on the way, that is known at their end only, or at the end of the block.
    """
    if not getattr(file, "digest", b"") or is_unchanged(file, stream):
        yield stream
    elif stream.seekable() and not once:
        with _settled(stream) as still:
            check(file, still)
            still.seek(0)
            yield still
    else:
        raw = _Checking(stream, file)
        yield cast("BinaryIO", io.BufferedReader(raw, _BUFFER))
        if not raw.closed:
            raw.finish()


@contextmanager
def _settled(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give what nobody else can change after it was checked: a copy, where others own the file or can write to it."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # it is in memory
        yield stream
        return
    if found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o022:
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        for piece in chunks(stream):
            copy.write(piece)
        copy.seek(0)
        yield cast("BinaryIO", copy)


def is_unchanged(file: str, stream: BinaryIO) -> bool:
    """Tell whether an open file is as its writer left it, on this very host; if not, its digest tells."""
    mark = getattr(file, "mark", b"")
    return bool(mark) and mark == unchanged.mark(stream)


def check(file: str, stream: BinaryIO) -> None:
    """Read a stream to its end, and refuse it if it is not what was written as this file.

    Raises:
        IntegrityError: it is not.
    """
    compare(file, hand_on(cast("Readable", stream), getattr(file, "size", 0)))


def compare(file: str, found: FileDigest) -> None:
    """Refuse what is not what was written as this file; one without a digest may be anything.

    Raises:
        IntegrityError: it is not.
    """
    digest = getattr(file, "digest", b"")
    if digest and found.digest() != digest:
        raise IntegrityError(
            f"{file} in the job store is not what was written: it is damaged, or was changed by somebody who can write to the store; "
            f"put it back from a copy of the store, then --restart, or begin a new run"
        )
