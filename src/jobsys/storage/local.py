"""Storage in a directory of this machine or of a shared file system: one file an object.

A file is written beside (in ``.tmp`` under the same root), synced, then linked or renamed to its name. Nothing else than create-once by
``link`` and replace by ``rename`` is asked of the file system, which NFS has too. There are no locks, so a fork can copy none.
"""

import errno
import importlib
import io
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar
from urllib.parse import quote

from jobsys import processes
from jobsys.errors import NotFoundError, StorageError
from jobsys.files import is_written_by_somebody, sync_directory
from jobsys.mounts import is_file_server, is_own_disk, options
from jobsys.storage.base import Stat, Storage, check_key, check_prefix, check_range, storage_error
from jobsys.storage.folders import TEMPORARY, empty, is_deleted_in_use, is_same_now, look_anew, named_now, opened, remove_empty, walk
from jobsys.storage.openfiles import NEW, READ, Descriptor, ReadingFile, WritingFile, discard, is_same, read_range, write_all

OPEN_FILES = 64
KNOWN_FOLDERS = 10_000
RACES = 20
PAUSE = 0.01  # seconds
WEEK = 7 * 86_400.0
Found = TypeVar("Found")
_MADE_BY = re.compile(r"[0-9a-f]{16}\.([0-9a-f]{12})\.(\d+)\.\d+")


def never(key: str) -> bool:  # noqa: ARG001
    """Hold no key for immutable."""
    return False


