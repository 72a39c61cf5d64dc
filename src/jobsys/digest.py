"""Hashes of content: MD5 where the specification names it, SHA-256 for integrity, BLAKE3 where that takes too long."""

import hashlib
import importlib
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNK = 1 << 20
LARGE: Final = 1 << 20
"""A file of more bytes than that is told by its BLAKE3."""
_PIECE: Final = 1 << 20
_WRITE: Final = 1 << 18
"""Bytes written at a time: for more, the page cache looks for large pages, and where there are none that took ten times as long."""
_LEAST_ROOM: Final = 1 << 16


def chunks(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """Read a stream to its end in pieces."""
    while piece := stream.read(size):
        yield piece


def sha256(data: bytes | memoryview) -> str:
    """Hash bytes in memory, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def short(data: bytes | memoryview) -> bytes:
    """Give the first 16 bytes of the digest that a file of these bytes would have: what a record says of bytes that lie elsewhere."""
    large = len(data) > LARGE
    return (_blake3(data) if large else hashlib.sha256(data)).digest()[:16]


def _blake3(data: bytes | bytearray | memoryview) -> Any:
    return importlib.import_module("blake3").blake3(data)  # most processes see nothing large


class ContentDigest:
    """Both hashes of a stream, taken in one pass."""

    def __init__(self) -> None:
        """Begin with no bytes seen."""
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._md5.update(data)
        self._sha256.update(data)
        self.size += len(data)

    @property
    def md5(self) -> str:
        """Tell the MD5 so far, as 32 hexadecimal digits."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """Tell the SHA-256 so far, as 64 hexadecimal digits."""
        return self._sha256.hexdigest()


class FileDigest:
    """Tells whether a file is still what was written: by its SHA-256; if it has more than 1 MiB, by its BLAKE3, in a third of the time."""

    def __init__(self) -> None:
        """Begin with no bytes seen."""
        self._begin = bytearray()
        self._large: Any = None
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self.size += memoryview(data).nbytes
        if self._large is None and self.size <= LARGE:
            self._begin += data
            return
        if self._large is None:
            self._large = _blake3(self._begin)
            self._begin.clear()
        self._large.update(data)

    def digest(self) -> bytes:
        """Give the 32 bytes of the hash so far."""
        found: bytes = hashlib.sha256(self._begin).digest() if self._large is None else self._large.digest()
        return found


class Readable(Protocol):
    """A stream that reads into a buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer, or a part of it; 0 at the end."""


def nowhere(data: memoryview) -> None:
    """Hand a piece on to nobody."""


def hand_on(source: Readable, size: int, write: Callable[[memoryview], object] = nowhere) -> FileDigest:
    """Read a stream to its end and hand each piece on; a second thread hashes it meanwhile, where that is worth it.

    Args:
        source: what is read.
        size: about how many bytes there are.
        write: takes a piece, and is done with it when it returns.
    """
    digest = FileDigest()
    if size <= LARGE:
        buffer = memoryview(bytearray(max(size, _LEAST_ROOM)))
        while count := source.readinto(buffer):
            digest.update(buffer[:count])
            write(buffer[:count])
        return digest
    futures = importlib.import_module("concurrent.futures")  # loaded on use: most processes see nothing large
    with futures.ThreadPoolExecutor(1) as beside:
        hashed: Future[None] | None = None
        for buffer in cycle([memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))]):
            count = source.readinto(buffer)
            if hashed is not None:
                hashed.result()
            if not count:
                break
            hashed = beside.submit(digest.update, buffer[:count])
            for at in range(0, count, _WRITE):
                write(buffer[at : min(at + _WRITE, count)])
    return digest
