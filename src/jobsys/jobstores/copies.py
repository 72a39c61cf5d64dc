"""Files of this machine into a storage and out of it, by the shortest way that there is: a name, shared blocks, one copy."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import BinaryIO, cast

from jobsys.digest import LARGE, FileDigest, Readable, hand_on
from jobsys.errors import UsageError
from jobsys.files import clone, copy_rest, is_written_by_somebody
from jobsys.jobstores import unchanged
from jobsys.jobstores.files import FileId, HashingWriter, check, compare, is_unchanged, opened
from jobsys.storage.base import Storage


def put_in(storage: Storage, file: FileId, path: str, *, move: bool, later: list[str] | None) -> None:
    """Make a file at a path a global file, and complete its id.

    Args:
        storage: where to.
        file: its id, which knows its key only.
        path: where it lies.
        move: nobody needs it there any more.
        later: as for `Storage.writer`.

    Raises:
        OSError: it can't be read.
        StorageError: it can't be written.
        UsageError: it is to be moved, and is an object of the storage already.
    """
    if move:
        _check_place(storage, file, path)
    with open(path, "rb", buffering=0) as source:
        found = os.fstat(source.fileno())
        file.executable = bool(found.st_mode & stat.S_IXUSR)
        adopting = storage.adopting(str(file), path, source.fileno(), executable=file.executable, later=later)
        with adopting if move else nullcontext(False) as adopted:
            if adopted:
                _describe(file, hand_on(source, found.st_size))
        if not adopted:
            _copy_in(storage, file, source, found.st_size, later)
        elif file.size > LARGE and os.fstat(source.fileno()).st_mtime_ns == found.st_mtime_ns:  # else it was written to meanwhile
            file.mark = unchanged.mark(cast("BinaryIO", source))
    if move and not adopted:
        os.unlink(path)


def _check_place(storage: Storage, file: FileId, path: str) -> None:
    stored, place = storage.local_path(str(file)), os.path.realpath(os.path.dirname(path))
    if stored is not None and f"{place}/".startswith(f"{os.path.realpath(stored.removesuffix(str(file)))}/"):
        raise UsageError(f"{path} lies in the job store, where others read it, and can't be moved: pass on the id of that global file")


def _copy_in(storage: Storage, file: FileId, source: io.FileIO, size: int, later: list[str] | None) -> None:
    with storage.writer(str(file), executable=file.executable, later=later) as target:
        born = unchanged.inode(target) if size > LARGE else None
        shared = size > LARGE and storage.local_path(str(file)) is not None and _clone(cast("BinaryIO", source), target)
        if shared:
            with open(os.dup(target.fileno()), "rb", buffering=0) as mine:  # by its name, it may be another one's by then
                _describe(file, hand_on(mine, size))
        else:
            _describe(file, hand_on(source, size, target.write))
    file.mark = _mark_of(storage, file, born)


def _describe(file: FileId, found: FileDigest) -> None:
    file.size, file.digest = found.size, found.digest()


@contextmanager
def stream_in(storage: Storage, file: FileId, *, later: list[str] | None) -> Iterator[tuple[BinaryIO, FileId]]:
    """Write a global file as a stream; its id, which comes along, is complete when the block ends."""
    born = None
    with storage.writer(str(file), executable=file.executable, later=later) as stream:
        hashing = HashingWriter(stream)
        yield cast("BinaryIO", hashing), file
        if not stream.closed:  # by the user's code
            stream.flush()
            born = unchanged.inode(stream) if stream.tell() > LARGE else None
    straight = hashing.described
    file.size = storage.stat(str(file)).size if straight is None else straight.size
    file.mark = _mark_of(storage, file, born)  # before it is hashed: who writes to it from now on makes the mark another one
    _describe(file, straight or _described(storage, file))


def _described(storage: Storage, file: FileId) -> FileDigest:
    with storage.reader(str(file)) as stream:
        return hand_on(cast("Readable", stream), file.size)


def _mark_of(storage: Storage, file: FileId, born: tuple[int, int, int] | None) -> bytes:
    """Mark a file that was just written: the inode that its bytes went to, and no other one that took its name since.

    None that a program still has open for writing, or mapped: what goes through a mapping need not change the time of the file.
    """
    if born is None or file.size <= LARGE:
        return b""
    with storage.reader(str(file)) as stream:
        same = unchanged.inode(stream) == born and not is_written_by_somebody(stream.fileno())
        return unchanged.mark(stream) if same else b""


def put_out(storage: Storage, file: FileId | str, target: BinaryIO) -> None:
    """Copy a global file into an empty file of this machine, open for reading and writing.

    Raises:
        NotFoundError: it is not there.
        IntegrityError: it is not what was written.
        OSError: the copy can't be written.
    """
    size = getattr(file, "size", 0)
    with opened(storage, file) as stream:
        known = is_unchanged(file, stream)
        if (size > LARGE and _clone(stream, target)) or (known and copy_rest(stream.fileno(), target.fileno())):
            if not (known and is_unchanged(file, stream)):  # nor was it written to while it was copied
                target.seek(0)
                check(file, target)
        else:
            compare(file, hand_on(cast("Readable", stream), size, target.write))


def _clone(source: BinaryIO, target: BinaryIO) -> bool:
    with suppress(io.UnsupportedOperation):  # one of them is no file
        return clone(source.fileno(), target.fileno())
    return False
