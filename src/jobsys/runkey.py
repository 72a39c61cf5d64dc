"""Where the key of a run is kept: in a file of the user's, never in the job store."""

import os
import re
import secrets
import socket
import stat
from contextlib import suppress
from typing import Final

from jobsys.errors import RunKeyError, UsageError
from jobsys.files import KEY_SUFFIX, sync_directory
from jobsys.sealing import RunKey

VARIABLE: Final = "JOBSYS_KEY_FILE"
IN_MEMORY: Final = RunKey(secrets.token_bytes(32))
"""Of all runs in the memory of this process: they end with it."""
_RUN: Final = re.compile(r"[0-9a-f]{32}")
_LINE: Final = rb"jobsys run key 1 ([0-9a-f]{32}) ([0-9a-f]{64})\n"
_LENGTH: Final = 128


def new_run() -> str:
    """Make the id of a new run."""
    return secrets.token_hex(16)


def directory() -> str:
    """Name the directory of the keys: ``$XDG_STATE_HOME/jobsys/keys``, or below ``~/.local/state``.

    Raises:
        RunKeyError: this user has no home.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # as its specification says: what is relative does not count
        state = os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        raise RunKeyError(f"there is no place for the run's key: this user has no home directory; {_ELSEWHERE}")
    return os.path.join(state, "jobsys", "keys")


def place(run: str, key_file: str | None = None) -> str:
    """Name the file of a run's key: the one that was asked for, or the one that bears its id.

    Raises:
        RunKeyError: ``run`` is no id, or there is no place.
        UsageError: a name was asked for that no key may have.
    """
    if _RUN.fullmatch(run) is None:
        raise RunKeyError(f"{run!r} is no id of a run: the job store's own description was changed; put it back from a copy of the store")
    asked = key_file or os.environ.get(VARIABLE, "")
    if not asked:
        return os.path.join(directory(), run + KEY_SUFFIX)
    if not asked.endswith(KEY_SUFFIX):
        raise UsageError(f"{asked!r} can't hold a run's key: its name must end in {KEY_SUFFIX}, by which it is never shipped to workers")
    return os.path.abspath(os.path.expanduser(asked))


def make(run: str, path: str) -> RunKey:
    """Make a key and keep it in a file of its own, whole and for this user only.

    Raises:
        RunKeyError: it can't be written, or the file is there already.
    """
    secret = secrets.token_bytes(32)
    folder = os.path.dirname(path)
    beside = os.path.join(folder, f".{secrets.token_hex(8)}{KEY_SUFFIX}")
    try:
        _make_folder(folder)
        _check_folder(folder)
        try:
            _write(beside, f"jobsys run key 1 {run} {secret.hex()}\n".encode())
            os.link(beside, path)  # whole, and never over another key
            sync_directory(folder)  # before the store is made: after a power cut it could not be resumed without
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside)
    except FileExistsError:
        there = f"{path} is there already, and may be another run's key"
        raise RunKeyError(f"{there}: remove it if that run is gone, or {_ELSEWHERE}") from None
    except OSError as error:
        raise RunKeyError(f"the run's key can't be kept in {path}: {error.strerror}; {_ELSEWHERE}") from error
    return RunKey(secret)


def read(run: str, path: str) -> RunKey:
    """Read a run's key.

    Raises:
        FileNotFoundError: there is no such file.
        RunKeyError: it can't be read, others can read or write it, or it is no key, or another run's.
    """
    try:
        _check_folder(os.path.dirname(path))
        with open(path, "rb") as stream:
            mode, data = os.fstat(stream.fileno()), stream.read(_LENGTH)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunKeyError(f"the run's key in {path} can't be read: {error.strerror}") from error
    if stat.S_IMODE(mode.st_mode) & 0o077 or mode.st_uid not in (os.geteuid(), 0):
        raise RunKeyError(f"{path} is not this user's alone, so it may be no secret any more: make it so (chmod 600 {path})")
    match = re.fullmatch(_LINE, data)
    if match is None:
        raise RunKeyError(f"{path} holds no key of a run: name the right file with --key-file, or copy it again")
    if match[1].decode() != run:
        raise RunKeyError(f"{path} holds the key of another run ({match[1].decode()}, not {run}): name the right file with --key-file")
    return RunKey(bytes.fromhex(match[2].decode()))


def forget(run: str, path: str) -> None:
    """Remove a run's key, if that is what lies there."""
    with suppress(OSError, RunKeyError):  # a key that stays opens nothing: its store is gone
        read(run, path)
        os.unlink(path)


def missing(locator: str, path: str, made_on: str, made_at: str) -> RunKeyError:
    """Say that a run's key is not where it is looked for, where it may be, and what to do."""
    if made_on != socket.gethostname():
        gone = f"is not on this host ({path} is not there)"
        way = f"that it was made on {made_on}, as {made_at}; go on there, or copy that file to this host as {path} (chmod 600)"
    elif made_at != path:
        gone = f"is not in {path}"
        way = f"that it was made on this host, as {made_at}, perhaps by another user; copy that file there (chmod 600)"
    else:
        gone = f"is gone ({path} is not there any more)"
        way = "that it was made there; put that file back (chmod 600)"
    return RunKeyError(
        f"the key of the run in {locator} {gone}, and without it nobody can tell that the job store holds what the run wrote: "
        f"the store says {way}, or name it with --key-file"
    )


_ELSEWHERE: Final = f"name another file with --key-file PATH{KEY_SUFFIX}, or {VARIABLE}"


def _make_folder(folder: str) -> None:
    """Make a directory and what is missing above it, for this user only and so that a power cut leaves it."""
    if os.path.lexists(folder):
        return
    above = os.path.dirname(folder)
    _make_folder(above)
    with suppress(FileExistsError):  # another run has just made it
        os.mkdir(folder, 0o700)
    sync_directory(above)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(folder: str) -> None:
    """Refuse a directory in which others could exchange the key."""
    found = os.stat(folder)
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise RunKeyError(f"others can write to {folder}, and could exchange the run's key there: chmod go-w {folder}, or {_ELSEWHERE}")
