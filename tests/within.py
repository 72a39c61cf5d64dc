"""Storages that put every object into one folder of another one, and the views of several processes in turn."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from jobsys.storage.base import Stat, Storage, check_key, check_prefix


class Within(Storage):
    """A storage whose root is a folder of another one."""

    def __init__(self, inner: Storage, folder: str) -> None:
        self.inner = inner
        self.folder = folder

    def _key(self, key: str) -> str:
        check_key(key)
        return self.folder + key

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        return self.inner.put(self._key(key), data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        return self.inner.get(self._key(key), start, length)

    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        return self.inner.reader(self._key(key))

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        return self.inner.writer(self._key(key), executable=executable)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        check_prefix(prefix)
        for key in self.inner.list(self.folder + prefix, self.folder + after):
            yield key.removeprefix(self.folder)

    def delete(self, keys: Iterable[str]) -> None:
        self.inner.delete(self._key(key) for key in keys)

    def stat(self, key: str) -> Stat:
        return self.inner.stat(self._key(key))

    def url(self, key: str) -> str:
        return self.inner.url(self._key(key))

    def destroy(self) -> None:
        self.inner.destroy()


class Alternating(Storage):
    """Several storages over the same objects, of which each call takes the next one: what one has done, all others must see."""

    def __init__(self, make: Callable[[], Storage], count: int = 3) -> None:
        self._all = [make() for _ in range(count)]
        self._next = itertools.cycle(self._all).__next__

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        return self._next().put(key, data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        return self._next().get(key, start, length)

    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        return self._next().reader(key)

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        return self._next().writer(key, executable=executable, later=later)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        return self._next().list(prefix, after)

    def delete(self, keys: Iterable[str]) -> None:
        self._next().delete(keys)

    def stat(self, key: str) -> Stat:
        return self._next().stat(key)

    def url(self, key: str) -> str:
        return self._next().url(key)

    def destroy(self) -> None:
        for storage in self._all:
            storage.destroy()
