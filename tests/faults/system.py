"""Stands for the operating system under local storage: every call is counted, may fail, and is told to a model of the disk."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Final

import pytest

from jobsys import files
from jobsys.storage import folders, local, openfiles, packed, packs
from jobsys.storage.faulty import Crash
from simulation.disk import Disk, File  # type: ignore[import-not-found]

READ_ONLY: Final = {"stat", "lstat", "fstat", "isdir", "listdir", "scandir", "pread", "read"}
NO_ROOM: Final = {"open", "write", "pwritev", "pwrite", "fsync", "fdatasync", "link", "rename", "mkdir"}
"""Calls that a full disk refuses."""


class Plan:
    """What happens at the n-th call to which it can happen.

    The ways: ``EIO before``, ``ENOSPC before``, ``EIO after``, ``short`` (half of a write), ``no sync`` (EIO before a
    sync), and ``crash after`` what changes something.
    """

    def __init__(self, nth: int = 0, way: str = "") -> None:
        self.nth = nth
        self.way = way
        self.struck = ""
        self._seen = 0

    def meant(self, name: str) -> str:
        """Give the way in which a call fails; nothing if it does not."""
        possible = {
            "": False,
            "EIO before": name != "close",  # a file is closed, whatever that returns
            "ENOSPC before": name in NO_ROOM,
            "EIO after": name not in READ_ONLY | {"open"},
            "short": name in {"write", "pwritev", "pwrite"},
            "no sync": name in {"fsync", "fdatasync"},
            "crash after": name not in READ_ONLY,
        }
        self._seen += possible[self.way]
        if self.struck or self._seen != self.nth:
            return ""
        self.struck = name
        return self.way


class System:
    """In the place of the module ``os``; what is not about files is handed on to it.

    Nothing is really synced: power is cut in the model only.
    After a crash every further call crashes too, but ``close``: the end of a process closes its files.
    """

    def __init__(self, plan: Plan | None = None, disk: Disk | None = None, root: str = "", see: Callable[[], None] | None = None) -> None:
        """Fail as planned, and keep ``disk`` like what is below ``root``; ``see`` is called after each change of it."""
        self.plan = plan or Plan()
        self.calls: Counter[str] = Counter()
        self.path = _Path(self)
        self._disk = disk
        self._root = f"{root}/"
        self.see_changes = True  # else only where `look` is called
        self._see = see
        self._lock = threading.RLock()
        self._crashed = False
        self._writing: dict[int, File | None] = {}
        self._reading: dict[int, File] = {}
        self._folders: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @contextmanager
    def installed(self, *others: ModuleType) -> Iterator[System]:
        """Be the operating system of all that local storage consists of, and of other modules."""
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            for module in (local, folders, openfiles, packed, packs, files, *others):
                patch.setattr(module, "os", self)
            made = _file_class(self)
            for kind in (openfiles.ReadingFile, openfiles.WritingFile):
                stack.callback(setattr, kind, "__bases__", kind.__bases__)
                kind.__bases__ = (made,)
            yield self

    def look(self) -> None:
        """Have the disk looked at as it is now."""
        with self._lock:
            if self._see is not None and not self._crashed:
                self._see()

    def call(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call, or have it fail."""
        with self._lock:
            if self._crashed:
                raise Crash(f"{name} after the crash")
            self.calls[name] += 1
            way = self.plan.meant(name)
            if way == "no sync" or way.endswith(" before"):
                raise _error(way)
            if way == "short":
                return real(memoryview(arguments[0])[: max(1, len(arguments[0]) // 2)])
            made = real(*arguments)
            if way == "crash after":
                self._crashed = True
                _close(made) if name in {"open", "scandir"} else None
                raise Crash(f"after {name}")
            if way:
                raise _error(way)
            return made

    # -- calls, and what they do to the disk -------------------------------------------------------------------------

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        path = self._full(path, dir_fd)

        def real() -> int:
            descriptor = os.open(path, flags, mode)
            if flags & os.O_CREAT:
                self._writing[descriptor] = self._change(lambda disk: disk.create(self._below(path), mode), path)
            elif flags & os.O_DIRECTORY:
                self._folders[descriptor] = os.fspath(path)
            elif self._disk is not None and f"{os.fspath(path)}/".startswith(self._root):
                self._reading[descriptor] = self._disk.file(self._below(path))
            return descriptor

        return int(self.call("open", real))

    def write(self, descriptor: int, data: Any) -> int:
        return int(self.call("write", lambda data: self.written(descriptor, data, os.write(descriptor, data)), data))

    def written(self, descriptor: int, data: Any, count: int) -> int:
        """Note that the beginning of some bytes was written to the end of a file."""
        if (file := self._writing.get(descriptor)) is not None:
            self._change(lambda _: file.write(bytes(memoryview(data).cast("B")[:count])))
        return count

    def fsync(self, descriptor: int, *, name: str = "fsync") -> None:
        def real() -> None:
            if (file := self._writing.get(descriptor) or self._reading.get(descriptor)) is not None:
                self._change(lambda _: file.sync())
            elif (path := self._folders.get(descriptor)) is not None:
                self._change(lambda disk: disk.sync_directory(self._below(path)), path)

        self.call(name, real)

    def pwritev(self, descriptor: int, parts: Any, offset: int) -> int:
        return self.pwrite(descriptor, b"".join(parts), offset, name="pwritev")

    def pwrite(self, descriptor: int, data: Any, offset: int, *, name: str = "pwrite") -> int:
        def real(data: Any) -> int:
            count = os.pwrite(descriptor, data, offset)
            if (file := self._writing.get(descriptor)) is not None:
                self._change(lambda _: file.write(bytes(data[:count]), offset))
            return count

        return int(self.call(name, real, data))

    def ftruncate(self, descriptor: int, length: int) -> None:
        def real() -> None:
            os.ftruncate(descriptor, length)
            if (file := self._writing.get(descriptor)) is not None:
                self._change(lambda _: file.truncate(length))

        self.call("ftruncate", real)

    def fdatasync(self, descriptor: int) -> None:
        self.fsync(descriptor, name="fdatasync")

    def close(self, descriptor: int) -> None:
        self.closed(descriptor, lambda: os.close(descriptor))

    def closed(self, descriptor: int, real: Callable[[], None]) -> None:
        """Close a file; that of one which is only read fails never."""
        self._folders.pop(descriptor, None)
        self._reading.pop(descriptor, None)
        with self._lock:  # else another thread may crash behind the look at it, and the file stays open
            if descriptor in self._writing:
                del self._writing[descriptor]
                if not self._crashed:
                    self.call("close", real)
                    return
            real()

    def link(self, source: str, target: str) -> None:
        self._two("link", source, target)

    def rename(self, source: str, target: str) -> None:
        self._two("rename", source, target)

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        self._one("unlink", self._full(path, dir_fd))

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        self._one("rmdir", self._full(path, dir_fd))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        def real() -> None:
            os.mkdir(path, mode)
            self._change(lambda disk: disk.mkdir(self._below(path)), path)

        self.call("mkdir", real)

    def makedirs(self, path: str, mode: int = 0o777, exist_ok: bool = False) -> None:
        above = os.path.dirname(path)
        if not os.path.exists(above):
            self.makedirs(above, exist_ok=True)
        try:
            self.mkdir(path, mode)
        except FileExistsError:
            if not exist_ok:
                raise

    def stat(self, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if dir_fd is not None or not follow_symlinks:
            assert not follow_symlinks, "what a link leads to is not asked for by a directory"
            return self.lstat(path, dir_fd=dir_fd)
        return self.call("stat", os.stat, path)

    def lstat(self, path: Any, *, dir_fd: int | None = None) -> os.stat_result:
        return self.call("lstat", os.lstat, self._full(path, dir_fd))

    def fstat(self, descriptor: int) -> os.stat_result:
        return self.call("fstat", os.fstat, descriptor)

    def listdir(self, path: Any) -> list[str]:
        return self.call("listdir", os.listdir, path)

    def scandir(self, path: Any) -> Any:
        return self.call("scandir", os.scandir, path)

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        return self.call("pread", os.pread, descriptor, length, offset)

    def _full(self, path: Any, directory: int | None) -> Any:
        return path if directory is None else f"{self._folders[directory]}/{path}"

    def _one(self, name: str, path: str) -> None:
        def real() -> None:
            getattr(os, name)(path)
            self._change(lambda disk: getattr(disk, name)(self._below(path)), path)

        self.call(name, real)

    def _two(self, name: str, source: str, target: str) -> None:
        def real() -> None:
            getattr(os, name)(source, target)
            self._change(lambda disk: getattr(disk, name)(self._below(source), self._below(target)), target)

        self.call(name, real)

    def _below(self, path: Any) -> str:
        return f"{os.fspath(path)}/".removeprefix(self._root).rstrip("/")

    def _change(self, change: Callable[[Disk], Any], path: Any = None) -> Any:
        if self._disk is None or (path is not None and not f"{os.fspath(path)}/".startswith(self._root)):
            return None
        made = change(self._disk)
        if self._see is not None and self.see_changes:
            self._see()
        return made


class _Path:
    """In the place of ``os.path``."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path, name)

    def isdir(self, path: Any) -> bool:
        """Tell of an error what the real one tells: no."""
        try:
            return bool(self._system.call("isdir", os.path.isdir, path))
        except OSError:
            return False


def _file_class(system: System) -> type[io.FileIO]:
    class SystemFile(io.FileIO):
        """A file of which the calls are the system's."""

        def write(self, data: Any, /) -> int:
            return int(
                system.call("write", lambda data: system.written(self.fileno(), data, super(SystemFile, self).write(data) or 0), data)
            )

        def readinto(self, buffer: Any, /) -> int:
            return int(system.call("read", super().readinto, buffer))

        def readall(self) -> bytes:
            return bytes(system.call("read", super().readall))

        def close(self) -> None:
            if self.closed:
                return
            system.closed(self.fileno(), super().close)

    return SystemFile


def _close(made: Any) -> None:
    """Close what a process had just opened when it died."""
    if isinstance(made, int):
        os.close(made)
    else:
        made.close()


def _error(way: str) -> OSError:
    number = errno.ENOSPC if way.startswith("ENOSPC") else errno.EIO
    return OSError(number, f"{os.strerror(number)} (planned: {way})")
