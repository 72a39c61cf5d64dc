"""Job stores in a directory."""

import os
import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from jobsys.errors import LocatorError
from jobsys.files import working_directory
from jobsys.jobstores import keys
from jobsys.storage.folders import TEMPORARY
from jobsys.storage.packed import PackedStorage

_OURS: Final = keys.TOPS | {TEMPORARY}


def parse(rest: str) -> str:
    """Read what follows ``file:`` as an absolute path; ``file:///a%20b`` is a URL, ``file:a b`` a path as it stands."""
    path = rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in {"", "localhost"}:
            raise LocatorError(f"file:{rest} names a directory of another machine ({host}); write file:///… with three slashes")
        path = unquote(slash + path)
    if not path:
        raise LocatorError("file: needs a path: file:/path/to/store")
    if "\0" in path:
        raise LocatorError(f"a path can't hold a null character: {path!r}")
    try:
        wanted = Path(path).expanduser()
    except RuntimeError:
        user = path.partition("/")[0]
        raise LocatorError(f"file:{rest}: the home directory that {user} means is not known here; write the whole path") from None
    return str(wanted if wanted.is_absolute() else Path(working_directory(), wanted))


def whats_there(directory: str) -> str:
    """Say what is in the place of a job store."""
    if not os.path.lexists(directory):
        return "there is no such directory"
    if not os.path.isdir(directory):
        return "that is no directory"
    return f"that directory holds no {keys.STORE}"


def strangers(directory: str) -> list[str]:
    """Name what lies in a directory and is no part of a job store."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(os.path.join(directory, name) for name in names if name not in _OURS)


def openness(path: str) -> str:
    """Say who else can write to a directory; an empty text if nobody can. A group that shares one is a legitimate use."""
    try:
        found = os.stat(path)
    except OSError:  # whoever uses it will say what is wrong
        return ""
    if found.st_uid != os.geteuid():
        return f"{path} belongs to user {found.st_uid}"
    return f"others can write to {path} (mode {stat.S_IMODE(found.st_mode):04o})" if found.st_mode & 0o022 else ""


def storage(path: str, durable: bool = True) -> PackedStorage:
    """Give the storage at a path."""
    return PackedStorage(path, durable=durable, immutable=keys.immutable, packed=keys.JOURNAL)
