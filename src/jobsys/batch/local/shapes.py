"""What the decisions of the local batch system are about: jobs on their way, the queues in which they wait, the lanes that take them."""

from collections import deque
from typing import Final

from jobsys.batch.amount import Amount
from jobsys.batch.base import BatchJob

AHEAD_SECONDS: Final = 0.02  # how much work a lane is given in advance
AHEAD_JOBS: Final = 256
_NAMES_MAX: Final = 10_000


class Shape:
    """The jobs that ask for the same, in the order in which they came."""

    __slots__ = ("alone", "entry", "lanes", "need", "seconds", "waiting")

    def __init__(self, need: Amount, *, alone: bool) -> None:
        """Start with no job."""
        self.need = need
        self.alone = alone  # never send a second job to a lane of these
        self.waiting: deque[Work] = deque()
        self.entry: int | None = None  # the one that counts, of its entries in the heap of the queues that wait
        self.lanes: dict[int, Lane] = {}
        self.seconds: dict[str, float] = {}  # mean run time by the jobs' name; "" for all

    def expected(self, name: str) -> float | None:
        """Tell how long a job will probably run; None if none like it has run."""
        found = self.seconds.get(name)
        return self.seconds.get("") if found is None else found

    def learn(self, name: str, seconds: float) -> None:
        """Take note of how long a job ran."""
        table = self.seconds
        for key in (name, ""):
            known = table.get(key)
            if known is not None:
                table[key] = known + 0.2 * (seconds - known)
            elif len(table) < _NAMES_MAX or not key:
                table[key] = seconds


class Work:
    """A job on its way."""

    __slots__ = ("canceled", "expected", "job", "lane", "number", "shape")

    def __init__(self, job: BatchJob, shape: Shape, number: int) -> None:
        """Start as a waiting job."""
        self.job = job
        self.shape = shape
        self.number = number
        self.lane: Lane | None = None  # None: it waits
        self.expected = 0.0
        self.canceled = False


class Lane:
    """A worker process, as far as decisions go. ``fresh`` is what is to be sent to it now."""

    __slots__ = ("devices", "expected", "fresh", "idle_since", "number", "recalled", "sent", "shape", "stuck")

    def __init__(self, number: int, devices: tuple[str, ...]) -> None:
        """Start idle."""
        self.number = number
        self.devices = devices
        self.shape: Shape | None = None  # None: idle
        self.sent: deque[Work] = deque()
        self.fresh: list[Work] = []
        self.expected = 0.0  # seconds of work sent
        self.stuck = False  # its first job takes long: nothing is sent behind it
        self.recalled = False
        self.idle_since = 0.0

    def refills(self) -> bool:
        """Tell whether the lane has worked off enough to be given more in advance."""
        return not self.stuck and len(self.sent) <= AHEAD_JOBS // 2 and self.expected <= AHEAD_SECONDS / 2

    def takes(self, expected: float | None) -> bool:
        """Tell whether one more job may be sent behind those that are there."""
        return expected is not None and len(self.sent) < AHEAD_JOBS and self.expected + expected <= AHEAD_SECONDS
