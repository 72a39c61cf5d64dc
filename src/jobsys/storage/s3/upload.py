"""Large objects on their way into a bucket: parts of a size that fits the object, several at a time, nothing visible before the end."""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.bucket import Bucket, Part, Upload

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PART: Final = 8 << 20
"""Bytes of a part. All but the last have the same size, which some servers ask for, up to 31 GB."""
MOST: Final = 10_000
"""The most parts of an object."""
_LARGER: Final = ((4_000, 1), (8_000, 8), (MOST, 64))  # up to which part, how many times PART
_AT_ONCE: Final = 2
_AT_ONCE_LATER: Final = 4
_LATER: Final = 16  # parts, after which the object is large enough to be worth the memory


def part_size(number: int) -> int:
    """Give the size in bytes of a part, by its number from 1 on, of an object that nobody knows the size of."""
    return PART * next(factor for last, factor in _LARGER if number <= last)


def even_part_size(size: int) -> int:
    """Give the size in bytes of each part of an object of a known size."""
    least = -(-size // (MOST - 1))
    return max(PART, -(-least // (1 << 20)) << 20)


def complete(bucket: Bucket, upload: Upload, parts: Sequence[Part], size: int) -> None:
    """Make parts one object of so many bytes; may be called again after an answer was lost.

    Raises:
        NotFoundError: the upload is not known, and what is there is not what it would have made.
    """
    try:
        bucket.finish(upload, parts)
    except NotFoundError:
        found = bucket.head(upload.key)
        if found.size != size or not found.tag.strip('"').endswith(f"-{len(parts)}"):
            raise


class Parts:
    """An upload in parts that a few threads send; ends with ``finish`` or ``abort``."""

    def __init__(self, access: Access, key: str) -> None:
        """Begin it."""
        self._access = access
        self._bucket = access.bucket
        self._upload: Upload = access(lambda: self._bucket.begin(key))
        self._threads = ThreadPoolExecutor(_AT_ONCE_LATER, "jobsys-upload")
        self._sent: deque[Future[Part]] = deque()
        self._parts: list[Part] = []
        self._size = 0
        self._over = False

    def send(self, body: bytes | bytearray) -> None:
        """Send the next part; waits where too many are on their way.

        Raises:
            StorageError: one of those before could not be sent.
        """
        number = len(self._parts) + len(self._sent) + 1
        if number > MOST:
            raise StorageError(f"{self._bucket.place(self._upload.key)} has more than {MOST} parts, which is too large for S3")
        while len(self._sent) >= (_AT_ONCE if number <= _LATER else _AT_ONCE_LATER):
            self._collect()
        self._size += len(body)
        self._sent.append(self._threads.submit(self._access, partial(self._part, number, body)))

    def finish(self) -> None:
        """Make it visible.

        Raises:
            StorageError: it could not be.
        """
        while self._sent:
            self._collect()
        self._threads.shutdown()
        self._access(lambda: complete(self._bucket, self._upload, self._parts, self._size))

    def abort(self) -> None:
        """Forget it; what can't be deleted now is left to the clean-up of the run, or a rule of the bucket."""
        self._over = True
        self._threads.shutdown(cancel_futures=True)
        with suppress(StorageError):
            self._bucket.abort(self._upload)

    def _part(self, number: int, body: bytes | bytearray) -> Part:
        if self._over:  # nobody waits for it any more, nor shall it be tried again
            raise StorageError(f"the upload of {self._bucket.place(self._upload.key)} was given up")
        return self._bucket.part(self._upload, number, body)

    def _collect(self) -> None:
        self._parts.append(self._sent.popleft().result())


class ObjectWriter(io.BufferedIOBase):
    """Takes an object's bytes; sends them in parts once there are enough, else keeps them for one request at the end."""

    def __init__(self, access: Access, key: str) -> None:
        """Send nothing yet."""
        self._access = access
        self._key = key
        self._parts: Parts | None = None
        self._buffer = bytearray()
        self._count = 0
        self._wanted = part_size(1)
        self._number = 1

    def writable(self) -> bool:
        """Tell that this can be written."""
        return True

    def tell(self) -> int:
        """Tell how many bytes there are."""
        return self._count

    def write(self, data: "ReadableBuffer", /) -> int:
        """Take bytes."""
        view = memoryview(data).cast("B")
        if self.closed:
            raise ValueError("write to a closed stream")
        for piece in self._fitting(view):
            self._buffer += piece
            if len(self._buffer) == self._wanted:
                self._send()
        self._count += len(view)
        return len(view)

    def commit(self) -> None:
        """Make the object visible.

        Raises:
            StorageError: it could not be.
        """
        if self._parts is None:
            body = bytes(self._buffer)
            self._access(lambda: self._access.bucket.put(self._key, body))
            return
        if self._buffer:
            self._parts.send(self._buffer)
        self._parts.finish()

    def drop(self) -> None:
        """Forget all of it."""
        self._buffer = bytearray()
        if self._parts is not None:
            self._parts.abort()

    def _fitting(self, view: memoryview) -> Iterator[memoryview]:
        """Cut bytes so that none goes beyond the end of a part."""
        while view:
            room = self._wanted - len(self._buffer)
            yield view[:room]
            view = view[room:]

    def _send(self) -> None:
        if self._parts is None:
            self._parts = Parts(self._access, self._key)
        self._parts.send(self._buffer)
        self._buffer = bytearray()
        self._number += 1
        self._wanted = part_size(self._number)


@contextmanager
def writing(access: Access, key: str) -> Iterator[BinaryIO]:
    """Write an object as a stream; nothing is visible before a clean exit, nothing left after an error.

    Raises:
        StorageError: it could not be written.
    """
    writer = ObjectWriter(access, key)
    try:
        yield cast("BinaryIO", writer)
        writer.commit()
    except BaseException:
        writer.drop()
        raise


def upload(access: Access, key: str, data: memoryview) -> None:
    """Write a large object that is in memory.

    Raises:
        StorageError: it could not be written; nothing is visible, unless an answer was lost.
    """
    size = even_part_size(len(data))
    parts = Parts(access, key)
    try:
        for start in range(0, len(data), size):
            parts.send(bytes(data[start : start + size]))
        parts.finish()
    except BaseException:
        parts.abort()
        raise
