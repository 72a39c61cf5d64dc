"""A bucket of S3 below the real storage of buckets: requests that fail before or after they work, and that work when nobody waits."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jobsys.errors import NotFoundError
from jobsys.storage.base import Storage
from jobsys.storage.s3.answers import PassingError, RangeError, RefusedError
from jobsys.storage.s3.bucket import PAGE, Found, Page, Piece, Upload
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.persist import Persistence
from jobsys.storage.s3.storage import S3Storage
from simulation.system.storage import Disk  # type: ignore[import-not-found]
from simulation.system.world import LANDS, World  # type: ignore[import-not-found]


class Server(Disk):  # type: ignore[misc]
    """What is stored, reached through requests."""

    def storage(self) -> Storage:
        """Give a process its way to the server: the real one, but for what sends."""
        world = self._world
        patience = (30.0, 60.0)
        persistence = Persistence(lambda: world.now, lambda seconds: world.me().pause(seconds), world.random.random, patience)
        bucket: Any = SimulatedBucket(world, self)
        return S3Storage(bucket, persistence=persistence)


class _Client:
    """Has nothing that could be renewed."""

    def renew(self) -> None:
        """Look for no credentials."""


class SimulatedBucket:
    """The requests of one process."""

    name = "simulated"

    def __init__(self, world: World, server: Server) -> None:
        self.options, self.client = Options(), _Client()
        self._world, self._server = world, server

    def place(self, key: str) -> str:
        return f"s3://simulated/{key}"

    def put(self, key: str, body: bytes, *, if_absent: bool = False) -> None:
        copy = bytes(body)
        made = self._ask("put", key, lambda: self._server.put(key, copy, if_absent), lands=True)
        if not made:
            raise RefusedError(f"there is an object under {key}")

    def get(self, key: str, start: int = 0, length: int | None = None, tag: str = "") -> Piece:
        data: bytes = self._ask("get", key, lambda: self._found(key))
        if tag not in ("", _tag(data)):
            raise RefusedError(f"{key} is another version")
        if start >= len(data):
            raise RangeError(f"{key} ends before")
        piece = data[start:] if length is None else data[start : start + length]
        if self._world.strikes("truncated"):
            raise PassingError(f"of {key} {len(piece) // 2} bytes came")
        return Piece(piece, len(data), _tag(data))

    def head(self, key: str) -> Found:
        data = self._ask("head", key, lambda: self._found(key))
        return Found(len(data), 0.0, _tag(data))

    def page(self, prefix: str, after: str = "") -> Page:
        """List what there is at one moment: S3 is consistent."""
        keys: list[str] = self._ask(
            "list", prefix, lambda: sorted(key for key in self._server.objects if key.startswith(prefix) and key > after)
        )
        return Page(keys[:PAGE], 0, len(keys) > PAGE)

    def delete(self, keys: Sequence[str]) -> None:
        def effect() -> None:
            for key in keys:
                self._server.delete(key)

        self._ask("delete", keys[0] if keys else "", effect, lands=True)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        return iter(())

    def keeps_versions(self) -> bool:
        return False

    def _found(self, key: str) -> bytes:
        if key not in self._server.objects:
            raise NotFoundError(f"there is nothing under {key}")
        return self._server.objects[key]

    def _ask(self, operation: str, key: str, effect: Callable[[], Any], lands: bool = False) -> Any:
        """Send a request, which happens some time before its answer, or not at all, or also later, when the client has given up."""
        world, process = self._world, self._world.me()
        self._server.operations += 1
        where = f"{operation} {key.partition('/')[0]}"
        world.point(f"before {where}")
        process.in_flight = effect if lands else None
        process.pause(self._latency())
        process.in_flight = None
        if world.strikes("error"):
            process.troubled(60.0)
            raise PassingError(f"{where}: SlowDown")
        if lands and world.strikes("late"):
            process.troubled(60.0)
            world.later(world.random.uniform(0.0, LANDS), effect)
            raise PassingError(f"{where}: no answer in time")
        result = effect()
        process.pause(self._latency())
        if lands and world.strikes("lost answer"):
            process.troubled(60.0)
            raise PassingError(f"{where}: the answer is lost")
        world.point(f"after {where}")
        return result

    def _latency(self) -> float:
        random = self._world.random
        if self._world.strikes("slow"):
            slow: float = random.uniform(1.0, 60.0)
            self._world.me().troubled(slow)
            return slow
        return random.choice((0.01, 0.02, 0.05)) * random.uniform(0.5, 2.0)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
