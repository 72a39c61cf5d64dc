"""Objects as a distant server keeps them: slow, in any order, with errors, lost answers, and writes that land when their writer is dead."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import Stat, Storage, check_key
from simulation.system.world import World  # type: ignore[import-not-found]

CREATED_ONCE = ("journal/", "lease/", "commits/")
NEVER_DELETED = ("journal/", "lease/")
UNDOABLE = 50  # deletions that a power cut may undo


class Disk:
    """What is stored, seen by nobody in particular."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.objects: dict[str, bytes] = {}
        self.created: Callable[[str], None] = lambda key: None  # told of each object that was not there before
        self.deleting: Callable[[str], None] = lambda key: None
        self.operations = 0
        self._deleted: deque[tuple[str, bytes]] = deque(maxlen=UNDOABLE)

    def put(self, key: str, data: bytes, if_absent: bool) -> bool:
        """Write an object whole."""
        if key in self.objects and if_absent:
            return False
        if key.startswith(CREATED_ONCE) and key in self.objects and self.objects[key] != data:
            self._world.violate(f"{key} is written a second time, as something else")
        new = key not in self.objects
        self.objects[key] = data
        if new:
            self.created(key)
        return True

    def storage(self) -> Storage:
        """Give a process its way to the disk."""
        return SimulatedStorage(self._world, self)

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        if key not in self.objects:
            return
        if key.startswith(NEVER_DELETED):
            self._world.violate(f"{key} is deleted")
        self.deleting(key)
        self._deleted.append((key, self.objects.pop(key)))

    def lose_power(self) -> None:
        """Bring back some of what was deleted last: a deletion alone is not synced."""
        for key, data in self._deleted:
            if key not in self.objects and self._world.random.random() < 0.5:
                self.objects[key] = data
        self._deleted.clear()


class SimulatedStorage(Storage):
    """The way of a process to the disk."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world, self._disk = world, disk

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        check_key(key)
        copy = bytes(data)
        made = self._call("put", key, lambda: self._disk.put(key, copy, if_absent), lands=True)
        if made and if_absent and self._world.strikes("repeated"):
            return False  # the client library did not hear the answer and asked again
        return bool(made)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        data: bytes = self._call("get", key, lambda: self._found(key))
        return data[start:] if length is None else data[start : start + length]

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.get(key))

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:
        stream = io.BytesIO()
        self._world.point(f"before writer {_kind(key)}")
        yield stream
        self.put(key, stream.getvalue())

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        def there() -> set[str]:
            return {key for key in self._disk.objects if key.startswith(prefix) and key > after}

        first = there()
        last: set[str] = self._call("list", prefix, there)
        keys = sorted(first | last)
        return iter([key for key in keys if (key in first and key in last) or self._world.random.random() < 0.5])

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._call("delete", key, partial(self._disk.delete, key), lands=True)

    def stat(self, key: str) -> Stat:
        return Stat(len(self._call("stat", key, lambda: self._found(key))), 0.0)

    def url(self, key: str) -> str:
        return f"simulated:{key}"

    def _found(self, key: str) -> bytes:
        if key not in self._disk.objects:
            raise NotFoundError(f"there is nothing under {key}")
        return self._disk.objects[key]

    def _call(self, operation: str, key: str, effect: Callable[[], Any], lands: bool = False) -> Any:
        """Let an operation happen some time between its call and its return, or not, with or without an answer."""
        world, process = self._world, self._world.me()
        self._disk.operations += 1
        where = f"{operation} {_kind(key)}"
        world.point(f"before {where}")
        process.in_flight = effect if lands else None
        process.pause(self._latency())
        process.in_flight = None
        if world.strikes("error"):
            process.troubled(0.0)
            raise StorageError(f"{where}: the server does not answer")
        result = effect()
        process.pause(self._latency())
        if lands and world.strikes("lost answer"):
            process.troubled(0.0)
            raise StorageError(f"{where}: the answer is lost")
        world.point(f"after {where}")
        return result

    def _latency(self) -> float:
        random = self._world.random
        if self._world.strikes("slow"):
            slow: float = random.uniform(1.0, 60.0)
            self._world.me().troubled(slow)
            return slow
        return random.choice((0.0001, 0.001, 0.001, 0.01)) * random.uniform(0.5, 2.0)


def _kind(key: str) -> str:
    return key.partition("/")[0]
