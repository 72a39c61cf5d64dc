"""A storage that fails on purpose: around any other, for tests of what stands above. Makes no faults of its own accord."""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from jobsys.errors import StorageError
from jobsys.storage.base import Stat, Storage

KILLED = 137


class Crash(BaseException):
    """The simulated end of the process: like SIGKILL, nothing may catch it but the test."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure: at the ``nth`` call (from 1) of an operation, before it happened or after (its answer is lost).

    ``operation`` is the name of a method, or ``any``. ``effect`` is a StorageError, a simulated `Crash`, or the real end of the process
    by ``os._exit``. With ``times`` more than 1, as many calls in a row fail.
    """

    operation: str
    nth: int
    when: Literal["before", "after"] = "before"
    effect: Literal["error", "crash", "exit"] = "error"
    times: int = 1

    def hits(self, operation: str, call: int) -> bool:
        """Tell whether this call of this operation is meant."""
        return self.operation == operation and self.nth <= call < self.nth + self.times


class FaultyStorage(Storage):
    """Another storage with a plan of failures, and a count of the calls by operation.

    After a `Crash` every further call crashes too: what a dead process still does in its ``finally`` must not count.
    """

    def __init__(self, inner: Storage, plan: Iterable[Fault] = ()) -> None:
        """Wrap a storage."""
        self.inner = inner
        self.plan = list(plan)
        self.calls: Counter[str] = Counter()
        self.crashed = False
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write an object, or fail."""
        with self._call("put", key):
            return self.inner.put(key, data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object, or fail."""
        with self._call("get", key):
            return self.inner.get(key, start, length)

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Read a stream, or fail when it is opened or closed."""
        with self._call("reader", key), self.inner.reader(key) as stream:
            yield stream

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:
        """Write a stream, or fail before it is opened or after the object is there."""
        with self._call("writer", key), self.inner.writer(key, executable=executable, later=later) as stream:
            yield stream

    def settle(self, keys: Iterable[str]) -> None:
        """Have objects survive a power cut, or fail."""
        keys = list(keys)
        with self._call("settle", " ".join(keys[:3])):
            self.inner.settle(keys)

    @contextmanager
    def adopting(self, key: str, path: str, descriptor: int, *, executable: bool = False, later: list[str] | None = None) -> Iterator[bool]:
        """Make a file an object, or fail before that or after it."""
        with self._call("adopting", key), self.inner.adopting(key, path, descriptor, executable=executable, later=later) as adopted:
            yield adopted

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Go through keys, or fail at the first or after the last."""
        with self._call("list", prefix):
            yield from self.inner.list(prefix, after)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, or fail."""
        keys = list(keys)
        with self._call("delete", " ".join(keys[:3])):
            self.inner.delete(keys)

    def stat(self, key: str) -> Stat:
        """Tell size and time, or fail."""
        with self._call("stat", key):
            return self.inner.stat(key)

    def copy_in(self, url: str, key: str) -> int | None:
        """Have the server of the storage within copy, or fail."""
        with self._call("copy_in", key):
            return self.inner.copy_in(url, key)

    def copy_out(self, key: str, url: str) -> bool:
        """Have the server of the storage within copy, or fail."""
        with self._call("copy_out", key):
            return self.inner.copy_out(key, url)

    def prove(self) -> None:
        """Try out the storage within, or fail."""
        with self._call("prove", ""):
            self.inner.prove()

    def signed(self, key: str) -> str | None:
        """Make the signed URL of the storage within."""
        return self.inner.signed(key)

    def url(self, key: str) -> str:
        """Make the URL of the storage within."""
        return self.inner.url(key)

    def local_path(self, key: str) -> str | None:
        """Give the path of the storage within."""
        return self.inner.local_path(key)

    def release(self) -> None:
        """Finish what is added to in the storage within, or fail."""
        with self._call("release", ""):
            self.inner.release()

    def destroy(self) -> None:
        """Destroy the storage within, or fail."""
        with self._call("destroy", ""):
            self.inner.destroy()

    @contextmanager
    def _call(self, operation: str, key: str) -> Iterator[None]:
        """Count a call and let its faults happen around it; a call that failed by itself needs no further fault."""
        if self.crashed:
            raise Crash(f"{operation} {key} after the crash")
        with self._lock:
            self.calls[operation] += 1
            counted = ((operation, self.calls[operation]), ("any", self.calls.total()))
        faults = [fault for fault in self.plan if any(fault.hits(name, call) for name, call in counted)]
        self._strike(faults, "before", operation, key)
        yield
        self._strike(faults, "after", operation, key)

    def _strike(self, faults: Iterable[Fault], when: str, operation: str, key: str) -> None:
        for fault in faults:
            if fault.when != when:
                continue
            if fault.effect == "exit":
                os._exit(KILLED)
            if fault.effect == "crash":
                self.crashed = True
                raise Crash(f"{when} {operation} {key}")
            raise StorageError(f"a planned failure {when} {operation} {key}")
