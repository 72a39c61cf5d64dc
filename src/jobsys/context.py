"""What a running job sees: a temporary directory, global files, the leader's log, clean-up for later."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Final

from jobsys import pickling
from jobsys.digest import chunks
from jobsys.errors import UsageError
from jobsys.job import Job
from jobsys.jobstores import FileId, JobStore
from jobsys.message import Order
from jobsys.requirements import Requirements
from jobsys.storage.urls import read_url, url_name, write_url

logger = logging.getLogger(__name__)

_FICLONE: Final = 0x40049409
_LENGTH: Final = struct.Struct("<Q")
DEFERRED: Final = "deferred"

_current: ContextVar[Context | None] = ContextVar("current", default=None)


def current() -> Context:
    """Give the context of the job that runs here.

    Raises:
        UsageError: no job runs here.
    """
    context = _current.get()
    if context is None:
        raise UsageError("no job runs here: jobsys.current() is for code that a job calls")
    return context


class Context:
    """One running attempt of a job, as its code sees it."""

    def __init__(self, job: Job, order: Order, store: JobStore, directory: Path, say: Callable[[int, str], None]) -> None:
        """Serve ``job``; used by the worker."""
        self.job = job
        self.job_id = order.job
        self.name = order.name
        self.attempt = order.attempt
        self.requirements: Requirements = order.requirements
        self.deleted: list[str] = []
        self.wrote_files = False
        self._token = order.token
        self._store = store
        self._directory = directory
        self._say = say
        self._temporary: Path | None = None
        self._deferring = False

    @property
    def temp_dir(self) -> Path:
        """A directory of this attempt's own, removed when it ends."""
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix=f"job-{self.job_id}-", dir=self._directory))
        return self._temporary

    def log(self, text: str, level: int = logging.INFO) -> None:
        """Say something on the leader's terminal, now."""
        self._say(level, str(text))

    # -- global files ----------------------------------------------------------------------------------------

    def write_file(self, path: str | os.PathLike[str], name: str | None = None) -> FileId:
        """Keep a copy of a local file in the job store; any job that is given the id may read it.

        Raises:
            StorageError: it can't be written.
        """
        source = Path(path)
        executable = os.access(source, os.X_OK)
        with source.open("rb") as reading, self.write_stream(name or source.name, executable=executable) as (writing, made):
            shutil.copyfileobj(reading, writing, 1 << 20)
        return made

    def write_stream(self, name: str = "file", *, executable: bool = False) -> AbstractContextManager[tuple[BinaryIO, FileId]]:
        """Write a global file as a stream: ``with context.write_stream("x") as (stream, file): …``."""
        self.wrote_files = True
        return self._store.write_file(self.job_id, self._token, name, executable=executable)

    def read_file(
        self, file: FileId, path: str | os.PathLike[str] | None = None, *, mutable: bool = False, symlink: bool = False
    ) -> Path:
        """Make a global file readable under a local path.

        Args:
            file: its id.
            path: where to put it; a name in the temporary directory by default. Must not exist.
            mutable: give a copy of the job's own, which it may change.
            symlink: give a link into the job store where that is a directory of this machine; never write to it.

        Raises:
            NotFoundError: it was deleted.
            FileExistsError: there is something at ``path``.
        """
        target = Path(path) if path is not None else Path(tempfile.mkdtemp(dir=self.temp_dir)) / (FileId(str(file), 0).name or "file")
        stored = self._store.storage.local_path(str(file))
        if stored is not None and symlink and not mutable:
            self._store.storage.stat(str(file))
            target.symlink_to(stored)
        elif stored is None or mutable or not _link(stored, target):
            self._copy(file, target, stored if mutable else None)
        return target

    def read_stream(self, file: FileId) -> AbstractContextManager[BinaryIO]:
        """Read a global file as a stream: ``with context.read_stream(file) as stream: …``."""
        return self._store.read_file(file)

    def delete_file(self, file: FileId) -> None:
        """Delete a global file, once this attempt commits: one that fails deletes nothing."""
        self.deleted.append(str(file))

    def import_file(self, url: str, name: str | None = None) -> FileId:
        """Copy what is at a URL or path into the job store; the original is never written to.

        Raises:
            NotFoundError: there is nothing there.
        """
        with read_url(url) as source, self.write_stream(name or url_name(url)) as (target, made):
            for piece in chunks(source):
                target.write(piece)
        return made

    def export_file(self, file: FileId, url: str) -> None:
        """Copy a global file to a URL or path, whole or not at all where the scheme allows."""
        with write_url(url) as target:
            self._store.copy_file(file, target)

    def _copy(self, file: FileId, target: Path, clone_of: str | None) -> None:
        mode = 0o755 if getattr(file, "executable", False) else 0o644
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            if clone_of is None or not _clone(clone_of, stream):
                self._store.copy_file(file, stream)

    # -- clean-up --------------------------------------------------------------------------------------------

    def defer(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function`` when this attempt ends, in whichever way: value, exception, or death of its process.

        It may be called twice, so it must not mind; what it raises is only logged.
        """
        data, _ = pickling.dump((function, args, kwargs), "a deferred function")
        with (self._directory / DEFERRED).open("ab") as stream:
            stream.write(_LENGTH.pack(len(data)) + data)
        self._deferring = True

    def close(self) -> None:
        """Run deferred functions and remove the temporary directory; used by the worker."""
        if self._deferring:
            run_deferred(self._directory)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    @contextmanager
    def active(self) -> Iterator[Context]:
        """Be the current context; used by the worker."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


def run_deferred(directory: Path) -> None:
    """Call what was deferred in a worker's directory, the last first, and forget it."""
    path = directory / DEFERRED
    if not path.exists():
        return
    data, calls, offset = path.read_bytes(), [], 0
    while offset + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        calls.append(data[offset + _LENGTH.size : offset + _LENGTH.size + length])
        offset += _LENGTH.size + length
    for call in reversed(calls):
        try:
            function, args, kwargs = pickling.load(call, lambda _: None)
            function(*args, **kwargs)
        except Exception:  # the user's code; the job's outcome does not depend on it
            logger.exception("a deferred function failed", extra={"event": "deferred-failed"})
    path.unlink()


def _link(stored: str, target: Path) -> bool:
    try:
        os.link(stored, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _clone(stored: str, stream: BinaryIO) -> bool:
    with suppress(OSError), open(stored, "rb") as source:
        fcntl.ioctl(stream.fileno(), _FICLONE, source.fileno())
        return True
    return False
