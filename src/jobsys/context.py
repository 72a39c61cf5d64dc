"""What a running job sees: a temporary directory, global files, the leader's log, clean-up for later."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, BinaryIO, Final

from jobsys import pickling
from jobsys.digest import chunks
from jobsys.errors import NotFoundError, PromiseError, UsageError
from jobsys.files import make_again
from jobsys.job import Job
from jobsys.jobstores import FileId, JobStore
from jobsys.jobstores.keys import is_file
from jobsys.late import Logger
from jobsys.message import Order
from jobsys.requirements import Requirements
from jobsys.storage.urls import local_file, read_url, url_name, write_url

logger = Logger(__name__)

_INFO: Final = 20  # logging's
_EXECUTABLE: Final = 0o111
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
        self._unsettled: list[str] = []
        self._pid = os.getpid()
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
            if not self._directory.exists():
                make_again(self._directory)
            self._temporary = Path(tempfile.mkdtemp(prefix=f"job-{self.job_id}-", dir=self._directory))
        return self._temporary

    def log(self, text: str, level: int = _INFO) -> None:
        """Say something on the leader's terminal, now."""
        self._say(level, str(text))

    # -- global files ----------------------------------------------------------------------------------------

    def write_file(self, path: str | os.PathLike[str], name: str | None = None, *, move: bool = False) -> FileId:
        """Keep a copy of a local file in the job store; any job that is given the id may read it.

        Args:
            path: where the file lies.
            name: what to call it, if not by its own name.
            move: the job is done with the file. It is gone from ``path``, and nothing is copied where it lies on the job store's own file
                system, has no other name, and no process has it open for writing. Only for what this very job has made: if it fails
                later on, the file is deleted with all that it wrote, and the next attempt does not find it.

        Raises:
            OSError: it can't be read.
            StorageError: it can't be written.
            UsageError: it is to be moved, and is a global file already.
        """
        source = Path(path)
        return self._store.keep_file(self.job_id, self._token, name or source.name, str(source), move=move, later=self._later())

    def write_stream(self, name: str = "file", *, executable: bool = False) -> AbstractContextManager[tuple[BinaryIO, FileId]]:
        """Write a global file as a stream: ``with context.write_stream("x") as (stream, file): …``."""
        return self._store.write_file(self.job_id, self._token, name, executable=executable, later=self._later())

    def _later(self) -> list[str] | None:
        """Give the list of files that need survive a power cut only from the attempt's end on; a forked process has no such end."""
        if os.getpid() == self._pid:
            return self._unsettled
        self._store.count_apart()
        return None

    def settle(self) -> None:
        """Have all files that were written survive a power cut: before anybody is told of one; used by the worker.

        Raises:
            StorageError: they may not.
        """
        unsettled, self._unsettled = self._unsettled, []
        self._store.settle(unsettled)

    def read_file(self, file: FileId, path: str | os.PathLike[str] | None = None, *, mutable: bool = False, symlink: bool = False) -> Path:
        """Make a global file readable under a local path.

        What is there is a copy (on file systems that can, one that shares the blocks until somebody writes), never a second name of the
        stored file: through a hard link one job, or a tool it calls as root, could change what all others read.

        Args:
            file: its id.
            path: where to put it; a name in the temporary directory by default. Must not exist.
            mutable: make the copy writable.
            symlink: give a link into the job store where that is a directory of this machine: nothing is copied, and nothing protects
                the stored file from whoever writes to the link as its owner or as root.

        Raises:
            NotFoundError: it was deleted.
            IntegrityError: it is not what was written.
            FileExistsError: there is something at ``path``.
        """
        _check_file(file)
        target = Path(path) if path is not None else Path(tempfile.mkdtemp(dir=self.temp_dir)) / _local_name(file)
        stored = self._store.storage.local_path(str(file))
        if stored is not None and symlink and not mutable and not getattr(file, "origin", ""):
            with self._stored(file):
                pass
            target.symlink_to(stored)
        else:
            self._copy(file, target, 0o222 if mutable else 0)
        return target

    def read_stream(self, file: FileId) -> AbstractContextManager[BinaryIO]:
        """Read a global file as a stream: ``with context.read_stream(file) as stream: …``."""
        _check_file(file)
        return self._stored(file)

    def delete_file(self, file: FileId) -> None:
        """Delete a global file, once this attempt commits: one that fails deletes nothing."""
        _check_file(file)
        self.deleted.append(str(file))

    def import_file(self, url: str | os.PathLike[str], name: str | None = None, *, reference: bool = False) -> FileId:
        """Copy what is at a URL or path into the job store; the original is never written to.

        From S3 to a job store in S3 the server copies it. Of what a server has copied, no digest is known that a reader could check.

        Args:
            url: where it is.
            name: what to call it, if not as it is called there.
            reference: copy nothing: who reads the file reads the original. Only of ``s3://``, where a reader can tell that it is still
                the same version; if it is not, that is an error. The original is not deleted with the file.

        Raises:
            NotFoundError: there is nothing there.
            StorageError: it can't be read, or not referred to.
        """
        place = os.fspath(url)
        called = name or url_name(place)
        if reference:
            return self._store.refer(self.job_id, self._token, called, place)
        copied = self._store.copy_in(self.job_id, self._token, called, place)
        if copied is not None:
            return copied
        local = local_file(place)
        executable = local is not None and os.access(local, os.X_OK)
        with read_url(place) as source, self.write_stream(called, executable=executable) as (target, made):
            for piece in chunks(source):
                target.write(piece)
        return made

    def export_file(self, file: FileId, url: str | os.PathLike[str]) -> None:
        """Copy a global file to a URL or path, whole or not at all where the scheme allows.

        Raises:
            NotFoundError: it was deleted.
        """
        _check_file(file)
        place = os.fspath(url)
        if not getattr(file, "origin", ""):
            with _told(file):
                copied = self._store.storage.copy_out(str(file), place)
            if copied:
                return
        with self._stored(file, once=True) as source, write_url(place) as target:
            for piece in chunks(source):
                target.write(piece)
        local = local_file(place)
        if local is not None and getattr(file, "executable", False) and local.is_file():
            local.chmod(local.stat().st_mode | _EXECUTABLE)

    @contextmanager
    def _stored(self, file: FileId, *, once: bool = False) -> Iterator[BinaryIO]:
        with ExitStack() as stack:
            with _told(file):
                source = stack.enter_context(self._store.read_file(file, once=once))
            yield source

    def _copy(self, file: FileId, target: Path, writable: int) -> None:
        mode = 0o444 | writable | (_EXECUTABLE if getattr(file, "executable", False) else 0)
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "w+b") as copy, _told(file):
                self._store.copy_file(file, copy)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    # -- clean-up --------------------------------------------------------------------------------------------

    def defer(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function`` when this attempt ends, in whichever way: value, exception, or death of its process.

        The last one deferred is called first. It may be called twice, so it must not mind; what it raises is only logged.

        Raises:
            PicklingError: it can't be kept for the case that this process dies.
        """
        data, promised = pickling.dump((function, args, kwargs), "the deferred call", ("its function", "args", "kwargs"))
        if promised:
            raise PromiseError(f"a deferred function can't wait for {promised[0]!r}: defer it in a job that is given the value")
        if not self._directory.exists():
            make_again(self._directory)
        with self._deferred().open("ab") as stream:
            stream.write(_LENGTH.pack(len(data)) + data)
        self._deferring = True

    def _deferred(self) -> Path:
        return self._directory / f"{DEFERRED}-{self.job_id}-{self.attempt}"

    def close(self) -> None:
        """Run deferred functions and remove the temporary directory; used by the worker."""
        if self._deferring:
            self._deferring = False
            _call_deferred(self._deferred())
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def enter(self) -> Token[Context | None]:
        """Be the current context until ``leave`` is called with what this returns; used by the worker."""
        return _current.set(self)

    def leave(self, token: Token[Context | None]) -> None:
        """Be the current context no longer, run deferred functions and remove the temporary directory; used by the worker."""
        try:
            self.close()
        finally:
            _current.reset(token)


def run_deferred(directory: Path) -> None:
    """Call what was deferred in a worker's directory by a job that has died, the last first, and forget it."""
    for path in sorted(directory.glob(f"{DEFERRED}-*")):
        _call_deferred(path)


def _call_deferred(path: Path) -> None:
    data, calls, offset = path.read_bytes(), [], 0
    while offset + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        calls.append(data[offset + _LENGTH.size : offset + _LENGTH.size + length])
        offset += _LENGTH.size + length
    for call in reversed(calls):
        try:
            function, args, kwargs = pickling.load(call, lambda _: None)
            function(*args, **kwargs)
        except (Exception, SystemExit):  # the user's code; the job's outcome does not depend on it
            logger.exception("a deferred function failed", extra={"event": "deferred-failed"})
    path.unlink()


def _check_file(file: FileId) -> None:
    if not is_file(file):
        raise UsageError(f"{file!r} is no id of a global file: give what write_file, write_stream or import_file returned")


@contextmanager
def _told(file: FileId) -> Iterator[None]:
    """Say of a file that is not there why that may be."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(_not_there(file)) from error


def _not_there(file: FileId) -> str:
    return (
        f"the global file {FileId(str(file), 0).name!r} is not in the job store: a job has deleted it, or it is of an attempt that failed, "
        f"or of another run ({file}). Delete a file after the last job that reads it (after=), and pass ids on as values of jobs"
    )


def _local_name(file: FileId) -> str:
    """Give a file's name as this machine can have it: one part of a path."""
    name = re.sub(r"[/\0]", "_", FileId(str(file), 0).name)
    return name if name.strip(".") else name.replace(".", "_")
