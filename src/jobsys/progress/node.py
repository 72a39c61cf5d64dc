"""What the leader remembers of a job, and what it may be asked to do. Nothing here acts."""

from enum import StrEnum
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


class Node(msgspec.Struct, omit_defaults=True):
    """A job as long as anything may still come of it.

    ``waiting`` counts what must happen before it starts: the release by each predecessor, each value, each ``after``.
    """

    id: int
    name: str
    body: Blob
    requirements: Requirements
    state: State = State.WAITING
    waiting: int = 0
    retries: int | None = None
    failures: int = 0  # charged
    losses: int = 0  # not charged
    refs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()
    service_of: int | None = None
    service_parent: int | None = None
    checkpoint: bool = False
    anchor: int | None = None  # the nearest checkpoint above
    client: int | None = None  # the nearest job above that has services
    children: list[int] = []
    follow_ons: list[int] = []
    services: list[int] = []
    open_children: int = 0
    open_follow_ons: int = 0
    open_services: int = 0
    services_down: int = 0  # services that must still come up before successors start
    value: Blob | None = None
    value_refs: tuple[int, ...] = ()
    value_waiting: int = 0  # values inside the value that are not available yet
    available: bool = False
    dependents: list[int] = []  # jobs that wait for the value; ~n: the value of n does
    waiters: list[int] = []  # jobs that wait for the subtree to finish
    uses: int = 0  # live jobs and values that refer to the value
    held: bool = True  # its references to other values still count as uses
    finished: bool = False
    released: bool = False  # its children were let go
    held_back: list[int] = []  # jobs below that wait until the services are up again
    successors_done: bool = False
    active: int = 0  # of a checkpoint: READY jobs below
    members: list[int] = []  # of a checkpoint: the jobs below
    broken: bool = False  # of a checkpoint: a job below failed for good
    reason: str = ""  # why it failed for good


class Submit(NamedTuple):
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
