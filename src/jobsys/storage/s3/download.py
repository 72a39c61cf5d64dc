"""Objects on their way out of a bucket: one request for a small one, ranges side by side for a large one, all of one version."""

import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final

from jobsys.errors import StorageError
from jobsys.storage.base import Stretch
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.answers import RangeError, RefusedError
from jobsys.storage.s3.bucket import Piece

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST: Final = 4 << 20
"""Bytes that the first request asks for: most objects end before."""
BUFFER: Final = 1 << 18
"""Bytes that a stream takes from the pieces at a time."""
_PIECE: Final = 4 << 20
_LARGE_PIECE: Final = 8 << 20
_LARGE: Final = 256 << 20  # bytes of an object for which more memory pays
_AT_ONCE: Final = 2
_AT_ONCE_LARGE: Final = 8  # of a server that takes a tenth of a second to answer, 4 get two thirds


def pieces(access: Access, key: str, start: int = 0, length: int | None = None, tag: str = "") -> Iterator[bytes]:
    """Give the bytes of an object, or of a range of it, in order; a few requests are on their way at a time.

    Raises:
        NotFoundError: it is not there.
        StorageError: it was replaced meanwhile, or is not the version that has the tag.
    """
    yield from stretch(access, key, start, length, tag).pieces


def stretch(access: Access, key: str, start: int = 0, length: int | None = None, tag: str = "") -> Stretch:
    """Begin to read an object, or a range of it, and tell its size and version.

    Raises:
        NotFoundError: it is not there.
        StorageError: it is not the version that has the tag.
    """
    first = _first(access, key, start, FIRST if length is None else min(length, FIRST), tag)
    end = first.size if length is None else min(first.size, start + length)
    return Stretch(first.size, first.tag, _going_on(access, key, first, start, end))


def _going_on(access: Access, key: str, first: Piece, start: int, end: int) -> Iterator[bytes]:
    yield first.data
    at = start + len(first.data)
    if at < end:
        yield from _rest(access, key, first, at, end)


def _first(access: Access, key: str, start: int, length: int, tag: str) -> Piece:
    try:
        return access(lambda: access.bucket.get(key, start, length, tag))
    except RangeError:
        return Piece(b"", 0, "")
    except RefusedError as error:
        raise StorageError(f"{access.bucket.place(key)} is not what it was any more: somebody has replaced it") from error


def _rest(access: Access, key: str, first: Piece, at: int, end: int) -> Iterator[bytes]:
    size, most = (_LARGE_PIECE, _AT_ONCE_LARGE) if end - at >= _LARGE else (_PIECE, _AT_ONCE)
    asked: deque[Future[Piece]] = deque()
    with closing(_Threads(most)) as threads:
        for start in range(at, end, size):
            length = min(size, end - start)
            get = partial(access.bucket.get, key, start, length, first.tag)
            asked.append(threads.pool.submit(access, partial(threads.call, get)))
            if len(asked) >= most:
                yield _data(access, key, asked.popleft())
        while asked:
            yield _data(access, key, asked.popleft())


class _Threads:
    """A few threads that end without finishing what nobody waits for."""

    def __init__(self, most: int) -> None:
        self.pool = ThreadPoolExecutor(most, "jobsys-download")
        self._over = False

    def call(self, get: Callable[[], Piece]) -> Piece:
        if self._over:  # nobody waits for it any more, nor shall it be tried again
            raise StorageError("it is not read any further")
        return get()

    def close(self) -> None:
        self._over = True
        self.pool.shutdown(cancel_futures=True)


def _data(access: Access, key: str, asked: "Future[Piece]") -> bytes:
    try:
        return asked.result().data
    except (RefusedError, RangeError) as error:
        raise StorageError(f"{access.bucket.place(key)} was replaced while it was being read; read it again") from error


class ObjectReader(io.RawIOBase):
    """An object as a stream."""

    def __init__(self, access: Access, key: str, tag: str = "") -> None:
        """Ask for the beginning, of one version where a tag is given, and wait for it."""
        self._failed: StorageError | None = None
        self._pieces = pieces(access, key, tag=tag)
        self._piece = memoryview(next(self._pieces))

    def readable(self) -> bool:
        """Tell that this can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        if self._failed is not None:  # the end was not reached, however often one asks
            raise self._failed
        while not self._piece and view:
            try:
                piece = next(self._pieces, None)
            except StorageError as error:
                self._failed = error
                raise
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        """Ask for no more."""
        self._pieces.close()  # type: ignore[attr-defined]  # it is a generator
        super().close()
