"""The namespace of a session in a job store: what jobs use of it, saved once a start by the leader, loaded once a host by a worker."""

import logging
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from jobsys import pickling, session
from jobsys.errors import IntegrityError, JobsysError, PicklingError
from jobsys.jobstores import JobStore

logger = logging.getLogger(__name__)

_SESSION: Final = "session/"


def save(store: JobStore, before: Iterable[str] = ()) -> tuple[str, list[str]]:
    """Save what jobs use of this session; give the SHA-256, and all names in it.

    Args:
        store: the run's job store.
        before: the names that jobs of earlier starts use.

    Raises:
        PicklingError: something of it can't travel; the message names it, and the function that uses it.
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
    if not store.shared_file_exists(_SESSION + digest):
        with store.write_shared_file(_SESSION + digest) as stream:
            stream.write(data)
    return digest, sorted(there.keys() | names.keys())


def load(store: JobStore, digest: str) -> None:
    """Let ``__main__`` be what the leader saved of its session.

    Raises:
        IntegrityError: it is not what was saved.
        PicklingError: it names what is not there on this side.
    """
    session.start_session()
    with store.read_shared_file(_SESSION + digest) as stream:
        data = stream.read()
    if sha256(data).hexdigest() != digest:
        raise IntegrityError(f"the session's namespace in {store.locator} is damaged: restart the run from the session")
    names, *values = pickling.load(data, _no_value)
    session.complete(dict(zip(names, values, strict=True)))


def _no_value(slot: int) -> Any:
    raise JobsysError(f"a session's namespace holds a promise ({slot})")
