"""What the leader remembers of a job, and what it may be asked to do. Nothing here acts."""

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec

from jobsys.record import Blob
from jobsys.requirements import Requirements


class State(StrEnum):
    """Where a job stands; SUBMITTED and RUNNING are READY jobs that the batch system has."""

    WAITING = "waiting"
    READY = "ready"
    UP = "up"  # a service that runs beside its clients
    DONE = "done"
    FAILED = "failed"


class Phase(IntEnum):
    """How far a job is with itself and its successors."""

    BODY = 0  # it has not run, or its services are not up yet
    CHILDREN = 1  # its children were let go
    FOLLOW_ONS = 2  # its follow-ons were let go
    SERVICES = 3  # its successors are done, its services stop
    FINISHED = 4  # subtree and all


class Node(msgspec.Struct, omit_defaults=True, gc=False):
    """A job as long as anything may still come of it.

    ``waiting`` counts what must happen before it starts: the release by each predecessor, each value, each ``after``. There may be millions
    of nodes: what is empty is shared, what grows does so by ``grown``, and the garbage collector has nothing to look for in them.
    """

    id: int
    name: str
    body: Blob  # empty: a knot, which is done as soon as it could start, or a job that has run and will not run again
    requirements: Requirements
    state: State = State.WAITING
    phase: Phase = Phase.BODY
    waiting: int = 0
    retries: int | None = None
    failures: int = 0  # charged
    losses: int = 0  # not charged
    reason: str = ""  # why it failed for good
    refs: tuple[int, ...] = ()  # until it has run
    after: tuple[int, ...] = ()  # until it is among their waiters
    parents: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()
    children: Sequence[int] = ()  # until they are let go
    follow_ons: Sequence[int] = ()  # until they are let go
    open_children: int = 0
    open_follow_ons: int = 0
    waiters: Sequence[int] = ()  # jobs that wait for the subtree to finish; ~n: the value of n does

    shares_body: bool = False  # its body lies in one object with those of others, which stays

    value: Blob | None = None
    value_refs: tuple[int, ...] = ()
    value_waiting: int = 0  # values inside the value that are not available yet
    available: bool = False
    dependents: Sequence[int] = ()  # jobs that wait for the value; ~n: the value of n does
    uses: int = 0  # live jobs and values that refer to the value
    holding: bool = True  # its references to other values still count as uses

    service_of: int | None = None
    service_parent: int | None = None  # the service that must be up before this one starts
    services: Sequence[int] = ()
    open_services: int = 0
    services_down: int = 0  # services that must come up, for the first time or again, before successors start
    held_back: Sequence[int] = ()  # of a service: jobs that wait until it is up
    paused: bool = False  # it could run, or runs since the last leader's time, but waits for a service to come up again

    checkpoint: bool = False
    anchor: int | None = None  # the nearest checkpoint above
    active: int = 0  # of a checkpoint: READY jobs below
    members: set[int] | None = None  # of a checkpoint: the jobs below that are remembered
    broken: bool = False  # of a checkpoint: a job below failed for good
    deleted: Sequence[str] = ()  # of a checkpoint: files to delete when it can't run again any more

    @property
    def finished(self) -> bool:
        """Whether it and all that came of it are done."""
        return self.phase is Phase.FINISHED


def grown(known: Sequence[int], one: tuple[int]) -> Sequence[int]:
    """Give a sequence with one more number. As long as that is all there is, it is the given tuple itself, which many may share."""
    if not known:
        return one
    if isinstance(known, list):
        known.append(one[0])
        return known
    return [*known, *one]


class Submit(msgspec.Struct, frozen=True, gc=False):
    """Hand the job to the batch system, after ``delay`` seconds."""

    job: int
    delay: float = 0.0


class StopService(NamedTuple):
    """Tell a running service that nobody needs it any more."""

    job: int


class Discard(NamedTuple):
    """Delete objects that nothing can refer to any more."""

    keys: tuple[str, ...]


Effect = Submit | StopService | Discard


class Counts(msgspec.Struct, frozen=True):
    """How many jobs of a run stand where."""

    total: int
    done: int
    failed: int
    waiting: int
    ready: int
