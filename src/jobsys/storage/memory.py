"""Storage in the memory of this process: for tests and for runs that need not survive."""

import io
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, ClassVar
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

from jobsys.errors import NotFoundError
from jobsys.storage.base import Stat, Storage, check_key, check_prefix, check_range


class MemoryStorage(Storage):
    """Objects in a dictionary.

    Every change is one operation on the dictionary, which the interpreter makes atomic: there is no lock that a fork could copy
    while it is held. A forked process has its own copy from then on.
    """

    _named: ClassVar[dict[str, "MemoryStorage"]] = {}
    _living: ClassVar[WeakValueDictionary[str, "MemoryStorage"]] = WeakValueDictionary()

    def __init__(self) -> None:
        """Begin empty, under a name that nobody else has."""
        self.name = f"unnamed-{uuid.uuid4().hex}"
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._living[self.name] = self

    @classmethod
    def named(cls, name: str) -> "MemoryStorage":
        """Give the one storage of this process that has this name, made where it is missing."""
        made = cls()
        storage = cls._named.setdefault(name, made)
        if storage is made:
            storage.name = name
            cls._living[name] = storage
        return storage

    @classmethod
    def at(cls, url: str) -> tuple["MemoryStorage", str]:
        """Find storage and key of a URL that `url` made."""
        name, _, key = url.removeprefix("memory:").partition("/")
        storage = cls._living.get(unquote(name))
        if storage is None:
            raise NotFoundError(f"there is no storage in this process's memory behind {url}: it is gone, or of another process")
        return storage, key

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Keep a copy of the bytes."""
        check_key(key)
        entry = (bytes(data), time.time())
        if if_absent:
            return self._objects.setdefault(key, entry) is entry
        self._objects[key] = entry
        return True

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Give the bytes, or a range of them."""
        check_range(start, length)
        data, _ = self._entry(key)
        return data[start:] if length is None else data[start : start + length]

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Read over the bytes as they were when this was called."""
        with io.BytesIO(self.get(key)) as stream:
            yield stream

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:  # noqa: ARG002
        """Collect what is written and keep it at a clean exit."""
        check_key(key)
        stream = _Kept()
        yield stream
        self.put(key, stream.content())

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Sort the keys as they are now."""
        check_prefix(prefix)
        return iter(sorted(key for key in tuple(self._objects) if key > after and key.startswith(prefix)))

    def delete(self, keys: Iterable[str]) -> None:
        """Forget objects."""
        for key in keys:
            check_key(key)
            self._objects.pop(key, None)

    def stat(self, key: str) -> Stat:
        """Tell size and time of an object."""
        data, modified = self._entry(key)
        return Stat(len(data), modified)

    def url(self, key: str) -> str:
        """Make a URL that `jobsys.storage.urls` reads in this process: ``memory:name/key``."""
        check_key(key)
        return f"memory:{quote(self.name, safe='')}/{key}"

    def destroy(self) -> None:
        """Forget every object, and the name."""
        self._objects.clear()
        if self._named.get(self.name) is self:
            del self._named[self.name]

    def _entry(self, key: str) -> tuple[bytes, float]:
        check_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise NotFoundError(f"there is nothing under {key} in the memory storage {self.name}") from None


class _Kept(io.BytesIO):
    """A buffer whose content can still be read after a wrapper around it has closed it."""

    _content: bytes | None = None

    def close(self) -> None:
        if self._content is None:
            self._content = self.getvalue()
        super().close()

    def content(self) -> bytes:
        return self.getvalue() if self._content is None else self._content
