"""The namespace of a session on its way to the workers: saved once a run by the leader, loaded by a worker host. Both ends of one format.

Which names are in it was noted while the run's jobs were pickled (``session.py``).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any, BinaryIO, Final, Protocol

from jobsys import pickling, session
from jobsys.errors import JobsysError, PicklingError
from jobsys.late import Logger

logger = Logger(__name__)

_FOLDER: Final = "session/"


class Target(Protocol):
    """What the leader needs of a job store."""

    def write_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file of that name as a stream; it is there, whole, after a clean exit."""

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is one."""


class Source(Protocol):
    """What a worker needs of it."""

    def read_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Read a file of that name as a stream."""


def save(store: Target, before: Iterable[str]) -> tuple[str, list[str]]:
    """Save what jobs use of this session; give its digest, and all names that are in it.

    Args:
        store: where to.
        before: what was in it when an earlier leader of the run saved it: its jobs use that.

    Raises:
        PicklingError: something in it can't be pickled; the function that uses it is named.
    """
    wanted = dict.fromkeys(before, "") | session.noted()
    space = session.namespace()
    missing = sorted(wanted.keys() - space.keys())
    if missing:
        logger.warning("This session does not define %s, which jobs of the run use: run those cells, too", ", ".join(missing))
    there = {name: user for name, user in wanted.items() if name in space}
    labels = [f"the global {name!r}" + (f" that function {user!r} uses" if user else "") for name, user in there.items()]
    with session.by_value(), session.noting() as names:
        content = (tuple(there), *(space[name] for name in there))
        data, promised = pickling.dump(content, "what jobs use of this session", ("its names", *labels))
    if promised:
        raise PicklingError(f"a job uses a global of this session that holds the promise of {promised[0]}: pass that as an argument")
    digest = sha256(data).hexdigest()
    if not store.shared_file_exists(_FOLDER + digest):
        with store.write_shared_file(_FOLDER + digest) as stream:
            stream.write(data)
    return digest, sorted(there.keys() | names.keys())


def load(store: Source, digest: str) -> None:
    """Let ``__main__`` be what the leader saved of its session.

    Raises:
        JobsysError: it is not what was saved, or names what is not there on this side.
    """
    session.start_session()
    with store.read_shared_file(_FOLDER + digest) as stream:
        data = stream.read()
    if sha256(data).hexdigest() != digest:
        raise JobsysError("the session's namespace in the job store is not what was saved: restart the run from the session")
    names, *values = pickling.load(data, _no_value)
    session.complete(dict(zip(names, values, strict=True)))


def _no_value(slot: int) -> Any:
    raise JobsysError(f"a session's namespace holds a promise, in slot {slot}")
