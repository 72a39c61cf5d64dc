"""Directories of local storage: walked in the order of keys, emptied while others still write. Knows no files' content.

No symbolic link is followed below the root: who can write to the directory could make one lead to any file of whoever uses it.
"""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

TEMPORARY = ".tmp"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAME = re.compile(r"(?!\.nfs[0-9a-f]{16})[A-Za-z0-9._~%=-]+")  # NFS calls a file ".nfs…" that was deleted while open


@contextmanager
def opened(root: str, folder: str) -> Iterator[int]:
    """Open a directory below a root (``""`` is the root itself), to name files in it by ``dir_fd``; a link on the way is no directory."""
    descriptor = os.open(root, _DIRECTORY)
    try:
        for part in folder.split("/") if folder else ():
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


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
        if error.errno != errno.ENOTEMPTY or last:
            raise
        time.sleep(0.05)
        return False
    return True
