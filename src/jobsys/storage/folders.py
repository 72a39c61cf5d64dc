"""Directories of local storage: walked in the order of keys, emptied while others still write. Knows no files' content."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator

TEMPORARY = ".tmp"
_NAME = re.compile(r"(?!\.nfs[0-9a-f]{16})[A-Za-z0-9._~%=-]+")  # NFS calls a file ".nfs…" that was deleted while open


def walk(root: str, folder: str, prefix: str, after: str) -> Iterator[str]:
    """Go through a directory (``""`` or ``a/b/``) in the order of whole keys, where ``a-b`` comes before ``a/b``."""
    try:
        with os.scandir(f"{root}/{folder}") as entries:
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
