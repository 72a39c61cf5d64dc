"""Where a worker stands: its environment variables, and its working directory. Changes this process only."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from typing import Final

from jobsys.cache import has_locks
from jobsys.files import is_file_of

_OF_THE_LEADER: Final = ("LANG", "LANGUAGE", "TZ")
"""What decides how a program reads, writes and tells the time: as on the leader, also where the leader has none of it."""
_PREFIX: Final = f"jobsys-{os.getuid()}-away-"


def variables(host: Mapping[str, str], shipped: Mapping[str, str | None], passed: Collection[str], environment: str) -> dict[str, str]:
    """Give the variables for a program of an assembled environment, whose directory is ``environment``.

    Those of the host, less what would change how Python and its locale behave, plus the leader's (``shipped``; None: it has none). What
    the person asked for by name (``passed``) stays as it is.
    """
    leaders = {name: value for name, value in shipped.items() if name not in passed}
    kept = {name: value for name, value in host.items() if name in passed or not (name in leaders or _is_the_leaders(name))}
    kept |= {name: value for name, value in leaders.items() if value is not None}
    kept["VIRTUAL_ENV"] = environment
    kept["PATH"] = f"{environment}/bin{os.pathsep}{kept.get('PATH') or os.defpath}"
    return kept


def _is_the_leaders(name: str) -> bool:
    return name.startswith(("PYTHON", "LC_")) or name in _OF_THE_LEADER


def enter(directory: str | None) -> None:
    """Go to the leader's working directory, where this host has it; else to a new one that lasts as long as this process.

    The new one is locked, also over an exec, and whoever comes to this host next removes those that nobody has locked.
    """
    if directory and os.path.isdir(directory) and os.access(directory, os.R_OK | os.X_OK):
        os.chdir(directory)
        return
    parent = tempfile.gettempdir()
    os.chdir(_own_directory(parent) if has_locks(parent) else tempfile.mkdtemp(dir=parent))


def _own_directory(parent: str) -> str:
    _sweep(parent)
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        descriptor = _locked(path)
        if descriptor is None:  # who swept in between took it for left behind
            continue
        if is_file_of(descriptor, path):
            os.set_inheritable(descriptor, True)
            return path
        os.close(descriptor)


def _sweep(parent: str) -> None:
    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        descriptor = _locked(path) if name.startswith(_PREFIX) else None
        if descriptor is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


def _locked(path: str) -> int | None:
    """Lock a directory and give the descriptor; None if another process has it, or it is none, or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
