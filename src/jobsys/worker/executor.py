"""What a worker process needs to run an order, and what it offers to the one who runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Channel(Protocol):
    """The way from a running job to the leader and back."""

    directory: Path  # of this worker process; removed when it ends
    log: int  # descriptor of the file to which descriptors 1 and 2 are opened for appending
    log_start: int  # the file's size when the job began
    last: bool  # this process ends after the order

    def say(self, message: bytes) -> None:
        """Send a message to the leader now."""

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Wait for a message from the leader to this job; None if none came in time."""


class Executor(Protocol):
    """Runs orders, one after the other, in a process forked from the one that made it."""

    def run(self, order: bytes, channel: Channel) -> bytes:
        """Run one order and return the report; an exception of the job belongs into the report."""


class Undelivered(Protocol):
    """An executor that wants to know of reports which the leader will not get."""

    def undelivered(self, report: bytes) -> None:
        """Save what can be saved of a report: the leader has gone."""


class AfterDeath(Protocol):
    """An executor that clears up behind a worker that died in a job."""

    def after_death(self, directory: Path) -> None:
        """Do what the dead worker would have done at the job's end; called in a process of its own, for at most 30 s."""


class Rehearse(Protocol):
    """An executor that makes its forks faster by what it does before."""

    def rehearse(self, directory: Path) -> None:
        """Run orders that nobody has given; called in the host, before it forks a process for each job."""


class Prepare(Protocol):
    """Makes the executor, once in a worker host; what it raises is told to the user."""

    def __call__(self, arguments: Sequence[str]) -> Executor:
        """Load the code that jobs need."""
