"""What a back end of storage must write: bytes by key, whole or absent. Knows nothing of jobs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Stat:
    """What a storage knows of one object: its size in bytes and when it was written (seconds since the epoch)."""

    size: int
    modified: float


class Storage(ABC):
    """Bytes by key under one root.

    A key is ``part/part/…``: parts of ``[A-Za-z0-9._~%=-]``, none of them ``.`` or ``..``. An object is visible whole or not
    at all, and once a call has returned it survives a kill of every process and, when ``durable``, a power cut.
    All methods raise StorageError (NotFoundError where there is nothing under the key), never OSError.
    """

    @abstractmethod
    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write an object whole; with ``if_absent`` only where none is. Return whether it was written."""

    @abstractmethod
    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object, or ``length`` bytes of it from ``start`` on (fewer where it ends before)."""

    @abstractmethod
    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read an object as a stream, in flat memory."""

    @abstractmethod
    def writer(self, key: str, *, executable: bool = False) -> AbstractContextManager[BinaryIO]:
        """Write an object as a stream, in flat memory; nothing is visible before a clean exit, nothing left after an error."""

    @abstractmethod
    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Go through the keys that begin with ``prefix`` (text, not a folder) and come after ``after``, sorted."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""

    @abstractmethod
    def stat(self, key: str) -> Stat:
        """Tell size and time of an object."""

    @abstractmethod
    def url(self, key: str) -> str:
        """Make a URL from which a worker can fetch the object (``file:///…`` percent-encoded, ``https://…``)."""

    def local_path(self, key: str) -> str | None:  # noqa: ARG002
        """Give the object's own path where it is a file of this machine, else None. Never write to it."""
        return None

    def destroy(self) -> None:
        """Delete everything under the root, and the root."""
        self.delete(list(self.list("")))
