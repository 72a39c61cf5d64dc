"""The job store: what must survive, by meaning. Final: back ends differ only in the storage below it."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, final

import msgspec

from jobsys import runkey
from jobsys.digest import short
from jobsys.errors import (
    FormatError,
    IntegrityError,
    JobStoreError,
    JobStoreExistsError,
    NoSuchJobStoreError,
    NotFoundError,
    RunKeyError,
    StorageError,
)
from jobsys.jobstores import keys
from jobsys.jobstores.copies import put_in, put_out, stream_in
from jobsys.jobstores.file import openness, strangers, whats_there
from jobsys.jobstores.files import FileId, checked, opened
from jobsys.jobstores.notes import Notes
from jobsys.jobstores.shared import SharedFiles
from jobsys.record import Blob, printable
from jobsys.sealing import NO_SEAL, RunKey
from jobsys.storage.base import Storage
from jobsys.storage.urls import refer

if TYPE_CHECKING:
    from jobsys.jobstores.commons import Commons

FORMAT: Final = 3
_COUNTED: Final = 32  # bits of a number that are counted


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
    locator: str = ""  # where it was made
    run: str = ""  # its id
    key_host: str = ""  # where the run's key was made: for people; nothing is ever read from where this points
    key_path: str = ""


@final
class JobStore(SharedFiles, Notes):
    """Everything that a run must remember, over any storage."""

    def __init__(self, locator: str, storage: Storage, key_file: str | None = None, commons: Commons | None = None) -> None:
        """Use what is in ``storage``; nothing is read or written yet.

        Args:
            locator: how people call it.
            storage: where its objects lie.
            key_file: where the run's key lies, if not where keys are kept by themselves.
            commons: where resources lie that other runs have, too; without, they lie in ``storage``.
        """
        super().__init__(storage, commons)
        self.locator = locator
        self.key_file = key_file
        self._run: str | None = None  # its id, once it was read
        self._key: RunKey | None = runkey.IN_MEMORY if locator.startswith("memory:") else None
        self._serial = itertools.count()
        self._apart: dict[int, itertools.count[int]] = {}  # by process, if it was forked by a job

    # -- the store itself ------------------------------------------------------------------------------------

    def create(self, info: StoreInfo) -> None:
        """Make the store.

        Raises:
            JobStoreExistsError: there is one already.
        """
        key, path = self._key, ""
        if key is None:
            info, path = self._named(info)
            key = runkey.make(info.run, path)
        created = False
        try:
            created = self._create_once(keys.STORE, key.seal(keys.STORE, msgspec.json.encode(info)))
        finally:
            if not created and path and not self._may_be(info.run):
                runkey.forget(info.run, path)
        if not created:
            raise self.exists()
        self._key, self._run = key, info.run

    def _may_be(self, run: str) -> bool:
        """Tell whether a run's store may be here although an error came back: then its key is needed."""
        try:
            return self.info().run == run
        except (NoSuchJobStoreError, FormatError):
            return False
        except StorageError:
            return True

    def exists(self) -> JobStoreExistsError:
        """Say that there is a store already, and what can be done."""
        return JobStoreExistsError(
            f"there is a job store at {self.locator} already: resume its run with --restart, remove it with "
            f"'jobsys clean', or choose another locator"
        )

    def _named(self, info: StoreInfo) -> tuple[StoreInfo, str]:
        """Give a new run its id, by which its own store, made without an answer, is told from others; say where its key will lie."""
        run = runkey.new_run()
        path = runkey.place(run, self.key_file)
        where = {"locator": printable(self.locator), "key_host": socket.gethostname(), "key_path": printable(path)}
        return msgspec.structs.replace(info, run=run, **where), path

    @property
    def key(self) -> RunKey:
        """The run's key, which whoever leads the run must hold; read once.

        Raises:
            RunKeyError: it is not on this host, or can't be used.
        """
        if self._key is None:
            info = self.info()
            path = runkey.place(info.run, self.key_file)
            try:
                self._key = runkey.read(info.run, path)
            except FileNotFoundError:
                raise runkey.missing(self.locator, path, info.key_host, info.key_path) from None
        return self._key

    def sealed_info(self) -> StoreInfo:
        """Read what the store is, as the run's first leader wrote it.

        Raises:
            RunKeyError: the run's key is not on this host, or can't be used.
            IntegrityError: somebody else wrote it.
        """
        key, data = self.key, self._description()  # what was checked is what is believed: the next read may give something else
        if not key.bears_seal(keys.STORE, data):
            raise IntegrityError(f"{keys.STORE} in {self.locator} can't be trusted: {NO_SEAL}; put it back from a copy of the store")
        return self._info(data)

    def info(self) -> StoreInfo:
        """Read what the store is.

        Raises:
            NoSuchJobStoreError: there is none.
            FormatError: it is of another format.
        """
        return self._info(self._description())

    def _description(self) -> bytes:
        try:
            return self.storage.get(keys.STORE)
        except NotFoundError:
            mark = self.storage.local_path(keys.STORE)
            seen = "" if mark is None else f" ({whats_there(os.path.dirname(mark))})"
            way = "name the one that the run was started with, or start the script without --restart to begin a run"
            raise NoSuchJobStoreError(f"there is no job store at {self.locator}{seen}: {way}") from None

    def _info(self, data: bytes) -> StoreInfo:
        try:
            found = msgspec.json.decode(data, type=dict[str, Any])
            version = found.get("format")
        except msgspec.DecodeError as error:
            raise FormatError(self._unreadable(error)) from error
        if version != FORMAT:
            raise FormatError(
                f"the job store at {self.locator} has format {version}; this version of jobsys knows format {FORMAT} only: "
                f"go on with the version that began the run ({found.get('jobsys', 'not recorded')}), or begin anew in another job store"
            )
        try:
            info = msgspec.convert(found, StoreInfo)
        except msgspec.ValidationError as error:
            raise FormatError(self._unreadable(error)) from error
        self._run = info.run
        return info

    def _owner(self) -> tuple[str, str]:
        return self.info().run if self._run is None else self._run, printable(self.locator)

    def _unreadable(self, error: Exception) -> str:
        return f"{self.locator} holds no readable {keys.STORE} ({error}): restore that file, or begin the run anew in another job store"

    def openness(self) -> str:
        """Say who else can write to the store's directory; an empty text if nobody can, or that can't be seen from here."""
        mark = self.storage.local_path(keys.STORE)
        return "" if mark is None else openness(os.path.dirname(mark))

    def destroy(self) -> tuple[int, int]:
        """Delete everything, and what it alone refers to in the commons. The mark that makes it a job store goes last.

        Returns:
            How many resources of the commons went, and their bytes.

        Raises:
            NoSuchJobStoreError, FormatError: it is none, or of another format.
            JobStoreError: files of somebody else's lie in its directory.
        """
        info = self.info()
        owned = self._owns_key(info)
        mark = self.storage.local_path(keys.STORE)
        if mark is not None:
            others = strangers(os.path.dirname(mark))
        else:
            others = [key for key in self.storage.list("") if key.partition("/")[0] not in keys.TOPS]
        if others:
            raise JobStoreError(f"{self.locator} holds what is no part of a job store, and nothing was deleted: move {others[0]} elsewhere")
        freed = self.leave_commons()
        with suppress(IntegrityError):  # what lies in a damaged pack can't be named; it goes with the rest
            self.storage.delete(key for key in list(self.storage.list("")) if key != keys.STORE)
        self.storage.destroy()
        if owned:
            runkey.forget(info.run, runkey.place(info.run, self.key_file))
        return freed

    def _owns_key(self, info: StoreInfo) -> bool:
        """Tell whether the key found for this store is its own, to go with it: not where somebody put another store's description."""
        try:
            return bool(info.run) and self.sealed_info().locator == printable(self.locator)
        except (RunKeyError, IntegrityError):
            return False

    # -- who leads -------------------------------------------------------------------------------------------

    def last_lease(self) -> Lease | None:
        """Read who led last."""
        last = None
        for last in self.storage.list(keys.LEASES):  # noqa: B007
            pass
        try:
            return None if last is None else msgspec.json.decode(self.storage.get(last), type=Lease)
        except msgspec.DecodeError as error:
            raise IntegrityError(f"{last} in {self.locator} can't be read: {error}; delete it if no leader is at work") from error

    def take_lease(self, lease: Lease) -> bool:
        """Become leader of an epoch, unless somebody else did."""
        key = keys.lease(lease.epoch)
        return self._create_once(key, self.key.seal(key, msgspec.json.encode(lease)))

    def sealed_lease(self, epoch: int) -> Lease | None:
        """Read a lease that a leader of this run took; None where it is not, or the run's key, which tells, is not on this host."""
        key = keys.lease(epoch)
        try:
            data = self.storage.get(key)
            return msgspec.json.decode(data, type=Lease) if self.key.bears_seal(key, data) else None
        except (NotFoundError, RunKeyError):
            return None

    def replaced(self, epoch: int) -> bool:
        """Tell whether a later leader than that of an epoch has come."""
        return any(True for _ in self.storage.list(keys.LEASES, keys.lease(epoch)))

    def beat(self, epoch: int, count: int, time: float, released: bool = False) -> None:
        """Say that the leader lives, or has left."""
        self.storage.put(keys.heartbeat(epoch), msgspec.json.encode({"count": count, "time": time, "released": released}))

    def last_beat(self, epoch: int) -> dict[str, Any]:
        """Read when the leader last said that it lives."""
        beat = {"count": 0, "time": 0.0, "released": False}
        with suppress(NotFoundError, msgspec.DecodeError):  # what can't be read is no sign of life
            found = msgspec.json.decode(self.storage.get(keys.heartbeat(epoch)), type=dict[str, Any])
            beat |= {name: value for name, value in found.items() if name in beat and isinstance(value, (int, float))}
        return beat

    # -- the journal -----------------------------------------------------------------------------------------

    def append(self, segment: int, data: bytes) -> bool:
        """Write the next segment; False if another leader wrote that one."""
        return self._create_once(keys.journal(segment), data)

    def release(self) -> None:
        """Leave the journal to others: its end is written down."""
        self.storage.release()

    def segments(self, after: int = 0) -> Iterator[int]:
        """Go through the segments there are, in order."""
        return (keys.number(key) for key in self.storage.list(keys.JOURNAL, keys.journal(after)) if keys.is_numbered(key))

    def segment(self, number: int) -> bytes:
        """Read a segment."""
        return self.storage.get(keys.journal(number))

    def write_snapshot(self, segment: int, data: bytes) -> None:
        """Write the state after a segment, then forget older snapshots but one."""
        self.storage.put(keys.snapshot(segment), data)
        self.storage.delete(list(self.storage.list(keys.SNAPSHOTS))[:-2])

    def snapshots(self) -> list[int]:
        """List the snapshots, newest first."""
        return [keys.number(key) for key in self.storage.list(keys.SNAPSHOTS) if keys.is_numbered(key)][::-1]

    def snapshot(self, segment: int) -> bytes:
        """Read a snapshot."""
        return self.storage.get(keys.snapshot(segment))

    # -- values, logs, commits -------------------------------------------------------------------------------

    def read(self, blob: Blob) -> bytes:
        """Read the bytes at a place, which are what was written there.

        Raises:
            IntegrityError: they are not; the message names the object and the way out.
        """
        return self.checked(blob, self.peek(blob))

    def checked(self, blob: Blob, data: bytes) -> bytes:
        """Give the bytes that lie at a place, if they are what was written there.

        Raises:
            IntegrityError: they are not; the message names the object and the way out.
        """
        if blob.length and short(data) != blob.digest:
            raise IntegrityError(
                f"{self._key_of(blob)} in {self.locator} is not what was written there ({blob.length} bytes from byte {blob.offset}): "
                f"it is damaged, or was changed by somebody who can write to the store; put it back from a copy of the store, then "
                f"--restart, or begin a new run"
            )
        return data

    def peek(self, blob: Blob) -> bytes:
        """Read what is only looked at, such as a log: whatever lies there now."""
        return self.storage.get(self._key_of(blob), blob.offset, blob.length) if blob.length else b""

    def _key_of(self, blob: Blob) -> str:
        return blob.where if isinstance(blob.where, str) else keys.journal(blob.where)

    def write_value(self, job: int, token: str, data: bytes) -> Blob:
        """Keep a large value of an attempt."""
        key = keys.value(job, token, next(self._serial))
        self.storage.put(key, data)
        return Blob.of(data, key)

    @contextmanager
    def write_graph(self, job: int, token: str) -> Iterator[tuple[BinaryIO, str]]:
        """Write the jobs that an attempt made as a stream; give its key, too."""
        key = keys.graph(job, token)
        with self.storage.writer(key) as stream:
            yield stream, key

    def write_log(self, job: int, token: str, data: bytes) -> Blob:
        """Keep a large log of an attempt."""
        key = keys.log(job, token)
        self.storage.put(key, data)
        return Blob.of(data, key)

    def put_commit(self, job: int, token: str, data: bytes) -> None:
        """Leave the commit of an attempt for the next leader, which alone decides which of a job's commits counts."""
        self.storage.put(keys.commit(job, token), data)

    def commits(self) -> Iterator[tuple[str, bytes]]:
        """Go through the commits left by workers without a leader, with their keys."""
        for key in list(self.storage.list(keys.COMMITS)):
            data = self._get_or_none(key)
            if data is not None:  # else a leader that was replaced, and does not know it yet, has taken it in
                yield key, data

    def delete(self, objects: Iterable[str]) -> None:
        """Delete objects by key."""
        self.storage.delete(objects)

    def delete_files_of(self, job: int, token: str) -> None:
        """Delete what an attempt that did not commit left behind."""
        found = [*self.storage.list(keys.files(job, token)), *self.storage.list(keys.values(job, token))]
        self.storage.delete([*found, keys.graph(job, token)])

    def sweep(self) -> None:
        """Delete what processes that died on this machine had begun to write."""
        self.storage.sweep()

    # -- files -----------------------------------------------------------------------------------------------

    def write_file(
        self, job: int, token: str, name: str, *, executable: bool = False, later: list[str] | None = None
    ) -> AbstractContextManager[tuple[BinaryIO, FileId]]:
        """Write a global file as a stream; its id is complete when the block ends. With ``later``, `settle` makes it durable."""
        made = FileId(keys.file(job, token, self._number(), name), 0, executable)
        return stream_in(self.storage, made, later=later)

    def keep_file(self, job: int, token: str, name: str, path: str, *, move: bool = False, later: list[str] | None = None) -> FileId:
        """Make a file of this machine a global file: by a copy, or with ``move`` as it is. With ``later``, `settle` makes it durable.

        Raises:
            OSError: it can't be read.
            StorageError: it can't be written.
        """
        made = FileId(keys.file(job, token, self._number(), name), 0)
        put_in(self.storage, made, path, move=move, later=later)
        return made

    def copy_in(self, job: int, token: str, name: str, url: str) -> FileId | None:
        """Have the server of the store copy what is at a URL, which this machine does not read; None where that can't be."""
        made = FileId(keys.file(job, token, self._number(), name), 0)
        size = self.storage.copy_in(url, str(made))
        if size is None:
            return None
        made.size = size
        return made

    def refer(self, job: int, token: str, name: str, url: str) -> FileId:
        """Make what is at a URL a global file without a copy."""
        origin, size = refer(url)
        return FileId(keys.file(job, token, self._number(), name), size, origin=origin)

    def count_apart(self) -> None:
        """Number files otherwise than the process that this one was forked from: both write for the same attempt. Safe to call twice."""
        self._apart.setdefault(os.getpid(), itertools.count(os.getpid() << _COUNTED))

    def _number(self) -> int:
        return next(self._apart.get(os.getpid(), self._serial))

    def settle(self, files: list[str]) -> None:
        """Make files durable that were to be so later."""
        if files:
            self.storage.settle(files)

    def copy_file(self, file: FileId | str, target: BinaryIO) -> None:
        """Copy a global file into an empty file of this machine, open for reading and writing.

        Raises:
            NotFoundError: it is not there.
            IntegrityError: it is not what was written.
        """
        put_out(self.storage, file, target)

    @contextmanager
    def read_file(self, file: FileId | str, *, once: bool = False) -> Iterator[BinaryIO]:
        """Read a global file as a stream; with ``once`` from its beginning to its end.

        Raises:
            IntegrityError: it is not what was written. What is read once, or comes from another host, is known when all of it was read:
                what the block leaves is read at its end.
        """
        with opened(self.storage, file) as stream, checked(stream, file, once=once) as reading:
            yield reading

    def _create_once(self, key: str, data: bytes) -> bool:
        """Create an object; what was refused because one's own write had succeeded unnoticed counts as created."""
        return self.storage.put(key, data, if_absent=True) or self.storage.get(key) == data
