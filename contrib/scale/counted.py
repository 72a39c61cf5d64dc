"""A storage that counts what is asked of another one: requests and bytes, by operation and by the first part of the key."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from clock import SimulatedClock
from watch import Watch

from jobsys.storage.base import Stat, Storage

PAGE = 1000
"""Keys that a server lists or deletes at one request."""


class CountedStorage(Storage):
    """Passes everything on. A request may take its time, in simulated seconds; the leader waits for each."""

    def __init__(self, inner: Storage, watch: Watch, clock: SimulatedClock, latency: float = 0.0) -> None:
        self._inner, self._watch, self._clock, self._latency = inner, watch, clock, latency
        self.requests: Counter[tuple[str, str]] = Counter()
        self.written: Counter[str] = Counter()  # bytes, as is the next
        self.read: Counter[str] = Counter()

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        self._ask("put", key)
        self.written[_top(key)] += len(data)
        with self._watch.on("storage"):
            return self._inner.put(key, data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._ask("get", key)
        with self._watch.on("storage"):
            data = self._inner.get(key, start, length)
        self.read[_top(key)] += len(data)
        return data

    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        self._ask("get", key)
        return self._inner.reader(key)

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        self._ask("put", key)
        return self._inner.writer(key, executable=executable, later=later)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        self._ask("list", prefix)
        with self._watch.on("storage"):
            found = list(self._inner.list(prefix, after))
        for _ in range(PAGE, len(found), PAGE):
            self._ask("list", prefix)
        return iter(found)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        for start in range(0, len(doomed), PAGE):
            self._ask("delete", doomed[start])
        with self._watch.on("storage"):
            self._inner.delete(doomed)

    def stat(self, key: str) -> Stat:
        self._ask("stat", key)
        with self._watch.on("storage"):
            return self._inner.stat(key)

    def url(self, key: str) -> str:
        return self._inner.url(key)

    def local_path(self, key: str) -> str | None:
        return self._inner.local_path(key)

    def sweep(self) -> int:
        with self._watch.on("storage"):
            return self._inner.sweep()

    def destroy(self) -> None:
        self._inner.destroy()

    def by_operation(self) -> Counter[str]:
        """Give the requests by operation alone."""
        found: Counter[str] = Counter()
        for (operation, _), count in self.requests.items():
            found[operation] += count
        return found

    def _ask(self, operation: str, key: str) -> None:
        self.requests[operation, _top(key)] += 1
        self._clock.sleep(self._latency)


def _top(key: str) -> str:
    return key.partition("/")[0]
