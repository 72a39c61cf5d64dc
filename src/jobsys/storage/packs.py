"""A folder of packs: files to which one process at a time appends objects. Who that is, and where each pack ends, is agreed on here.

``pack-NUMBER-TOKEN.open`` is a pack that grows, ``….shut`` one that does not. Whoever wants to append makes a new one, and shuts all
others by renaming them. What was appended counts if the pack was still open *after* it was written: then whoever shuts it finds it
there. What a process writes behind that, because it was asleep, is cut off by ``….end``, which is created once and says how many
bytes count.

That rests on one kernel's view of files and names: only a process of the machine that has the file system makes packs. Any other one
(over NFS, say) leaves the mark ``pack-loose`` and shuts all packs; from then on nobody makes one.
"""

import _thread  # what threading wraps: a worker host loads none of that (late.py)
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import Final

from jobsys.errors import IntegrityError, StorageError
from jobsys.files import sync_directory
from jobsys.mounts import is_own_disk
from jobsys.storage.folders import opened
from jobsys.storage.local import OPEN_FILES, LocalStorage
from jobsys.storage.openfiles import NEW, READ, WRITE, Descriptor, is_same, read_range, write_again
from jobsys.storage.records import GONE, Contents, Read, Record, follows, head, is_whole, parse, scan, search, whole

LOOSE: Final = "pack-loose"
DELETED: Final = "pack-gone"
"""The mark that some pack says of an object that it was deleted: who searches without reading everything would not see that."""
FILL: Final = 1 << 16
"""How many zeros are written ahead: to sync what replaces them, the file system need not write anything of its own."""
LARGE: Final = 1 << 27
"""Bytes after which another pack is begun."""
_PACK: Final = re.compile(r"(pack-([0-9]{8})-[0-9a-f]{8})\.(open|shut|end)")
AT_ONCE: Final = 32
"""How many names the system surely gives in one piece, in which none is missing that is being renamed."""
SEARCHES: Final = 16
"""How many objects a process finds without going through what was appended; one that reads more does that once."""
_ZEROS: Final = bytes(FILL)
_HEAD: Final = 4096


def is_reserved(name: str) -> bool:
    """Tell whether a name in the folder can only be that of a pack."""
    return name in {LOOSE, DELETED} or _PACK.fullmatch(name) is not None


class Pack:
    """What is known of a pack: what it holds up to a place, and whether that is all that counts."""

    def __init__(self, name: str) -> None:
        """Know nothing yet."""
        self.name = name
        self.contents = Contents()
        self.known = 0
        self.last = 0  # where the last record begins
        self.done = False

    def take(self, record: Record) -> None:
        """Take in the next record."""
        self.contents.add(record.key, GONE if record.gone else record.at)
        self.last, self.known = record.at, record.end


class _Growing:
    """The pack to which this process appends."""

    def __init__(self, pack: Pack, path: str) -> None:
        self.pack = pack
        self.file = Descriptor(os.open(path, NEW, 0o644))
        self.pid = os.getpid()
        self._path = path
        self._found = os.fstat(self.file.number)
        self._filled = 0

    def append(self, key: str, data: bytes | memoryview, *, gone: bool, sync: bool) -> int:
        """Write a record behind the others; return its end. It is not taken in yet."""
        at = self.pack.known
        record = head(key, data, at, time.time(), gone=gone)
        end = at + len(record) + len(data)
        parts = [record, data]
        if end > self._filled and end - at <= FILL:
            parts.append(_ZEROS)
        written = os.pwritev(self.file.number, parts, at)
        while written < end - at:
            rest = memoryview(b"".join((record, data)))[written:]
            written += os.pwrite(self.file.number, rest, at + written)
        self._filled = max(self._filled, at + written)
        if sync:
            os.fdatasync(self.file.number)
        return end

    def is_open(self) -> bool:
        """Tell whether nobody has shut it, or taken the whole folder away."""
        return is_same(self._path, self._found)


