"""What a back end of storage must write: bytes by key, whole or absent. Knows nothing of jobs."""

import errno
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, NamedTuple

import msgspec

from jobsys.errors import NotFoundError, StorageError

LONGEST_KEY = 900
_PART = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~%=-]{1,255}"
_KEY = re.compile(rf"(?!\.tmp(?:/|\Z)){_PART}(?:/{_PART})*")
_TEXT = re.compile(r"[A-Za-z0-9._~%=-]*")

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_IN_PLAIN_WORDS = {
    errno.EDQUOT: "your quota on this file system is used up; make room, then run again with --restart",
    errno.EROFS: "this file system is mounted read-only; have it mounted writable, or choose another place",
    errno.EACCES: "permission denied to user {user}; have the permissions changed, or choose another place",
    errno.EPERM: "this file system or its permissions forbid it to user {user} (it may have no hard links); choose another place",
    errno.EBUSY: "a process has a file of it open, or another file system is mounted in it; end what uses it, then try again",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "a part of this path is a file, not a directory; choose another place",
    errno.EMFILE: "this process has too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "this machine has too many open files; stop other programs or raise the limit (fs.file-max)",
    errno.EFBIG: "the file is larger than this process or file system allows (ulimit -f); raise the limit, then run again with --restart",
    errno.EIO: "the disk or file server failed to read or write; check it (dmesg), then run again with --restart",
    errno.ESTALE: "the file server no longer knows this file or directory; mount it anew, then run again with --restart",
    errno.ENOTCONN: "the file server is not connected; mount it anew, then run again with --restart",
    errno.ETIMEDOUT: "the file server does not answer; when it does again, run again with --restart",
}


class PassingError(StorageError):
    """Something was out of order or a connection broke; another try may succeed."""


class Stat(msgspec.Struct, frozen=True):
    """What a storage knows of one object: its size in bytes and when it was written (seconds since the epoch)."""

    size: int
    modified: float


class Stretch(NamedTuple):
    """A stretch of an object on its way: the size of the whole object, a name of its version, and the bytes, all of that version."""

    size: int
    tag: str
    pieces: Iterator[bytes]


