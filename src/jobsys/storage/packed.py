"""Local storage in which the objects of one folder lie in packs: a small object takes one sync of a file that is there already.

It is for what is written one after the other by one process, and hardly ever deleted: the journal. All that a storage promises
holds all the same, whoever else writes.
"""

import heapq
import importlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import Stat, Storage, check_key, check_prefix, check_range
from jobsys.storage.local import LocalStorage, never
from jobsys.storage.openfiles import BUFFER, Descriptor, WritingFile
from jobsys.storage.packs import Pack, Packs, is_reserved, ranges
from jobsys.storage.records import Record

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class PackedStorage(Storage):
    """Objects as files under a directory, but for those of one folder (``journal/``)."""

    def __init__(self, root: str | Path, durable: bool = True, immutable: Callable[[str], bool] = never, *, packed: str) -> None:
        """Take a directory, which need not exist, and the folder in it; the rest is as for `LocalStorage`."""
        self._beside = LocalStorage(root, durable, immutable)
        self._immutable = immutable
        self._packed = packed
        self._packs = Packs(self._beside, packed.rstrip("/"))

    @property
    def root(self) -> str:
        """The directory."""
        return self._beside.root

    @property
    def durable(self) -> bool:
        """Whether every write is synced."""
        return self._beside.durable

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write a file, or append to a pack."""
        if not self._is_packed(key):
            return self._beside.put(key, data, if_absent=if_absent)
        self._check(key)
        if isinstance(data, memoryview):
            data = data.cast("B")
        try:
            made = self._packs.put(key, data, if_absent=if_absent)
        except OSError as error:
            self._beside.fail(error, "write", f"{self.root}/{key}")
        if made is not None:
            return made
        if if_absent and self._packs.find(key) is not None and self._find(key) is not None:
            return False
        return self._beside.put(key, data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read a file or part of a pack."""
        if not self._is_packed(key):
            return self._beside.get(key, start, length)
        self._check(key)
        check_range(start, length)
        if self._packs.loose:  # most lie beside: one look is enough
            with suppress(NotFoundError):
                return self._beside.get(key, start, length)
        with self._telling("read", key):
            found = self._find(key)
            if found is not None:
                return self._packs.read(*found, start, length)
        return self._beside.get(key, start, length)

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Open a file or part of a pack for reading."""
        found = None
        if self._is_packed(key):
            self._check(key)
            with self._telling("read", key):
                found = self._find(key)
        if found is None:
            with self._beside.reader(key) as stream:
                yield stream
            return
        with self._telling("read", key):
            record, file = self._packs.record(*found), self._packs.file(found[0])
        part = _Part(record.length, lambda start, length: self._piece(found[0], file, record, start, length))
        with io.BufferedReader(part, BUFFER) as stream:
            yield stream

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        """Write a file as a stream; what goes to a pack waits in a file without a name until its length is known."""
        if self._is_packed(key):
            self._check(key)
            return self._spooled(key)
        return self._beside.writer(key, executable=executable, later=later)

    @contextmanager
    def _spooled(self, key: str) -> Iterator[BinaryIO]:
        mmap, tempfile = map(importlib.import_module, ("mmap", "tempfile"))  # loaded on use: the journal is written otherwise
        with tempfile.TemporaryFile() as kept:
            with WritingFile(os.dup(kept.fileno()), f"{self.root}/{key}", sync=False).buffered() as stream:
                yield stream
            length = os.fstat(kept.fileno()).st_size
            if not length:
                self.put(key, b"")
                return
            with mmap.mmap(kept.fileno(), length, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
                self.put(key, view)

    def settle(self, keys: Iterable[str]) -> None:
        """Sync the directories of files; what is in packs is synced."""
        self._beside.settle(key for key in keys if not self._is_packed(key))

    @contextmanager
    def adopting(self, key: str, path: str, descriptor: int, *, executable: bool = False, later: list[str] | None = None) -> Iterator[bool]:
        """Take a file away, unless it were to go to a pack."""
        if self._is_packed(key):
            yield False
            return
        with self._beside.adopting(key, path, descriptor, executable=executable, later=later) as taken:
            yield taken

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Walk the directories and look into the packs that can hold such keys."""
        check_prefix(prefix)
        if not (self._is_packed(prefix) or self._packed.startswith(prefix)):
            yield from self._beside.list(prefix, after)
            return
        with self._telling("list", self._packed), self._packs.lock:
            self._packs.refresh()
            packed = self._packs.keys(after)
        last = ""
        for key in heapq.merge(self._beside.list(prefix, after), ranges(packed, prefix)):
            if key != last and not (self._is_packed(key) and is_reserved(key.removeprefix(self._packed))):
                yield key
            last = key

    def delete(self, keys: Iterable[str]) -> None:
        """Unlink files; packs go as soon as nothing else is in them, until then they say what is deleted."""
        wanted: set[str] = set()
        for key in keys:
            check_key(key)
            if self._is_packed(key):
                wanted.add(key)
            else:
                self._beside.delete([key])
        if not wanted:
            return
        for key in wanted:
            self._check(key)
        with self._telling("delete", self._packed), self._packs.lock:
            self._packs.refresh()
            there = {key for key in wanted if self._packs.find(key) is not None}
            if there and not self._packs.remove(there):
                for key in there:
                    if self._packs.put(key, b"", gone=True) is None:
                        raise StorageError(
                            f"can't delete {self.root}/{key}: it lies in a pack, and to those of another machine's disk nothing is "
                            "added; delete it on that machine"
                        )
        self._beside.delete(wanted)

    def stat(self, key: str) -> Stat:
        """Tell an object's size and time."""
        if not self._is_packed(key):
            return self._beside.stat(key)
        self._check(key)
        with self._telling("find", key):
            found = self._find(key)
            if found is not None:
                record = self._packs.record(*found)
                return Stat(record.length, record.time)
        return self._beside.stat(key)

    def url(self, key: str) -> str:
        """Make a ``file://`` URL, percent-encoded.

        Raises:
            StorageError: the object is a part of a file only.
        """
        if self._is_packed(key):
            check_key(key)
            raise StorageError(f"{key} in {self.root} lies in a pack with others, and has no URL of its own")
        return self._beside.url(key)

    def prove(self) -> None:
        """Find out whether the directory is mounted so that hosts see what others do."""
        self._beside.prove()

    def local_path(self, key: str) -> str | None:
        """Give a file's path; an object in a pack has none."""
        check_key(key)
        return None if self._is_packed(key) else self._beside.local_path(key)

    def sweep(self) -> int:
        """Delete temporary files of dead processes; return how many."""
        return self._beside.sweep()

    def destroy(self) -> None:
        """Delete everything under the root, and the root."""
        self._packs.forget()
        self._beside.destroy()

    def release(self) -> None:
        """Shut the pack that this process appends to."""
        with self._telling("write", self._packed):
            self._packs.shut()

    def close(self) -> None:
        """Close the files that are kept open; the storage can be used on."""
        self.release()
        self._beside.close()

    def _is_packed(self, key: str) -> bool:
        return key.startswith(self._packed)

    def _check(self, key: str) -> None:
        check_key(key)
        if is_reserved(key.removeprefix(self._packed)):
            raise StorageError(f"{key} can't be the key of an object: packs have such names")

    def _find(self, key: str) -> tuple[Pack, int] | None:
        """Find an object in the packs; None if it lies beside them, or is not there."""
        packs, immutable = self._packs, self._immutable(key)
        if immutable and not packs.loose and (found := packs.find(key)) is not None:
            return found
        if packs.is_loose() and self._is_beside(key):  # which is newer
            return None
        if immutable and (found := packs.search(key)) is not None:
            return found
        with packs.lock:
            packs.refresh()
            found = packs.find(key)
        return None if packs.loose and self._is_beside(key) else found

    def _piece(self, pack: Pack, file: Descriptor, record: Record, start: int, length: int) -> bytes:
        """Read some bytes of a record; none only at its end."""
        length = max(0, min(length, record.length - start))
        with self._telling("read", record.key):
            data = os.pread(file.number, length, record.begin + start)
        if length and not data:
            raise self._packs.damaged(pack, record.at)
        return data

    def _is_beside(self, key: str) -> bool:
        try:
            self._beside.stat(key)
        except NotFoundError:
            return False
        return True

    @contextmanager
    def _telling(self, doing: str, key: str) -> Iterator[None]:
        """Say in plain words what an error of the operating system means."""
        try:
            yield
        except OSError as error:
            self._beside.fail(error, doing, f"{self.root}/{key}")


class _Part(io.RawIOBase):
    """An object of known length as a stream; ``piece`` reads some bytes from a place on, none only at the end."""

    def __init__(self, length: int, piece: Callable[[int, int], bytes]) -> None:
        self._length = length
        self._piece = piece
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence])
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._piece(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
