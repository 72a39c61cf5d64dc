"""Hashes of content: MD5 where the specification names it, SHA-256 for integrity."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20


def chunks(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """Read a stream to its end in pieces."""
    while piece := stream.read(size):
        yield piece


def sha256(data: bytes | memoryview) -> str:
    """Hash bytes in memory, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def short(data: bytes | memoryview) -> bytes:
    """Give the first 16 bytes of the SHA-256: what a record says of bytes that lie elsewhere."""
    return hashlib.sha256(data).digest()[:16]


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
