"""Objects as files of one machine: the real `LocalStorage` over real files, each system call of which gives way, fails or is the last.

A model of the disk keeps account of what is synced: at a power cut, whatever is not may vanish, in any order, or be torn.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.system import System  # type: ignore[import-not-found]
from jobsys.jobstores import keys
from jobsys.storage.folders import TEMPORARY
from jobsys.storage.local import LocalStorage
from simulation.disk import Disk, materialize  # type: ignore[import-not-found]
from simulation.system.storage import CREATED_ONCE, NEVER_DELETED  # type: ignore[import-not-found]
from simulation.system.world import Crash, World  # type: ignore[import-not-found]

STORE = "new/store"  # below the root of the disk: both are made by the run
HARMLESS = frozenset({"close", "isdir", "stat", "lstat", "fstat"})  # of which a failure means nothing, or nothing new


class Objects(Mapping[str, bytes]):
    """What lies in the store's directory, by key."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def __getitem__(self, key: str) -> bytes:
        try:
            return (self._root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        files = (path for path in self._root.rglob("*") if path.is_file())
        return (key for key in sorted(str(path.relative_to(self._root)) for path in files) if not key.startswith(TEMPORARY))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Files(System):  # type: ignore[misc]
    """The operating system of all processes of a world, and the disk below it."""

    def __init__(self, world: World, directory: Path) -> None:
        super().__init__()
        self.created: Callable[[str], None] = lambda key: None
        self.deleting: Callable[[str], None] = lambda key: None
        self.power_is_back: Callable[[], None] = lambda: None
        self._world = world
        self._directory = directory
        self._cuts = 0
        self._made: list[LocalStorage] = []
        self._begin(Disk())

    @property
    def operations(self) -> int:
        """How many system calls there were."""
        return int(self.calls.total())

    def storage(self) -> LocalStorage:
        """Give a process its way to the files."""
        made = LocalStorage(self.place, immutable=keys.immutable)
        self._made.append(made)
        return made

    def close_all(self) -> None:
        """Close what processes left open that were killed, or have ended."""
        for storage in self._made:
            storage.close()

    def lose_power(self) -> None:
        """Begin anew with what the disk holds."""
        random = self._world.random
        tree = self._disk.after_power_cut(random, random.random(), random.random())
        shutil.rmtree(self._root)
        self._begin(Disk(tree))
        materialize(tree, Path(self._root))
        self.power_is_back()

    def call(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call in the name of the process that runs, which may die before and behind it."""
        process = self._world.current
        if process is None:
            return real(*arguments)
        self.calls[name] += 1
        if name == "close":  # the end of a process closes its files, too
            return real(*arguments)
        self._world.point(f"before {name}")
        if self._world.random.random() < 0.1:
            process.pause(self._latency())
        if name not in HARMLESS and self._world.strikes("error"):
            process.troubled(0.0)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        made = real(*arguments)
        try:
            self._world.point(f"after {name}")
        except Crash:
            if name == "open":
                self.close(made)
            elif name == "scandir":
                made.close()
            raise
        return made

    def _latency(self) -> float:
        if self._world.strikes("slow"):
            slow: float = self._world.random.uniform(1.0, 60.0)
            self._world.me().troubled(slow)
            return slow
        return float(self._world.random.uniform(0.0, 0.01))

    def _begin(self, disk: Disk) -> None:
        self._cuts += 1
        root = self._directory / str(self._cuts)
        root.mkdir()
        self._disk, self._root = disk, f"{root}/"
        self.place = f"{root}/{STORE}"
        self.objects = Objects(self.place)

    def _key(self, path: Any) -> str:
        """Give the key of a path; nothing if it is none."""
        key = os.fspath(path).removeprefix(f"{self.place}/")
        return "" if key.startswith(("/", TEMPORARY)) else key

    def _two(self, name: str, source: str, target: str) -> None:
        def real() -> None:
            key = self._key(target)
            if name == "rename" and key.startswith(CREATED_ONCE) and key in self.objects:
                self._world.violate(f"{key} is written a second time")
            getattr(os, name)(source, target)
            self._change(lambda disk: getattr(disk, name)(self._below(source), self._below(target)), target)
            self.created(key)

        self.call(name, real)

    def _one(self, name: str, path: str) -> None:
        def real() -> None:
            key = self._key(path)
            if name == "unlink" and key in self.objects:
                if key.startswith(NEVER_DELETED):
                    self._world.violate(f"{key} is deleted")
                self.deleting(key)
            getattr(os, name)(path)
            self._change(lambda disk: getattr(disk, name)(self._below(path)), path)

        self.call(name, real)
