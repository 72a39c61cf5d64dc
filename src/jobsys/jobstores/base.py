"""The job store: what must survive, by meaning. Final: back ends differ only in the storage below it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, Final, final

import msgspec

from jobsys.errors import FormatError, JobStoreError, JobStoreExistsError, NoSuchJobStoreError, NotFoundError
from jobsys.jobstores import keys
from jobsys.jobstores.file import strangers
from jobsys.record import Blob
from jobsys.storage.base import Storage

FORMAT: Final = 1


class FileId(str):
    """Name a global file; ``size`` in bytes and ``name`` come along."""

    __slots__ = ("executable", "size")

    size: int
    executable: bool

    def __new__(cls, key: str, size: int, executable: bool = False) -> FileId:
        """Take the file's key in the job store."""
        made = super().__new__(cls, key)
        made.size = size
        made.executable = executable
        return made

    @property
    def name(self) -> str:
        """The name it was written under."""
        return keys.file_name(str(self))

    def __reduce__(self) -> Any:
        """Travel with the size."""
        return FileId, (str(self), self.size, self.executable)


class Lease(msgspec.Struct, frozen=True):
    """Who leads the run, since when; epochs are numbered from 1 without a gap."""

    epoch: int
    owner: str
    host: str
    pid: int
    process_started: float
    time: float


class StoreInfo(msgspec.Struct, frozen=True):
    """What a job store is: the first thing that is written and read."""

    format: int
    created: float
    jobsys: str
    config: dict[str, Any] = {}
    command: tuple[str, ...] = ()  # how to start the leader again
    directory: str = ""


