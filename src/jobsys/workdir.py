"""Directories for the files of workers: made here, and removed here where whoever used them died without a chance to.

Each is locked by leader and worker host as long as one of them lives: the kernel frees the lock, whatever they die of. Workers, which
die with their host, let go of it, so that no process that a job has left can hold it.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from jobsys.late import Logger
from jobsys.processes import MARK
from jobsys.processes import sweep as end_processes

logger = Logger(__name__)

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class WorkDirectory:
    """A directory that is in use as long as a process has ``lock`` open: this one, or one that it is passed to."""

    def __init__(self, path: Path, lock: int) -> None:
        """Take a directory that is locked; see ``make``."""
        self.path = path
        self.lock = lock

    @classmethod
    def make(cls, parent: str | os.PathLike[str] | None = None) -> Self:
        """Make a directory below another one, or in the system's for temporary files; first remove those that the dead left there."""
        sweep(parent)
        while True:
            path = Path(tempfile.mkdtemp(prefix=_prefix(), dir=parent))
            with suppress(FileNotFoundError):  # a sweep took it for forgotten
                lock = os.open(path, _DIRECTORY)
                if _locked(lock, fcntl.LOCK_SH) is not False and _is_at(lock, path):
                    return cls(path, lock)
                os.close(lock)  # a sweep is just looking at it

    def remove(self) -> None:
        """Remove it with all that is in it. Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self.lock = self.lock, -1
        if lock >= 0:
            os.close(lock)


def sweep(parent: str | os.PathLike[str] | None = None) -> None:
    """Remove the directories that nobody uses any more, and end the processes of jobs that outlived those that used them."""
    for path in Path(tempfile.gettempdir() if parent is None else parent).glob(f"{_prefix()}*"):
        try:
            lock = os.open(path, _DIRECTORY)
        except OSError:  # it has just been removed, or is somebody else's, or no directory: not ours to remove
            continue
        try:
            ours = path.name in os.environ.get(MARK, "")
            if not ours and os.fstat(lock).st_uid == os.getuid() and _locked(lock, fcntl.LOCK_EX):
                logger.info("removing %s, whose users are dead", path, extra={"event": "work-directory-swept"})
                end_processes(path.name)
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _prefix() -> str:
    """Begin a name so that only this user on this host has it: on a shared file system, locks may not reach further."""
    return f"jobsys-{os.getuid()}-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}-"


def _locked(descriptor: int, kind: int) -> bool | None:
    """Lock a directory; tell whether that worked, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False
