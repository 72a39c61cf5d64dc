"""Open files of this machine, as storages hand them out: errors in plain words, synced when closed. Knows no keys."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from jobsys.storage.base import storage_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link is followed, and no pipe waited for
WRITE = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
BUFFER = 1 << 18
_TRUSTED_LENGTH = 1 << 20


class Descriptor:
    """A file open for `read_range`; closed when nobody refers to it any more, so that no thread reads from a number used anew."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        """Take over an open file."""
        self.number = number

    def __del__(self) -> None:
        """Close the file."""
        os.close(self.number)


def read_range(file: Descriptor, start: int, length: int | None) -> bytes:
    """Read a range, or what there is of it; the position that a forked process shares is not touched."""
    if length is None or length > _TRUSTED_LENGTH:
        rest = max(0, os.fstat(file.number).st_size - start)
        length = rest if length is None else min(length, rest)
    data = os.pread(file.number, length, start)
    if len(data) == length or not data:
        return data
    pieces = [data]
    while data and (length := length - len(data)):
        start += len(data)
        data = os.pread(file.number, length, start)
        pieces.append(data)
    return b"".join(pieces)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write bytes to the last, whatever the system takes at a time."""
    written = os.write(descriptor, data)
    if written == memoryview(data).nbytes:
        return
    rest = memoryview(data).cast("B")[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_again(file: Descriptor, start: int, end: int) -> None:
    """Write to a range what is in it, so that the next sync brings it to the disk, or fails, even if one has failed before."""
    while start < end and (data := os.pread(file.number, min(BUFFER, end - start), start)):
        start += os.pwrite(file.number, data, start)


def discard(path: str) -> bool:
    """Delete a temporary file, if there is one; False if it can't be deleted: that is left to a sweep."""
    try:
        if path:
            os.unlink(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


def is_same(path: str, found: os.stat_result) -> bool:
    """Tell whether a name leads to the file that was found before."""
    try:
        return os.path.samestat(os.stat(path), found)
    except (FileNotFoundError, NotADirectoryError):
        return False


class ReadingFile(io.FileIO):
    """A file being read; a failure is a StorageError that names its path."""

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        """Open it, or take over an open descriptor."""
        super().__init__(path if descriptor is None else descriptor, "r")
        self._path = path

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into a buffer."""
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise storage_error(error, "read", self._path) from error

    def readall(self) -> bytes:
        """Read to the end."""
        try:
            return super().readall() or b""
        except OSError as error:
            raise storage_error(error, "read", self._path) from error


class WritingFile(io.FileIO):
    """A file being written, synced when it is closed; a failure is a StorageError that names what it is going to be."""

    def __init__(self, descriptor: int, path: str, sync: bool) -> None:
        """Take over an open descriptor."""
        super().__init__(descriptor, "w")
        self._path = path
        self._sync = sync

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of the bytes."""
        try:
            return super().write(data) or 0
        except OSError as error:
            raise storage_error(error, "write", self._path) from error

    def close(self) -> None:
        """Sync and close, unless it is closed already."""
        if self.closed:
            return
        try:
            try:
                if self._sync:
                    os.fsync(self.fileno())
            finally:
                super().close()
        except OSError as error:
            raise storage_error(error, "write", self._path) from error

    def drop(self) -> None:
        """Close it without a sync: nobody wants it any more."""
        self._sync = False
        self.close()

    @contextmanager
    def buffered(self) -> Iterator[BinaryIO]:
        """Give a buffer before it; a clean exit writes that out and closes the file, an error drops both."""
        stream: BinaryIO = io.BufferedWriter(self, BUFFER)
        try:
            yield stream
        except BaseException:
            self.drop()  # which closes the buffer too, and what is still in it is forgotten
            raise
        stream.close()