@final
class JobStore:
    """Everything that a run must remember, over any storage."""

    def __init__(self, locator: str, storage: Storage) -> None:
        """Use what is in ``storage``; nothing is read or written yet."""
        self.locator = locator
        self.storage = storage
        self._serial = itertools.count()

    # -- the store itself ------------------------------------------------------------------------------------

    def create(self, info: StoreInfo) -> None:
        """Make the store.

        Raises:
            JobStoreExistsError: there is one already.
        """
        if not self.storage.put(keys.STORE, msgspec.json.encode(info), if_absent=True):
            raise JobStoreExistsError(
                f"there is a job store at {self.locator} already: resume its run with --restart, remove it with "
                f"'jobsys clean', or choose another locator"
            )

    def info(self) -> StoreInfo:
        """Read what the store is.

        Raises:
            NoSuchJobStoreError: there is none.
            FormatError: it is of another format.
        """
        try:
            data = self.storage.get(keys.STORE)
        except NotFoundError:
            raise NoSuchJobStoreError(f"there is no job store at {self.locator}") from None
        try:
            found = msgspec.json.decode(data, type=dict[str, Any])
            version = found.get("format")
        except msgspec.DecodeError as error:
            raise FormatError(f"{self.locator} holds no readable {keys.STORE}: {error}") from error
        if version != FORMAT:
            raise FormatError(f"the job store at {self.locator} has format {version}; this version of jobsys knows format {FORMAT} only")
        try:
            return msgspec.convert(found, StoreInfo)
        except msgspec.ValidationError as error:
            raise FormatError(f"{self.locator} holds no readable {keys.STORE}: {error}") from error

    def destroy(self) -> None:
        """Delete everything. The mark that makes it a job store goes last.

        Raises:
            NoSuchJobStoreError: it is none.
            FormatError: it is of another format.
            JobStoreError: files of somebody else's lie in its directory.
        """
        self.info()
        mark = self.storage.local_path(keys.STORE)
        if mark is not None:
            others = strangers(os.path.dirname(mark))
        else:
            others = [key for key in self.storage.list("") if key.partition("/")[0] not in keys.TOPS]
        if others:
            raise JobStoreError(f"{self.locator} holds what is no part of a job store, and nothing was deleted: move {others[0]} elsewhere")
        self.storage.delete(key for key in list(self.storage.list("")) if key != keys.STORE)
        self.storage.destroy()

    # -- who leads -------------------------------------------------------------------------------------------

    def last_lease(self) -> Lease | None:
        """Read who led last."""
        last = None
        for last in self.storage.list(keys.LEASES):  # noqa: B007
            pass
        return None if last is None else msgspec.json.decode(self.storage.get(last), type=Lease)

    def take_lease(self, lease: Lease) -> bool:
        """Become leader of an epoch, unless somebody else did."""
        data = msgspec.json.encode(lease)
        return self._create_once(keys.lease(lease.epoch), data)

    def beat(self, epoch: int, count: int, time: float, released: bool = False) -> None:
        """Say that the leader lives, or has left."""
        self.storage.put(keys.heartbeat(epoch), msgspec.json.encode({"count": count, "time": time, "released": released}))

    def last_beat(self, epoch: int) -> dict[str, Any]:
        """Read when the leader last said that it lives."""
        try:
            return msgspec.json.decode(self.storage.get(keys.heartbeat(epoch)), type=dict[str, Any])
        except NotFoundError:
            return {"count": 0, "time": 0.0, "released": False}

    # -- the journal -----------------------------------------------------------------------------------------

    def append(self, segment: int, data: bytes) -> bool:
        """Write the next segment; False if another leader wrote that one."""
        return self._create_once(keys.journal(segment), data)

    def segments(self, after: int = 0) -> Iterator[int]:
        """Go through the segments there are, in order."""
        return (keys.number(key) for key in self.storage.list(keys.JOURNAL, keys.journal(after)))

    def segment(self, number: int) -> bytes:
        """Read a segment."""
        return self.storage.get(keys.journal(number))

    def write_snapshot(self, segment: int, data: bytes) -> None:
        """Write the state after a segment, then forget older snapshots but one."""
        self.storage.put(keys.snapshot(segment), data)
        self.storage.delete(list(self.storage.list(keys.SNAPSHOTS))[:-2])

    def snapshots(self) -> list[int]:
        """List the snapshots, newest first."""
        return [keys.number(key) for key in self.storage.list(keys.SNAPSHOTS)][::-1]

    def snapshot(self, segment: int) -> bytes:
        """Read a snapshot."""
        return self.storage.get(keys.snapshot(segment))

    # -- values, logs, commits -------------------------------------------------------------------------------

    def read(self, blob: Blob) -> bytes:
        """Read the bytes at a place."""
        if blob.length == 0:
            return b""
        key = blob.where if isinstance(blob.where, str) else keys.journal(blob.where)
        return self.storage.get(key, blob.offset, blob.length)

    def write_value(self, job: int, token: str, data: bytes) -> Blob:
        """Keep a large value of an attempt."""
        key = keys.value(job, token, next(self._serial))
        self.storage.put(key, data)
        return Blob(key, 0, len(data))

    def write_log(self, job: int, token: str, data: bytes) -> Blob:
        """Keep a large log of an attempt."""
        key = keys.log(job, token)
        self.storage.put(key, data)
        return Blob(key, 0, len(data))

    def put_commit(self, job: int, data: bytes) -> bool:
        """Leave a commit for the next leader; False if the job has one."""
        return self._create_once(keys.commit(job), data)

    def commits(self) -> Iterator[tuple[str, bytes]]:
        """Go through the commits left by workers without a leader, with their keys."""
        for key in list(self.storage.list(keys.COMMITS)):
            yield key, self.storage.get(key)

    def delete(self, objects: Iterable[str]) -> None:
        """Delete objects by key."""
        self.storage.delete(objects)

    def delete_files_of(self, job: int, token: str) -> None:
        """Delete what an attempt that did not commit left behind."""
        self.storage.delete([*self.storage.list(keys.files(job, token)), *self.storage.list(keys.values(job, token))])

    def sweep(self) -> None:
        """Delete what processes that died on this machine had begun to write."""
        self.storage.sweep()

    # -- files -----------------------------------------------------------------------------------------------

    @contextmanager
    def write_file(self, job: int, token: str, name: str, *, executable: bool = False) -> Iterator[tuple[BinaryIO, FileId]]:
        """Write a global file as a stream; its id is complete when the block ends."""
        made = FileId(keys.file(job, token, next(self._serial), name), 0, executable)
        with self.storage.writer(str(made), executable=executable) as stream:
            yield stream, made
            closed = stream.closed  # by the user's code
            if not closed:
                stream.flush()
                made.size = stream.tell()
        if closed:
            made.size = self.storage.stat(str(made)).size

    def read_file(self, file: FileId | str) -> AbstractContextManager[BinaryIO]:
        """Read a global file as a stream."""
        return self.storage.reader(str(file))

    def write_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file with a known name, such as shipped code."""
        return self.storage.writer(keys.shared(name))

    def read_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Read a file with a known name as a stream."""
        return self.storage.reader(keys.shared(name))

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        try:
            self.storage.stat(keys.shared(name))
        except NotFoundError:
            return False
        return True

    def shared_file_url(self, name: str) -> str:
        """Give a URL from which a worker can fetch it."""
        return self.storage.url(keys.shared(name))

    def shared_file_key(self, name: str) -> str:
        """Give the key under which a storage has it."""
        return keys.shared(name)

    # -- small things, replaced ------------------------------------------------------------------------------

    def write_code(self, epoch: int, data: bytes) -> None:
        """Say which resources make up the code of an epoch."""
        self.storage.put(keys.code(epoch), data)

    def read_code(self, epoch: int) -> bytes:
        """Read which resources make up the code of an epoch."""
        return self.storage.get(keys.code(epoch))

    def code_key(self, epoch: int) -> str:
        """Give the key under which a storage has what ``write_code`` wrote."""
        return keys.code(epoch)

    def write_status(self, data: bytes) -> None:
        """Show others how the run is going."""
        self.storage.put(keys.STATUS, data)

    def read_status(self) -> bytes | None:
        """Read how the run is going."""
        return self._get_or_none(keys.STATUS)

    def is_finished(self) -> bool:
        """Tell whether a leader has shown that the run is finished: nothing it does not know by then counts any more."""
        status = self.read_status()
        return status is not None and msgspec.json.decode(status, type=dict[str, Any]).get("state") == "done"

    def ask_to_stop(self, data: bytes) -> None:
        """Ask the leader, wherever it is, to stop the run."""
        self.storage.put(keys.KILL, data)

    def asked_to_stop(self) -> bytes | None:
        """Read whether somebody asked the leader to stop."""
        return self._get_or_none(keys.KILL)

    def forget_request(self) -> None:
        """Begin without a request to stop."""
        self.storage.delete([keys.KILL])

    def _get_or_none(self, key: str) -> bytes | None:
        try:
            return self.storage.get(key)
        except NotFoundError:
            return None

    def _create_once(self, key: str, data: bytes) -> bool:
        """Create an object; what was refused because one's own write had succeeded unnoticed counts as created."""
        return self.storage.put(key, data, if_absent=True) or self.storage.get(key) == data
