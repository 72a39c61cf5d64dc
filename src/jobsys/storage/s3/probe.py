"""Finds out whether a server's create-if-absent holds when many writers race: on it rests that a run has one leader and one outcome."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Final

from jobsys.errors import StorageError
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.answers import RefusedError

FOLDER: Final = "probe/"
"""Where the objects of a probe lie below a prefix; what a killed one has left there means nothing."""
_WRITERS: Final = 8
_ROUNDS: Final = 4
_STARTED: Final = 60.0  # seconds within which all of them have begun, or one of them can't


def prove(access: Access, prefix: str) -> None:
    """Let writers race for a few objects, and leave nothing.

    Raises:
        StorageError: more than one of them won a race, and the user did not say that this is known; or the server could not be asked.
    """
    if access.bucket.options.unfenced:
        return
    keys = [f"{prefix}{FOLDER}{secrets.token_hex(8)}-{number}" for number in range(_ROUNDS)]
    try:
        with ThreadPoolExecutor(_WRITERS, "jobsys-probe") as threads:
            for key in keys:
                _race(access, key, threads)
    finally:
        access(lambda: access.bucket.delete(keys))


def _race(access: Access, key: str, threads: ThreadPoolExecutor) -> None:
    gate = Barrier(_WRITERS, timeout=_STARTED)
    won = [number for number, wins in enumerate(threads.map(lambda number: _write(access, key, number, gate), range(_WRITERS))) if wins]
    found = access(lambda: access.bucket.get(key)).data
    if not agree(won, found) or _write(access, key, _WRITERS, Barrier(1)):
        kept = " (this one keeps versions; without, the same server may do better)" if access(access.bucket.keeps_versions) else ""
        raise StorageError(
            f"the server of {access.bucket.place(key)} does not keep 'If-None-Match: *' when several write at once (of {_WRITERS} writers "
            f"{len(won)} were told that they made the object): two leaders could both go on with a run there. Use another server or "
            f"bucket{kept}, or, if you see to it that a run never has two leaders, --s3-unfenced"
        )


def agree(won: Sequence[int], found: bytes) -> bool:
    """Tell whether at most one has won, and the object is the winner's; a winner whose answer was lost does not know that it has won."""
    return len(won) <= 1 and all(found == b"%d" % number for number in won)


def _write(access: Access, key: str, number: int, gate: Barrier) -> bool:
    gate.wait()
    try:
        access(lambda: access.bucket.put(key, b"%d" % number, if_absent=True))
    except RefusedError:
        return False
    return True
