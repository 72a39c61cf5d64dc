"""Files of this machine: written whole, synced, locked. Knows nothing of job stores."""

import errno
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from jobsys.errors import StorageError, UsageError

_FICLONE: Final = 0x40049409
_CAN_T_COPY: Final = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_AT_ONCE: Final = 1 << 30
_ODD: Final = (errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO)


KEY_SUFFIX: Final = ".jobsys-key"
"""How the name of a file ends that holds the key of a run: by it such files are never shipped."""


def working_directory() -> str:
    """Give the directory that this process stands in.

    Raises:
        UsageError: it has been deleted.
    """
    try:
        return os.getcwd()
    except OSError as error:
        raise UsageError("the working directory is not there any more: change to one that is (cd), and start again from there") from error


def occupy_standard_descriptors() -> None:
    """Open ``/dev/null`` as standard input, output or error where that is closed, so that no file or socket takes its number.

    What a program writes to its standard output would go there; and a child process is given its own in that very place.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make names made or removed in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview, *, sync: bool = True) -> None:
    """Replace a file in one step: a reader sees the old content or the new, never a part."""
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(target.parent)


@contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file, made where it is missing; freed by the kernel if this process dies.

    Raises:
        BlockingIOError: the lock is taken, and one should not wait for it.
    """
    descriptor = lock_file(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        os.close(descriptor)


def lock_file(path: str | os.PathLike[str], operation: int) -> int:
    """Open a file, made where it is missing, and ``flock`` it; closing the descriptor frees it.

    Who holds the exclusive lock may remove the file: whoever waited for it then locks the new one.

    Raises:
        BlockingIOError: the lock is taken, and the operation says not to wait.
        StorageError: what is there is no file that can be locked.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _ODD:
                raise
            raise StorageError(f"{path} can't be opened as a lock: {error.strerror}. Something else has made it: remove it") from error
        try:
            fcntl.flock(descriptor, operation)
            if is_file_of(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_file_of(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Tell whether a path still leads to the file that a descriptor has open."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def make_again(directory: Path) -> None:
    """Make a private directory again, and what is missing above it, that somebody has tidied away while it was in use.

    Raises:
        OSError: it can't be made, or another user has taken its place.
    """
    missing, place = [], directory
    while not place.exists():
        missing.append(place)
        place = place.parent
    for each in [*reversed(missing), None]:
        if place.stat().st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "it was removed, and another user has made it again", str(place))
        if each is not None:
            with suppress(FileExistsError):  # another worker was quicker
                each.mkdir(0o700)
            place = each


def pour(source: str, target: str) -> None:
    """Make a directory hold what another one holds, name by name; for one that can't be renamed. Of ``source``, only directories are left.

    Whoever uses ``target`` meanwhile finds each file of both whole, as it was or as it will be; what is in ``target`` only is removed.
    """
    names = os.listdir(source)
    for name in os.listdir(target):
        if name not in names:
            remove(f"{target}/{name}")
    for name in names:
        new, old = f"{source}/{name}", f"{target}/{name}"
        if _is_directory(new) and _is_directory(old):
            pour(new, old)
            continue
        if _is_directory(new) or _is_directory(old):
            remove(old)
        os.rename(new, old)


def remove(path: str) -> None:
    """Remove a directory with all that is in it, or a file or link unless somebody else has just done so."""
    if _is_directory(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def clone(source: int, target: int) -> bool:
    """Have an open, empty file share all blocks of another one until somebody writes; False where that can't be."""
    with suppress(OSError):
        fcntl.ioctl(target, _FICLONE, source)
        return True
    return False


def copy_rest(source: int, target: int) -> bool:
    """Copy from where one open file stands to where another one does, inside of the kernel; False, and nothing copied, where it can't.

    Raises:
        OSError: it failed on the way.
    """
    copied = 0
    while True:
        try:
            count = os.copy_file_range(source, target, _AT_ONCE)
        except OSError as error:
            if copied or error.errno not in _CAN_T_COPY:
                raise
            return False
        if not count:
            return True
        copied += count


def is_written_by_somebody(descriptor: int) -> bool:
    """Tell whether any process has a file open for writing or mapped so, or that can't be told; it must be open for reading only.

    A file system that can't tell is one of other hosts, too.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # whoever opens it in this moment sends one, and SIGIO would end us
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused as long as anybody writes
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    return False
