"""Every back end on which a job store can stand: a new one is one line in ``BACK_ENDS``."""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobsys.storage import wire
from jobsys.storage.base import Storage
from jobsys.storage.local import LocalStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.server import ObjectServer

EVERY_POINT = bool(os.environ.get("JOBSYS_EVERY_POINT"))
"""Cover in every way what is else spread over the ways to fail."""


class Places:
    """Gives out locators of job stores that are not there yet."""

    def __init__(self, folder: Path, server: ObjectServer, in_bucket: Callable[[], str]) -> None:
        self.in_bucket = in_bucket
        self.around: Callable[[Storage], Storage] = lambda storage: storage  # what the server puts around its own storage
        self._folder = folder
        self._server = server
        self._numbers = itertools.count()

    def directory(self) -> str:
        return f"file:{self._folder}/{next(self._numbers)}/store"

    def memory(self) -> str:
        return f"memory:{self._folder.name}-{next(self._numbers)}"

    def served(self) -> str:
        """The server turns to a new directory: whoever was on the one before must be done."""
        self._server.storage = self.around(LocalStorage(self.directory().removeprefix("file:")))
        return self._server.url

    def bucket(self) -> str:
        return self.in_bucket()


@dataclass(frozen=True)
class BackEnd:
    """Where stores are made, and with which durability a run is asked to write there.

    Of a slow one some of the ways to fail take only every ``stride``-th point, and all of them together each point.
    """

    place: Callable[[Places], str]
    durability: str = "power-cut"
    stride: int = 1
    whole: tuple[tuple[str, str], ...] = ()  # ways that take each point all the same

    def takes(self, way: int, point: int, *, named: tuple[str, str] = ("", "")) -> bool:
        """Tell whether a point is covered in one of the numbered ways."""
        return EVERY_POINT or named in self.whole or point % self.stride == way % self.stride


BACK_ENDS = {
    "memory": BackEnd(Places.memory),
    "file": BackEnd(Places.directory),
    "file, not synced": BackEnd(Places.directory, durability="kill", stride=3),
    "served over HTTP": BackEnd(Places.served, stride=3, whole=(("error", "before"), ("error", "after"), ("crash", "after"))),
    "s3, in Ceph": BackEnd(Places.bucket, stride=12),
}


@contextmanager
def places(folder: Path, monkeypatch: pytest.MonkeyPatch, in_bucket: Callable[[], str] = lambda: "") -> Iterator[Places]:
    """Run what back ends need to make stores; ``in_bucket`` gives places on a server of S3, which runs only where it is asked."""
    monkeypatch.setenv(wire.TOKEN_VARIABLE, "the-token")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ObjectServer(MemoryStorage(), "the-token", "127.0.0.1:0") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Places(folder, server, in_bucket)
        finally:
            server.shutdown()
            thread.join()
