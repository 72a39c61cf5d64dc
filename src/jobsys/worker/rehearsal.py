"""What a host does before it forks a process for each job: it goes the way of an order a few times, with a job that does nothing.

On its first way through a piece of code Python notes in objects and types what makes the next ones faster. Each fork would begin without
that, and every page on which it notes something is copied. Nothing of the user's is run.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jobsys import pickling
from jobsys.jobstores import JobStore, file
from jobsys.message import Order, encode_order
from jobsys.record import Blob
from jobsys.worker.executor import Executor

_TURNS: Final = 12  # Python specialises code that has run eight times


class _Nobody:
    """A channel whose job says nothing and prints nothing."""

    log = -1
    log_start = 0
    last = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def say(self, message: bytes) -> None:
        """Say it to nobody."""

    def receive(self, timeout: float | None = None) -> bytes | None:  # noqa: ARG002
        """Be told nothing."""
        return None


def rehearse(make: Callable[[JobStore], Executor], directory: Path) -> bytes:
    """Have an executor run orders against a store in ``directory``, which is made and removed; return its last report.

    Raises:
        StorageError: there is no room for the store.
    """
    try:
        body, _ = pickling.dump((len, ((),), {}), "a job that does nothing")
        _store(directory).append(1, body)
        store = _store(directory)  # which finds what another has written
        order = encode_order(Order(1, 1, "rehearsal", Blob.of(body, 1), "0-rehearsal.1"))
        executor, channel = make(store), _Nobody(directory)
        return [executor.run(order, channel) for _ in range(_TURNS)][-1]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _store(directory: Path) -> JobStore:
    return JobStore(f"file:{directory}", file.storage(str(directory), durable=False))