class Packs:
    """The packs in a folder of local storage. Its methods raise OSError, or StorageError where something is wrong with the packs."""

    def __init__(self, beside: LocalStorage, folder: str) -> None:
        """Take the storage and the folder in it, which need not exist."""
        self.loose = False  # whether somebody who can't make packs has written here
        self._beside = beside
        self._folder = folder
        self._path = f"{beside.root}/{folder}"
        self._packs: dict[str, Pack] = {}  # newest first
        self._growing: _Growing | None = None
        self._closed = False  # nobody makes packs any more, and all there are were taken in
        self._searched = 0
        self._files: dict[str, Descriptor] = {}
        self._locks: dict[int, _thread.RLock] = {}

    @property
    def lock(self) -> _thread.RLock:
        """What a thread holds while it changes anything; a forked process has its own."""
        return self._locks.setdefault(os.getpid(), _thread.RLock())

    # -- looking -----------------------------------------------------------------------------------------------------

    def find(self, key: str) -> tuple[Pack, int] | None:
        """Tell where the record of an object begins, as far as is known."""
        for pack in self._packs.values():
            at = pack.contents.find(key)
            if at is not None:
                return (pack, at) if at != GONE else None
        return None

    def is_loose(self) -> bool:
        """Tell whether somebody who can't make packs has written here."""
        self.loose = self.loose or os.path.lexists(f"{self._path}/{LOOSE}")
        return self.loose

    def search(self, key: str) -> tuple[Pack, int] | None:
        """Tell where the record of an object begins that is never replaced, without going through all that others have appended.

        It is for those who read little and live short. None says nothing.
        """
        if self._searched == SEARCHES:
            return None
        self._searched += 1
        names = self._names()
        found = {match[1] for name in names if (match := _PACK.fullmatch(name)) and match[3] != "end"}
        for name in () if LOOSE in names or DELETED in names else sorted(found, reverse=True):
            pack = self._packs.get(name) or Pack(name)
            at = None if pack.done else self._search(pack, key)
            if at is not None:
                return pack, at
        return None

    def _search(self, pack: Pack, key: str) -> int | None:
        end = self._agreed(pack)
        try:
            file, is_open = self._opened(pack)
        except FileNotFoundError:
            return None
        read = partial(os.pread, file.number)
        record = search(read, os.fstat(file.number).st_size if end is None else end, key)
        if record is None or record.gone or not is_whole(read, record):
            return None
        counts = record.end <= end if end is not None else is_open and self._beside.leads_to(f"{self._path}/{pack.name}.open", file)
        return record.at if counts else None

    def keys(self, after: str = "") -> set[str]:
        """Give the keys of objects behind a key, as far as is known."""
        found: dict[str, bool] = {}
        for pack in self._packs.values():
            for key in pack.contents.keys(after):
                if key not in found:  # what a later pack says of it counts
                    found[key] = pack.contents.find(key) != GONE
        return {key for key, there in found.items() if there}

    def record(self, pack: Pack, at: int) -> Record:
        """Read the head of a record."""
        return self._record(pack, at)[0]

    def read(self, pack: Pack, at: int, start: int, length: int | None) -> bytes:
        """Read a range of an object."""
        record, beginning = self._record(pack, at)
        rest = max(0, record.length - start)
        length = rest if length is None else min(length, rest)
        first = record.begin - at + start
        data = beginning[first : first + length]
        if len(data) < length:
            data = read_range(self.file(pack), record.begin + start, length)
        if len(data) < length:
            raise self.damaged(pack, at)
        return data

    def file(self, pack: Pack) -> Descriptor:
        """Give the open file of a pack; one that falls out closes when its last reader in any thread is done."""
        file = self._files.pop(pack.name, None)
        return self._keep(pack.name, self._opened(pack)[0] if file is None else file)

    def _keep(self, name: str, file: Descriptor) -> Descriptor:
        self._files[name] = file
        for _ in range(len(self._files) - OPEN_FILES):
            with suppress(RuntimeError, StopIteration):  # another thread was faster
                self._files.pop(next(iter(self._files)), None)
        return file

    def refresh(self, *, agreed: bool = False) -> None:
        """Take in what others have done since; ``agreed`` if it must be certain where the packs end that were shut."""
        growing = self._mine()
        if growing is not None and growing.is_open():
            return
        names = self._names()
        self.loose = LOOSE in names
        found = {match[1] for name in names if (match := _PACK.fullmatch(name)) and match[3] != "end"}
        known = {name: self._packs.get(name) or Pack(name) for name in sorted(found, reverse=True)}
        for name, pack in list(known.items()):
            if not pack.done and not self._catch_up(pack, agreed):
                del known[name]
        self._packs = known

    # -- changing ----------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False, gone: bool = False) -> bool | None:
        """Append an object, or that one is ``gone``; return whether that was done, None if no pack can be made here."""
        with self.lock:
            if self._closed:
                return None
            if self._mine() is None:
                self.refresh()
                if if_absent and self._is_settled(key):
                    return False
            while (growing := self._mine() or self._begin()) is not None:
                if if_absent and self.find(key) is not None:
                    if growing.is_open():
                        return False
                    self._growing = None  # what is known may have been deleted since
                    continue
                if gone:
                    self._beside.put(f"{self._folder}/{DELETED}", b"", if_absent=True)
                if self._append(growing, key, data, gone):
                    if growing.pack.known > LARGE:
                        self._shut_own(growing)
                    return True
            return None

    def shut(self) -> None:
        """Append no more to the pack that this process has made."""
        with self.lock:
            growing = self._mine()
            if growing is not None:
                self._shut_own(growing)

    def remove(self, keys: set[str]) -> bool:
        """Remove all packs if they hold nothing but objects of such keys; return whether they do. What is gone first is the oldest."""
        with self.lock:
            with suppress(OSError, StorageError):
                self.shut()
            self._shut_others("")
            self.refresh()  # where they end need not be written down, for which a full disk has no room
            if not self.keys() <= keys:
                return False
            for name in reversed(self._packs):
                for suffix in ("shut", "end"):
                    with suppress(FileNotFoundError):
                        os.unlink(f"{self._path}/{name}.{suffix}")
            self.forget()
            return True

    def forget(self) -> None:
        """Know nothing any more."""
        self._growing = None
        self._packs = {}
        self._files.clear()
        self.loose = self._closed = False

    def _append(self, growing: _Growing, key: str, data: bytes | memoryview, gone: bool) -> bool:
        """Append a record; return whether it counts. If not, another process has shut the pack before, or it is full."""
        pack, at = growing.pack, growing.pack.known
        try:
            end = growing.append(key, data, gone=gone, sync=self._beside.durable)
            if growing.is_open():
                pack.contents.add(key, GONE if gone else at)
                pack.last, pack.known = at, end
                return True
        except BaseException as error:
            self._growing = None
            if isinstance(error, OSError):  # what could not be synced must not count later, as if it had been
                with suppress(OSError, StorageError):
                    self._end(pack, at)
                if error.errno == errno.EFBIG and at:  # the limit of a file's size (ulimit -f): another pack has room
                    return False
            raise
        self._growing = None
        self.refresh(agreed=True)
        return pack.contents.find(key) == (GONE if gone else at) and pack.known >= end

    def _mine(self) -> _Growing | None:
        """Give the pack to which this process appends; a forked one has none."""
        return self._growing if self._growing is not None and self._growing.pid == os.getpid() else None

    def _begin(self) -> _Growing | None:
        """Make a pack, and be the only one that appends; None if that can't be."""
        while True:
            self._beside.make_folder(self._path)
            names = self._names()
            if LOOSE in names or not self._is_own_disk():
                self._go_loose(names)
                return None
            number = 1 + max((int(match[2]) for name in names if (match := _PACK.fullmatch(name))), default=0)
            name = f"pack-{number:08d}-{secrets.token_hex(4)}"
            growing = _Growing(Pack(name), f"{self._path}/{name}.open")
            try:
                self._sync_folder()
                rivals = self._has_rival(name, number)
                if not rivals:
                    self._shut_others(name)
                    self.refresh(agreed=True)
            except BaseException:
                self._unmake(name)
                raise
            if rivals:
                self._unmake(name)
                time.sleep(0.01 * secrets.randbelow(10))
                continue
            self._packs = {name: growing.pack, **{other: pack for other, pack in self._packs.items() if other != name}}
            self._keep(name, growing.file)
            self._growing = growing
            return growing

    def _unmake(self, name: str) -> None:
        """Remove a pack in which nothing is yet; who has shut it meanwhile finds that out."""
        with suppress(OSError):
            os.unlink(f"{self._path}/{name}.open")

    def _has_rival(self, own: str, number: int) -> bool:
        """Tell whether another process makes a pack of the same or a later number, or none can be made any more."""
        names = self._names()
        numbers = {match[1]: int(match[2]) for name in names if (match := _PACK.fullmatch(name))}
        return LOOSE in names or any(other >= number for name, other in numbers.items() if name != own)

    def _go_loose(self, names: list[str]) -> None:
        """Make an end of packs; whoever left the mark may have died before it could."""
        if LOOSE not in names:
            self._beside.put(f"{self._folder}/{LOOSE}", b"", if_absent=True)
        self._shut_others("")
        self.refresh(agreed=True)
        self._closed = True

    def _shut_others(self, own: str) -> None:
        """Shut all packs but one."""
        others = [match[1] for name in self._names() if (match := _PACK.fullmatch(name)) and match[3] == "open" and match[1] != own]
        for name in others:
            self._rename(name)
        if others:
            self._sync_folder()

    def _shut_own(self, growing: _Growing) -> None:
        """Shut the pack that this process appends to, which knows where it ends."""
        self._growing = None
        os.ftruncate(growing.file.number, growing.pack.known)
        self._end(growing.pack, growing.pack.known)

    def _end(self, pack: Pack, end: int) -> int:
        """Shut a pack and agree with all others on where it ends."""
        self._rename(pack.name)
        key = f"{self._folder}/{pack.name}.end"
        self._beside.put(key, b"%d" % end, if_absent=True)
        return self._agreed(pack) or 0

    def _rename(self, name: str) -> None:
        """Shut a pack. A copy of a store that was brought up to date can hold it open, too, as it was before: that one goes."""
        is_open, is_shut = f"{self._path}/{name}.open", f"{self._path}/{name}.shut"
        with suppress(FileNotFoundError):  # it is shut already
            if os.path.lexists(is_shut):
                os.unlink(is_open)
            else:
                os.rename(is_open, is_shut)

    # -- catching up -------------------------------------------------------------------------------------------------

    def _catch_up(self, pack: Pack, agreed: bool) -> bool:
        """Take in what is new in a pack that another process has made; return False if the pack is gone."""
        while True:
            end = self._agreed(pack)
            try:
                file, is_open = self._opened(pack)
                if end is None and not is_open:
                    end = self._decide(pack, file, agreed)
            except FileNotFoundError:
                return False
            read = partial(os.pread, file.number)
            if end is not None:
                self._take_all(pack, file, end)
                return True
            fresh = self._whole(pack, read)
            # What was read counts only if nobody had shut the pack before it was.
            if self._beside.leads_to(f"{self._path}/{pack.name}.open", file):
                for record in fresh:
                    pack.take(record)
                return True

    def _take_all(self, pack: Pack, file: Descriptor, end: int) -> None:
        """Take in a pack up to its end."""
        if pack.known > end:  # what was taken in before it was cut off
            pack.contents, pack.known = Contents(), 0
        for record in takewhile(lambda record: record.end <= end, scan(partial(os.pread, file.number), pack.known)):
            pack.take(record)
        if pack.known != end:
            raise self.damaged(pack, pack.known)
        pack.done = self._agreed(pack) is not None

    def _decide(self, pack: Pack, file: Descriptor, agreed: bool) -> int:
        """Find where a pack ends that was left open, and have all others agree."""
        read = partial(os.pread, file.number)
        found = self._whole(pack, read)
        end = found[-1].end if found else pack.known
        try:
            if self._beside.durable:
                # The last one may be what its writer could not sync: of that the system tells once, and takes it for written afterwards.
                with opened(self._beside.root, self._folder) as directory, suppress(PermissionError):  # another user's is synced only
                    writing = Descriptor(os.open(f"{pack.name}.shut", WRITE, dir_fd=directory))
                    write_again(writing, found[-1].at if found else pack.last, end)
                os.fsync(file.number)
            return self._end(pack, end)
        except (OSError, StorageError):
            if agreed:
                raise
            return end  # who only looks need not be able to write

    def _whole(self, pack: Pack, read: Read) -> list[Record]:
        """Give the records that are new and whole."""
        found = whole(read, pack.known)
        end = found[-1].end if found else pack.known
        if follows(read, end + 1) and not whole(read, end):  # else it was written in this very moment, and another behind it
            raise self.damaged(pack, end)
        return found

    def _agreed(self, pack: Pack) -> int | None:
        """Read where a pack ends, if that was agreed on."""
        path = f"{self._path}/{pack.name}.end"
        try:
            with opened(self._beside.root, self._folder) as directory:
                file = Descriptor(os.open(f"{pack.name}.end", READ, dir_fd=directory))
        except FileNotFoundError:
            return None
        text = read_range(file, 0, 32)
        if not text.isdigit():
            raise IntegrityError(f"{path} is damaged: put it back from a copy of the store, or begin a new run in another job store")
        return int(text)

    def _is_settled(self, key: str) -> bool:
        """Tell whether an object is there for good, and survives a power cut."""
        found = self.find(key)
        return found is not None and found[0].done

    def _record(self, pack: Pack, at: int) -> tuple[Record, bytes]:
        beginning = os.pread(self.file(pack).number, _HEAD, at)
        record = parse(beginning, at)
        if record is None:
            raise self.damaged(pack, at)
        return record, beginning

    def _opened(self, pack: Pack) -> tuple[Descriptor, bool]:
        """Open a pack for reading; tell whether it is open for appending."""
        with opened(self._beside.root, self._folder) as directory:
            for suffix in ("shut", "open"):
                with suppress(FileNotFoundError):
                    return Descriptor(os.open(f"{pack.name}.{suffix}", READ, dir_fd=directory)), suffix == "open"
            return Descriptor(os.open(f"{pack.name}.shut", READ, dir_fd=directory)), False  # it was shut in between

    def _names(self) -> list[str]:
        try:
            with opened(self._beside.root, self._folder) as directory:
                names = os.listdir(directory)
                # A pack is renamed once only: where one list may lack it, the next does not.
                return names if len(names) < AT_ONCE else list({*names, *os.listdir(directory)})
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _sync_folder(self) -> None:
        if self._beside.durable:
            sync_directory(self._path)

    def _is_own_disk(self) -> bool:
        """Tell whether nobody but this machine's kernel writes to the folder's file system."""
        return is_own_disk(self._path)

    def damaged(self, pack: Pack, at: int) -> IntegrityError:
        """Say that a pack is not what was written."""
        return IntegrityError(
            f"{self._path}/{pack.name} is damaged behind byte {at}: put it back from a copy of the store, or begin a new run in "
            "another job store"
        )


def ranges(keys: set[str], prefix: str) -> Iterator[str]:
    """Go through those keys that begin with a prefix, sorted as text."""
    return iter(sorted(key for key in keys if key.startswith(prefix)))