class Storage(ABC):
    """Bytes by key under one root.

    A key is ``part/part/…``: parts of 1 to 255 of ``[A-Za-z0-9._~%=-]``, none of them ``.`` or ``..``, the first not ``.tmp``;
    `check_key` refuses every other. No key may be the folder of another one (``a`` beside ``a/b``): directories can't hold both.
    An object is visible whole or not at all, and once a call has returned it survives a kill of every process and, when
    ``durable``, a power cut. A call that raised may have happened or not. A deletion alone may be undone by a power cut.
    All methods raise StorageError (NotFoundError where there is nothing under the key), never OSError. They may be called from
    many threads, and from a process forked off at any moment.
    """

    @abstractmethod
    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write an object whole; with ``if_absent`` only where none is. Return whether it was written."""

    @abstractmethod
    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object, or ``length`` bytes of it from ``start`` on (fewer where it ends before)."""

    @abstractmethod
    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read an object as a stream, in flat memory."""

    @abstractmethod
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        """Write an object as a stream, in flat memory; nothing is visible before a clean exit, nothing left after an error.

        With ``later`` it need not be there after a power cut before `settle` is called for the keys in that list, to which it adds its
        own if that is so. What is there is whole even then.
        """

    def settle(self, keys: Iterable[str]) -> None:  # noqa: B027 - what is durable at once has nothing to do
        """Make objects survive a power cut that were written to survive it later."""

    @contextmanager
    def adopting(
        self,
        key: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        descriptor: int,  # noqa: ARG002
        *,
        executable: bool = False,  # noqa: ARG002
        later: list[str] | None = None,  # noqa: ARG002
    ) -> Iterator[bool]:
        """Make a file of this machine an object without a copy: it goes away from ``path``, and at a clean exit it is visible.

        Gives False, and nothing changes, where that can't be: its file system is another one, it is no plain file of this user's, has
        other names, or is open for writing anywhere. Inside of the block, its bytes change no more.

        Args:
            key: the object's.
            path: where the file lies.
            descriptor: the same file, open for reading only.
            executable: whether it is a program.
            later: as for `writer`.
        """
        yield False

    @abstractmethod
    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Go through the keys that begin with ``prefix`` (text, not a folder) and come after ``after``, sorted as text."""

    def tally(self) -> tuple[int, int]:
        """Count the objects and their bytes."""
        sizes = [self.stat(key).size for key in self.list("")]
        return len(sizes), sum(sizes)

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""

    @abstractmethod
    def stat(self, key: str) -> Stat:
        """Tell size and time of an object."""

    @abstractmethod
    def url(self, key: str) -> str:
        """Make a URL from which a worker can fetch the object (``file:///…`` percent-encoded, ``https://…``, ``s3://…``)."""

    def copy_in(self, url: str, key: str) -> int | None:  # noqa: ARG002
        """Have the server of this storage copy what is at a URL; give its size in bytes. None where it can't, and nothing changes."""
        return None

    def copy_out(self, key: str, url: str) -> bool:  # noqa: ARG002
        """Have the server of this storage copy an object to a URL. False where it can't, and nothing changes."""
        return False

    def signed(self, key: str) -> str | None:  # noqa: ARG002
        """Make a URL at which whoever has it can read the object, or a range of it, for some time and with no other header; else None.

        Nothing is asked for: the object need not be there. Who is told such a URL could do with it what it allows: it is never logged.
        """
        return None

    def stretch(self, key: str, start: int = 0, length: int | None = None) -> Stretch | None:  # noqa: ARG002
        """Begin to read an object in the middle; None where the streams of `reader` can be moved in, so that nothing more is needed.

        Less comes where the object ends before, and nothing where it ends before the stretch begins.
        """
        return None

    def wait_at_most(self, seconds: float) -> None:  # noqa: B027 - what does not try again waits for nothing
        """Give up on what is out of order after so many seconds: whoever asks here comes again by himself."""

    def prove(self) -> None:  # noqa: B027 - what is known to keep its promises has nothing to find out
        """Find out whether create-once holds here, before a run begins to rely on it.

        Raises:
            StorageError: it does not.
        """

    def local_path(self, key: str) -> str | None:  # noqa: ARG002
        """Give the object's own path where it is a file of this machine, else None. Never write to it: its mode is read-only."""
        return None

    def sweep(self) -> int:
        """Delete what processes that are dead had begun to write and nobody can see, where there is such; return how many."""
        return 0

    def destroy(self) -> None:
        """Delete everything under the root, and the root."""
        self.delete(list(self.list("")))

    def hurry(self) -> None:  # noqa: B027 - what is not asked again has nothing to shorten
        """Give up soon, from now on, on a server that is out of order: somebody waits for this process to end."""

    def release(self) -> None:  # noqa: B027 - what writes nothing step by step has nothing to do
        """Finish what this process alone still adds to; the storage can be used on."""


def check_key(key: str) -> None:
    """Refuse what is no key, so that none can lead out of the root."""
    if not _KEY.fullmatch(key) or len(key) > LONGEST_KEY:
        raise StorageError(
            f"{key[:200]!r} is no key: it must be parts of 1 to 255 characters A-Z a-z 0-9 . _ ~ % = - between single slashes, "
            f"none of them '.' or '..', the first not '.tmp', and at most {LONGEST_KEY} characters"
        )


def check_prefix(prefix: str) -> None:
    """Refuse what no key can begin with."""
    folder, slash, rest = prefix.rpartition("/")
    if slash:
        check_key(folder)
    if not _TEXT.fullmatch(rest):
        raise StorageError(f"{prefix[:200]!r} can't be the beginning of a key")


def check_range(start: int, length: int | None) -> None:
    """Refuse a range that begins before the object or has less than no bytes."""
    if start < 0 or (length is not None and length < 0):
        raise StorageError(f"no range of bytes starts at {start} with length {length}: both must be 0 or more")


def storage_error(error: OSError, doing: str, path: str) -> StorageError:
    """Say in plain words why the operating system refused, and the way out. Raise what this returns ``from`` the error."""
    known = _IN_PLAIN_WORDS.get(error.errno or 0)
    if error.errno == errno.ENOSPC:
        reason = f"the disk is full ({_free(path)}); make room, then run again with --restart"
    elif error.errno == errno.ENOENT:
        reason = "there is no such file or directory" + ("; choose another place" if doing == "write" else "")
    elif known:
        reason = known.format(user=os.geteuid())
    else:
        reason = error.strerror or str(error)
    kind = NotFoundError if error.errno in _ABSENT and doing != "write" else StorageError
    return kind(f"can't {doing} {path}: {reason}")


def _free(path: str) -> str:
    """Say how much is free where a path is, or would be."""
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        return f"{shutil.disk_usage(folder or '.').free / 2**20:.1f} MiB free in {folder}"
    except OSError as error:
        return f"how much is free can't be told: {error.strerror}"