class LocalStorage(Storage):
    """Objects as files under a directory, which is made (mode 0700) by the first write.

    ``immutable`` tells of a key whether its object, once written, is never replaced: files of such keys are kept open between reads.
    Once the root has been seen, it must stay: it is never made a second time, so that a vanished job store is an error.
    """

    def __init__(self, root: str | Path, durable: bool = True, immutable: Callable[[str], bool] = never) -> None:
        """Take a directory, which need not exist; ``durable`` syncs every write."""
        self.root = os.path.abspath(root)
        self.durable = durable
        self._immutable = immutable
        self._seen = os.path.isdir(self.root)
        self._folders: set[str] = set()
        self._open: dict[str, Descriptor] = {}  # a plain one: threads can't put it out of order
        self._names = (f"{self.root}/{TEMPORARY}/{secrets.token_hex(8)}.{processes.namespace()}.", itertools.count())
        self._alone: bool | None = None  # not known yet
        self._left: set[str] = set()  # temporary files of this process that could not be deleted

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write a file whole: beside, synced, linked or renamed, its directory synced."""
        check_key(key)
        path = f"{self.root}/{key}"
        temporary = ""
        try:
            temporary, descriptor = self._create(0o444)
            try:
                write_all(descriptor, data)
                if self.durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            won = self._publish(temporary, path, if_absent)
            temporary = temporary if if_absent else ""  # a rename leaves nothing
        except OSError as error:
            self.fail(error, "write", path)
        finally:
            self._discard(temporary)
        return won

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read a file or a range of it."""
        check_key(key)
        check_range(start, length)
        try:
            return self._read(key, start, length)
        except OSError as error:
            try:
                return self._again(error, key, lambda: self._read(key, start, length))
            except OSError as final:
                self.fail(final, "read", f"{self.root}/{key}")

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Open a file for reading."""
        path = self.local_path(key)
        try:
            try:
                descriptor = self._open_lasting(key)
            except OSError as error:
                descriptor = self._again(error, key, lambda: self._open_lasting(key))
            raw = ReadingFile(path, descriptor)
        except OSError as error:
            self.fail(error, "read", path)
        with io.BufferedReader(raw) as stream:
            yield stream

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:
        """Open a file beside; at a clean exit sync it and rename it to its name; its directory may be synced later."""
        path = self.local_path(key)
        temporary = ""
        try:
            try:
                temporary, descriptor = self._create(_mode(executable))
                raw = WritingFile(descriptor, path, self.durable)
            except OSError as error:
                self.fail(error, "write", path)
            with raw.buffered() as stream:
                yield stream
            try:
                self._publish(temporary, path, if_absent=False, sync=later is None)
                temporary = ""
            except OSError as error:
                self.fail(error, "write", path)
        finally:
            self._discard(temporary)
        if later is not None:
            later.append(key)

    def settle(self, keys: Iterable[str]) -> None:
        """Sync the directories of files, each once."""
        for folder in {key.rpartition("/")[0] for key in keys} if self.durable else ():
            try:
                with opened(self.root, folder) as directory:
                    os.fsync(directory)
            except OSError as error:
                self.fail(error, "sync", f"{self.root}/{folder}")

    @contextmanager
    def adopting(self, key: str, path: str, descriptor: int, *, executable: bool = False, later: list[str] | None = None) -> Iterator[bool]:
        """Take a file of this file system away, unless somebody could still write to it; sync it meanwhile, and rename it to its name."""
        target = self.local_path(key)
        try:
            temporary = self._taken(path, descriptor)
        except OSError as error:
            self.fail(error, "write", target)
        if not temporary:
            yield False
            return
        try:
            futures = importlib.import_module("concurrent.futures")  # loaded on use: most processes need none of it
            with futures.ThreadPoolExecutor(1) as beside:
                synced = beside.submit(os.fsync, descriptor) if self.durable else None
                yield True
            try:
                if synced is not None:
                    synced.result()
                os.chmod(temporary, _mode(executable))
                self._publish(temporary, target, if_absent=False, sync=later is None)
            except OSError as error:
                self.fail(error, "write", target)
        except BaseException:
            with suppress(OSError):  # it is in its place
                os.rename(temporary, path)
            raise
        if later is not None:
            later.append(key)

    def _taken(self, path: str, descriptor: int) -> str:
        """Rename an open file to be a temporary one, of which the name is returned; nothing if it can't be an object as it is."""
        found = os.fstat(descriptor)
        if not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()):
            return ""
        token, counter = self._names
        temporary = f"{token}{os.getpid()}.{next(counter)}"
        folder = os.path.dirname(temporary)
        if folder not in self._folders:
            self.make_folder(folder)
        try:
            os.rename(path, temporary)
        except OSError:
            return ""
        # Only now that it has no name which others know: nobody can open it after it was looked at.
        now = os.lstat(temporary)
        if os.path.samestat(now, found) and now.st_nlink == 1 and not is_written_by_somebody(descriptor):
            return temporary
        os.rename(temporary, path)
        return ""

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Walk only those directories that can hold such keys."""
        check_prefix(prefix)
        folder, slash, _ = prefix.rpartition("/")
        try:
            self._check_root()
            yield from walk(self.root, folder + slash, prefix, after)
        except OSError as error:
            self.fail(error, "list", f"{self.root}/{folder}")

    def delete(self, keys: Iterable[str]) -> None:
        """Unlink files, then the directories below the first level that this left empty, unless others could still believe in these."""
        folders = set()
        for key in keys:
            path = self.local_path(key)
            self._open.pop(key, None)
            folder, _, name = key.rpartition("/")
            try:
                with opened(self.root, folder) as directory:
                    os.unlink(name, dir_fd=directory)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                self.fail(error, "delete", path)
            if "/" in folder and self.is_alone():
                folders.add(folder)
        for folder in folders:
            self._folders.difference_update(f"{self.root}/{each}" for each in remove_empty(self.root, folder))

    def stat(self, key: str) -> Stat:
        """Tell a file's size and time."""
        path = self.local_path(key)
        try:
            found = os.lstat(path) if self.is_alone() else self._stat_shared(key)
        except OSError as error:
            self.fail(error, "find", path)
        if not stat.S_ISREG(found.st_mode):
            raise NotFoundError(f"can't find {path}: it is no file")
        return Stat(found.st_size, found.st_mtime)

    def url(self, key: str) -> str:
        """Make a ``file://`` URL, percent-encoded."""
        return "file://" + quote(os.fsencode(self.local_path(key)))

    def prove(self) -> None:
        """Refuse a mount of NFS on which hosts do not see what others do.

        Raises:
            StorageError: it is mounted with ``nocto``.
        """
        place = self.root
        while not (os.path.isdir(place) or place == os.path.dirname(place)):
            place = os.path.dirname(place)
        try:
            chosen = options(place)
        except OSError as error:
            self.fail(error, "find", place)
        if "nocto" in chosen:
            raise StorageError(
                f"{self.root} lies on a file system mounted with nocto, on which hosts do not see in time what others write; "
                "have it mounted without, or choose another place"
            )

    def local_path(self, key: str) -> str:
        """Give the file's path. Never write to it: its mode is read-only."""
        check_key(key)
        return f"{self.root}/{key}"

    def destroy(self) -> None:
        """Delete everything under the root, and the root unless something is mounted on it."""
        real = os.path.realpath(self.root)
        self._open.clear()
        try:
            for attempt in range(RACES):
                if empty(real, last=attempt == RACES - 1):
                    break
            if os.path.islink(self.root):
                os.unlink(self.root)
        except OSError as error:
            raise storage_error(error, "destroy", self.root) from error
        finally:
            self._folders.clear()
        self._seen = False

    def sweep(self, age: float = WEEK) -> int:
        """Delete temporary files of dead processes, and those of this one that it could not delete before; return how many.

        Whether a process of this machine is dead can be seen. Others, of other machines or from before this one was started anew, count
        as dead when they have not written to a file for ``age`` seconds.
        """
        folder, oldest, swept = f"{self.root}/{TEMPORARY}", time.time() - age, 0
        try:
            with opened(self.root, TEMPORARY) as directory:
                for name in os.listdir(directory):
                    with suppress(FileNotFoundError):  # its process lives and has just finished
                        dead = name in self._left or _is_of_the_dead(name)
                        if dead or (dead is None and os.lstat(name, dir_fd=directory).st_mtime < oldest):
                            os.unlink(name, dir_fd=directory)
                            self._left.discard(name)
                            swept += 1
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            self.fail(error, "sweep", folder)
        return swept

    def close(self) -> None:
        """Close the files kept open; the storage can be used on."""
        self._open.clear()

    def _discard(self, temporary: str) -> None:
        if not discard(temporary):
            self._left.add(os.path.basename(temporary))

    def _open_file(self, key: str) -> int:
        """Open a file for reading; a symbolic link, at its name or on the way to it, is none."""
        folder, _, name = key.rpartition("/")
        with opened(self.root, folder) as directory:
            return os.open(name, READ, dir_fd=directory)

    def _open_lasting(self, key: str) -> int:
        """Open a file for reading on and on: one that was not replaced before it could be used."""
        descriptor = self._open_file(key)
        try:
            os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _stat_shared(self, key: str) -> os.stat_result:
        try:
            return self._stat_now(key)
        except OSError as error:
            return self._again(error, key, lambda: self._stat_now(key))

    def _stat_now(self, key: str) -> os.stat_result:
        folder, _, name = key.rpartition("/")
        with opened(self.root, folder) as directory:
            return os.lstat(name, dir_fd=directory)

    def is_alone(self) -> bool:
        """Tell whether no other host uses the file system: then what this one knows of names is true, and a replaced file never absent."""
        if self._alone is None:
            try:
                self._alone = is_own_disk(self.root) and not is_file_server()
            except FileNotFoundError:  # not yet, or not as far as is known here
                return False
        return self._alone

    def leads_to(self, path: str, file: Descriptor) -> bool:
        """Tell whether a name still leads to an open file, whichever machine has renamed that."""
        return (is_same if self.is_alone() else is_same_now)(path, os.fstat(file.number))

    def _again(self, error: OSError, key: str, look: Callable[[], Found]) -> Found:
        """Look for a file once more, for as long as NFS fails because that is just being replaced (docs/nfs.md)."""
        for _ in range(RACES):
            if error.errno == errno.ENOENT and self._may_be_replaced(key):
                time.sleep(PAUSE)
            elif error.errno != errno.ESTALE:
                break
            try:
                return look()
            except OSError as another:
                error = another
        raise error

    def _may_be_replaced(self, key: str) -> bool:
        """Tell whether there is a file after all, or traces of another one in its place."""
        if self.is_alone():
            return False
        folder, _, name = key.rpartition("/")
        with opened(self.root, folder) as directory:
            return any(each == name or is_deleted_in_use(each) for each in os.listdir(directory))

    def _read(self, key: str, start: int, length: int | None) -> bytes:
        if not self._immutable(key):
            return read_range(Descriptor(self._open_file(key)), start, length)
        try:
            return read_range(self._kept(key), start, length)
        except OSError:
            self._open.pop(key, None)
            raise

    def _kept(self, key: str) -> Descriptor:
        """Give the open file of an immutable key; one that falls out closes when its last reader in any thread is done."""
        descriptor = self._open.pop(key, None) or Descriptor(self._open_file(key))
        self._open[key] = descriptor
        for _ in range(len(self._open) - OPEN_FILES):
            with suppress(RuntimeError, StopIteration):  # another thread was faster; what is too much falls out at the next read
                self._open.pop(next(iter(self._open)), None)
        return descriptor

    def _create(self, mode: int) -> tuple[str, int]:
        """Open a new temporary file; its name tells processes apart by a token made before any fork, and by number."""
        token, counter = self._names
        path = f"{token}{os.getpid()}.{next(counter)}"
        try:
            return path, os.open(path, NEW, mode)
        except FileNotFoundError:
            self.make_folder(os.path.dirname(path))
            return path, os.open(path, NEW, mode)

    def _publish(self, temporary: str, path: str, if_absent: bool, sync: bool = True) -> bool:
        """Give a finished file its name. A server's answer may be lost and the call repeated: then the name is ours already."""
        ours = os.stat(temporary)
        folder = os.path.dirname(path)
        won = True
        for last in [False] * RACES + [True]:
            try:
                if folder not in self._folders:
                    self.make_folder(folder)
                (os.link if if_absent else os.rename)(temporary, path)
                break
            except FileExistsError:
                there = named_now(path)
                if there is None and not last:  # NFS believed in what another host has deleted
                    continue
                won = there is not None and os.path.samestat(there, ours)
                break
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                if is_same_now(path, ours):
                    break
                self._forget(path)
                if last:
                    raise
        if sync and self.durable:
            sync_directory(folder)  # who lost syncs too: what it has seen must not be undone by a power cut
        return won

    def _forget(self, path: str) -> None:
        """Take no folder for made any more, nor what NFS believes of those above a name for true."""
        self._folders.clear()
        if not self.is_alone():
            look_anew(path)

    def make_folder(self, folder: str) -> None:
        """Make sure that a directory and all above it to the root exist and survive a power cut, once a process."""
        if folder == self.root:
            self._make_root()
            return
        parent = os.path.dirname(folder)
        if parent not in self._folders:
            self.make_folder(parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if os.path.islink(folder):
                raise StorageError(f"{folder} is a symbolic link, which is not followed in a job store: put the directory back") from None
        if self.durable:
            sync_directory(parent)
        if len(self._folders) > KNOWN_FOLDERS:
            self._folders.clear()
        self._folders.add(folder)

    def _make_root(self) -> None:
        """Make the root and what is missing above it, each synced before the next is made; each process once.

        So of directories that others have made and were killed at, only the last can lack its sync.
        """
        self._check_root()
        place, missing = self.root, []
        while not (self._seen or os.path.isdir(place) or place == os.path.dirname(place)):
            missing.append(place)
            place = os.path.dirname(place)
        if self.durable and not os.path.ismount(place):
            with suppress(PermissionError):  # it is not for this user to make anything there
                sync_directory(os.path.dirname(place))
        for folder in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700 if folder == self.root else 0o777)
            if self.durable:
                sync_directory(os.path.dirname(folder))
        self._seen = True
        self._folders.add(self.root)

    def _check_root(self) -> None:
        if self._seen and not os.path.isdir(self.root):
            raise StorageError(
                f"the directory {self.root} is gone: deleted, renamed, or its file system is no longer mounted; "
                "bring it back, then run again with --restart"
            )

    def fail(self, error: OSError, doing: str, path: str) -> NoReturn:
        """Raise what an error of the operating system means here."""
        try:
            self._check_root()
        except StorageError as gone:
            raise gone from error
        raise storage_error(error, doing, path) from error


def _mode(executable: bool) -> int:
    return 0o555 if executable else 0o444


def _is_of_the_dead(name: str) -> bool | None:
    """Tell whether the process that made a temporary file of this name is dead; None if that can't be seen from here."""
    made = _MADE_BY.fullmatch(name)
    return None if made is None or made[1] != processes.namespace() else not processes.is_running(int(made[2]))
