"""The words for what happened: frozen, storable, in the order of the journal. What is not an event did not happen."""

from enum import StrEnum

import msgspec

from jobsys.message import Report
from jobsys.record import Blob
from jobsys.requirements import Requirements


class Reason(StrEnum):
    """Why an attempt ended without a commit."""

    FAILED = "failed"  # the job's own code raised, or exited
    MEMORY = "memory"  # it used more memory than it asked for
    TIME_LIMIT = "time limit"
    PREEMPTED = "preempted"
    LOST = "lost"  # the batch system no longer knows it, or its host is gone
    KILLED = "killed"  # a signal that jobsys did not send
    CANCELED = "canceled"


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to do about failures; fixed by the leader that starts or resumes a run."""

    retries: int = 1
    backoff: float = 1.0  # seconds before the first retry
    backoff_factor: float = 2.0
    max_backoff: float = 300.0
    max_losses: int = 20  # attempts lost or preempted before a job counts as failed
    memory_factor: float = 2.0
    max_memory: int | None = None  # bytes; how far a job that ran out of memory may grow
    default_memory: int | None = None  # bytes; of jobs that don't say, as are the next two
    default_disk: int | None = None  # bytes
    default_walltime: float | None = None  # seconds

    def complete(self, asked: Requirements) -> Requirements:
        """Fill in what a job does not say."""
        if self.default_memory is self.default_disk is self.default_walltime is None:
            return asked
        return msgspec.structs.replace(
            asked,
            memory=self.default_memory if asked.memory is None else asked.memory,
            disk=self.default_disk if asked.disk is None else asked.disk,
            walltime=self.default_walltime if asked.walltime is None else asked.walltime,
        )


class LeaderStarted(msgspec.Struct, frozen=True, tag="leader", omit_defaults=True):
    """A leader took the run over; also the fence: nothing of an earlier epoch may follow."""

    epoch: int
    owner: str
    host: str
    pid: int
    time: float
    policy: Policy


class Committed(msgspec.Struct, frozen=True, tag="commit", omit_defaults=True):
    """An attempt's commit was accepted; its new jobs are numbered from ``first`` on."""

    report: Report
    payload: Blob
    first: int


class AttemptFailed(msgspec.Struct, frozen=True, tag="failed", omit_defaults=True):
    """An attempt ended without a commit; says what is done about it."""

    job: int
    attempt: int
    reason: str
    time: float
    token: str = ""  # of the attempt: a commit under it comes too late
    host: str = ""
    exit_status: int | None = None
    message: str = ""
    traceback: str = ""
    log: Blob | None = None
    seconds: float = 0.0
    memory: int | None = None
    charged: bool = True
    retry: bool = False
    delay: float = 0.0
    requirements: Requirements | None = None  # what the next attempt asks for, where that changes


class ServiceUp(msgspec.Struct, frozen=True, tag="service", omit_defaults=True):
    """A service started; its clients may have its value."""

    job: int
    value: Blob
    refs: tuple[int, ...] = ()


class RunCanceled(msgspec.Struct, frozen=True, tag="canceled", omit_defaults=True):
    """A person or a signal stopped the run; it can be resumed."""

    time: float
    reason: str


Event = LeaderStarted | Committed | AttemptFailed | ServiceUp | RunCanceled
