"""Directories of local storage: walked in the order of keys, emptied while others still write. Knows no files' content.

No symbolic link is followed below the root: who can write to the directory could make one lead to any file of whoever uses it.
"""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath

TEMPORARY = ".tmp"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_USE = (errno.ENOTEMPTY, errno.EBUSY)  # NFS refuses to delete what a process of this host has open
_DELETED = r"\.nfs[0-9a-f]{16}"  # NFS calls a file so that was deleted, or replaced, while its host had it open
_NAME = re.compile(rf"(?!{_DELETED})[A-Za-z0-9._~%=-]+")


def is_deleted_in_use(name: str) -> bool:
    """Tell whether a file has the name that NFS gives to what was deleted, or replaced, while its host had it open."""
    return re.match(_DELETED, name) is not None


@contextmanager
def opened(root: str, folder: str) -> Iterator[int]:
    """Open a directory below a root (``""`` is the root itself), to name files in it by ``dir_fd``; a link on the way is no directory."""
    descriptor = _open_root(root)
    try:
        for part in folder.split("/") if folder else ():
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _open_root(root: str) -> int:
    """Open a directory. That it is missing is asked of all that are above it anew: a host keeps such an answer of NFS for a minute."""
    try:
        return os.open(root, _DIRECTORY)
    except FileNotFoundError:
        look_anew(root)
        return os.open(root, _DIRECTORY)


def look_anew(path: str) -> None:
    """Open all directories above a name: of each NFS then asks the server what has changed in it."""
    for above in reversed(PurePath(path).parents):
        with suppress(OSError):  # one may pass through it only, or it is gone
            os.close(os.open(above, _DIRECTORY))


def named_now(path: str) -> os.stat_result | None:
    """Tell what a name leads to (a link is not followed) as it is now, on the server, too; None if there is nothing.

    A host believes for seconds what it knows of a name on NFS, and for half a minute that there is none. It asks the server whether
    a directory has changed when that is opened.
    """
    try:
        with opened(os.path.dirname(path), "") as directory:
            return os.stat(os.path.basename(path), dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_same_now(path: str, found: os.stat_result) -> bool:
    """Tell whether a name leads, on the server too, to the file that was found before."""
    there = named_now(path)
    return there is not None and os.path.samestat(there, found)


def remove_empty(root: str, folder: str) -> Iterator[str]:
    """Delete a directory and those above it, up to one that is not empty or is of the first level; give those that are gone."""
    while "/" in folder:
        above, _, name = folder.rpartition("/")
        try:
            with opened(root, above) as directory:
                os.rmdir(name, dir_fd=directory)
        except OSError:  # not empty, or filled again by now: then it stays
            return
        yield folder
        folder = above


def walk(root: str, folder: str, prefix: str, after: str) -> Iterator[str]:
    """Go through a directory (``""`` or ``a/b/``) in the order of whole keys, where ``a-b`` comes before ``a/b``."""
    try:
        with opened(root, folder.rstrip("/")) as directory, os.scandir(directory) as entries:
            names = sorted(
                entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in entries
                if _NAME.fullmatch(entry.name) and (folder or entry.name != TEMPORARY)
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        key = folder + name
        if not name.endswith("/"):
            if key > after and key.startswith(prefix):
                yield key
        elif (key > after or after.startswith(key)) and (key.startswith(prefix) or prefix.startswith(key)):
            yield from walk(root, key, prefix, after)


def empty(folder: str, last: bool) -> bool:
    """Delete a directory with all in it; tell whether that is done, or must be tried again since others still write there."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(folder)
    except FileNotFoundError:
        return not os.path.isdir(folder)
    except OSError as error:
        if error.errno == errno.EBUSY and os.path.ismount(folder):
            return True
        if error.errno not in _IN_USE or last:
            raise
        time.sleep(0.05)
        return False
    return True
