"""The seam between the leader and whatever runs commands on machines.

A batch system sees batch jobs: an id, requirements and an order that is nothing but bytes to it. It never sees the graph.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec

from jobsys.events import Reason as Reason
from jobsys.requirements import Requirements


class BatchState(StrEnum):
    """What a batch system can say of a batch job."""

    RUNNING = "running"  # it began
    MESSAGE = "message"  # its worker says something while it runs (payload)
    COMPLETED = "completed"  # its worker sent the final report (payload)
    ENDED = "ended"  # it ended without a report (reason)
    RETURNED = "returned"  # it was never begun and must be submitted again; nothing is charged


class BatchJob(msgspec.Struct, frozen=True):
    """One attempt, as handed to a batch system."""

    id: int
    name: str
    requirements: Requirements
    order: bytes
    service: bool = False  # runs beside others until told to stop; never queued behind another job of its worker


class BatchUpdate(msgspec.Struct, frozen=True):
    """News about a batch job."""

    id: int
    state: BatchState
    payload: bytes = b""
    host: str = ""
    pid: int | None = None
    reason: Reason | None = None
    exit_status: int | None = None  # negative: the signal's number
    message: str = ""  # for people: what happened and what can be done
    log: bytes = b""  # the tail of what the job printed
    memory: int | None = None  # peak bytes, where known
    limit: int | None = None  # the limit that was in force, for reason MEMORY
    seconds: float | None = None  # it ran, where known


class RunningJob(msgspec.Struct, frozen=True):
    """A batch job that runs now."""

    host: str
    pid: int | None
    since: float  # seconds since the epoch
    memory: int | None = None  # bytes now, where known
    native: str = ""  # what the scheduler of a cluster calls the task that it runs in
    queue: str = ""  # of that scheduler


class BatchSystem(ABC):
    """Runs batch jobs. Called from one thread only."""

    window: int = 4096
    """How many jobs it is given at most before one of them ends: what it can run at once, and as many more as keep it from idling."""
    shared: bool = False
    """Whether jobs may wait for the work of other people to end: that nothing but services runs then tells nothing."""
    enforces: frozenset[str] = frozenset()
    """Which of ``cores memory disk accelerators walltime`` it holds a job to, rather than only counting what was asked for."""

    def adopt(self) -> list[BatchJob]:
        """Take over what an earlier leader of the run had submitted and what may still run; called once, before anything is submitted.

        Gives those jobs, with ids of this leader's that are negative, and their orders as they were; whichever the leader does not want it
        cancels. News of them comes like that of any other.
        """
        return []

    @abstractmethod
    def check(self, requirements: Requirements) -> None:
        """Raise RequirementError, naming the requirement and the largest there is, if no machine here can ever meet it."""

    @abstractmethod
    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; never blocks for one to start."""

    @abstractmethod
    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Collect news in order; wait up to ``timeout`` seconds for the first (None: for ever)."""

    @abstractmethod
    def cancel(self, ids: Collection[int]) -> None:
        """Stop jobs, started or not, with all their processes; each gives one update ENDED, CANCELED."""

    @abstractmethod
    def tell(self, id: int, message: bytes) -> None:
        """Send a message to the worker of a running job; ignored where the job has ended."""

    @abstractmethod
    def running(self) -> Mapping[int, RunningJob]:
        """Tell which jobs run now. Asked every second, for their number and some of them: where many run, a lazy mapping is quicker."""

    @abstractmethod
    def shutdown(self, *, leave: bool = False) -> None:
        """Stop everything; when it returns no process and no queued job is left. Safe to call twice.

        With ``leave`` another leader has come: what it may have adopted goes on, where that is possible.
        """
