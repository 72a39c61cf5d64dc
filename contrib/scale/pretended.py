"""A batch system of many simulated hosts. It runs nothing: what a job would do, and how long that takes, its worker says.

Each job gets one core. Jobs begin when a core is free, or wait in a queue that holds so many; news are there when the system is
asked the next time, which happens in cycles, as when ``squeue`` or a watch of pods is read. Hosts die, with all that runs on them, and
come back empty.
"""

import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

from clock import BEGIN, SimulatedClock
from watch import SIMULATION, Watch

from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, Reason, RunningJob
from jobsys.errors import RequirementError
from jobsys.requirements import Requirements


class Worker(Protocol):
    """What makes jobs out of orders, and reports out of jobs."""

    def accept(self, job: BatchJob) -> Any:
        """Keep of an order what its report will need."""

    def begin(self, work: Any) -> tuple[float | None, Sequence[bytes]]:
        """Give the seconds that it takes, None until it is told to end, and what it says at its beginning."""

    def report(self, work: Any, host: str, began: float, seconds: float) -> bytes:
        """Make its report; raises where a worker would fail."""

    def told(self, work: Any, message: bytes) -> tuple[bool, Sequence[bytes]]:
        """Hear a message while it runs; give whether that ends it, and what it says to that."""


@dataclass(frozen=True)
class Size:
    """How large a cluster is, and how reliable."""

    hosts: int = 10_000
    cores: int = 32  # a host
    queue: int = 10_000  # jobs that wait for a core at most
    cycle: float = 1.0  # seconds between two looks
    lifetime: float = float("inf")  # seconds after which a host dies, on average
    repair: float = 600.0  # seconds for which it stays away

    @property
    def slots(self) -> int:
        return self.hosts * self.cores


_Run = tuple[Any, int, int, float]
"""The work, its host, its core, since when: a plain tuple, which the garbage collector soon leaves alone."""


class _Running(Mapping[int, RunningJob]):
    """What runs, made to be shown only when somebody looks at it."""

    def __init__(self, out: Mapping[int, _Run]) -> None:
        self._out = out

    def __len__(self) -> int:
        return len(self._out)

    def __iter__(self) -> Iterator[int]:
        return iter(self._out)

    def __getitem__(self, id: int) -> RunningJob:
        _, host, _, since = self._out[id]
        return RunningJob(f"host{host:05d}", 1, BEGIN + since)


class Cluster(BatchSystem):
    """Simulated hosts on a simulated clock."""

    def __init__(self, size: Size, worker: Worker, clock: SimulatedClock, random: Random, watch: Watch | None = None) -> None:
        self.size, self.window = size, size.slots + size.queue
        self.worked = 0.0  # seconds, of all cores together, of jobs that came to an end
        self.lost = self.begun = self.most = 0
        self.ordered = self.reported = 0  # bytes
        self.spent: Callable[[], float] = lambda: 0.0  # seconds that the leader has needed since it was asked last
        self._worker, self._clock, self._random, self._watch = worker, clock, random, watch or Watch()
        self._queue: deque[tuple[int, Any]] = deque()
        self._out: dict[int, _Run] = {}
        self._on: dict[int, set[int]] = defaultdict(set)  # the jobs of a host
        self._free = list(range(size.slots - 1, -1, -1))  # a core: its place in all lives of all hosts
        self._life = [0] * size.hosts
        self._due: dict[int, list[int]] = {}  # jobs by the cycle in which they are seen to have ended
        self._cycles: list[int] = []  # a heap of those
        self._repaired: deque[tuple[float, int]] = deque()
        self._next_death = self._lifetime()
        self._news: list[BatchUpdate] = []

    # -- what a batch system does ------------------------------------------------------------------------------

    def check(self, requirements: Requirements) -> None:
        if requirements.cores > 1:
            raise RequirementError(f"cores: {requirements.cores:g} asked for, and each job here gets 1")

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        with self._watch.on(SIMULATION):
            for job in jobs:
                if len(self._queue) + len(self._out) >= self.window:
                    self._news.append(BatchUpdate(job.id, BatchState.RETURNED))
                else:
                    self.ordered += len(job.order)
                    self._queue.append((job.id, self._worker.accept(job)))
            self._begin()
            self.most = max(self.most, len(self._out) + len(self._queue))

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        with self._watch.on(SIMULATION):
            self._clock.now += self.spent()
            until = float("inf") if timeout is None else self._clock.now + timeout
            self._pass(self._clock.now)
            while not self._news and (due := self._next()) <= until and due < float("inf"):
                self._clock.now = max(self._clock.now, due)
                self._pass(due)
            if not self._news and timeout is not None:
                self._clock.now = until
            news, self._news = self._news, []
            return news

    def cancel(self, ids: Collection[int]) -> None:
        waiting = {id for id, _ in self._queue if id in ids}
        self._queue = deque(entry for entry in self._queue if entry[0] not in waiting)
        for id in [*waiting, *(id for id in ids if id in self._out)]:
            if id in self._out:
                self._leave(id)
            self._news.append(BatchUpdate(id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled"))
        self._begin()

    def tell(self, id: int, message: bytes) -> None:
        run = self._out.get(id)
        if run is not None:
            over, said = self._worker.told(run[0], message)
            self._say(id, said)
            if over:
                self._end(id)

    def running(self) -> Mapping[int, RunningJob]:
        return _Running(self._out)

    def shutdown(self, *, leave: bool = False) -> None:
        for held in (self._queue, self._out, self._on, self._due, self._cycles, self._news):
            held.clear()

    # -- time --------------------------------------------------------------------------------------------------

    def _next(self) -> float:
        """Tell when something happens that can be seen."""
        cycle = self._cycles[0] * self.size.cycle if self._cycles else float("inf")
        if not self._out and not self._queue:
            return cycle
        return min(cycle, self._next_death, self._repaired[0][0] if self._repaired else float("inf"))

    def _pass(self, now: float) -> None:
        """Let happen what happens up to a time."""
        while self._next_death <= now:
            self._die(self._random.randrange(self.size.hosts), self._next_death)
            self._next_death += self._lifetime()
        while self._repaired and self._repaired[0][0] <= now:
            self._revive(self._repaired.popleft()[1])
        while self._cycles and self._cycles[0] * self.size.cycle <= now:
            for id in self._due.pop(heappop(self._cycles)):
                if id in self._out:
                    self._end(id)
        self._begin()

    def _lifetime(self) -> float:
        rate = self.size.hosts / self.size.lifetime
        return self._random.expovariate(rate) if rate else float("inf")

    # -- jobs --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        now, cycle, queue, free = self._clock.now, self.size.cycle, self._queue, self._free
        while queue and free:
            slot = free.pop()
            life, core = divmod(slot, self.size.slots)
            host = core // self.size.cores
            if life != self._life[host]:
                continue
            id, work = queue.popleft()
            self._out[id] = (work, host, slot, now)
            self._on[host].add(id)
            self.begun += 1
            seconds, said = self._worker.begin(work)
            self._say(id, said)
            if seconds is not None:
                seen = int((now + seconds) / cycle) + 1
                if seen not in self._due:
                    self._due[seen] = []
                    heappush(self._cycles, seen)
                self._due[seen].append(id)

    def _leave(self, id: int) -> _Run:
        run = self._out.pop(id)
        _, host, slot, _ = run
        self._on[host].discard(id)
        self._free.append(slot)
        return run

    def _end(self, id: int) -> None:
        work, number, _, since = self._leave(id)
        host, seconds = f"host{number:05d}", self._clock.now - since
        self.worked += seconds
        try:
            report = self._worker.report(work, host, BEGIN + since, seconds)
        except Exception:  # noqa: BLE001 - as around the code of a user
            self._news.append(BatchUpdate(id, BatchState.ENDED, host=host, reason=Reason.FAILED, message=traceback.format_exc()))
        else:
            self.reported += len(report)
            self._news.append(BatchUpdate(id, BatchState.COMPLETED, report, host))

    def _say(self, id: int, said: Sequence[bytes]) -> None:
        self._news += [BatchUpdate(id, BatchState.MESSAGE, message) for message in said]

    # -- hosts -------------------------------------------------------------------------------------------------

    def _die(self, host: int, when: float) -> None:
        if any(away == host for _, away in self._repaired):
            return
        lost = self._on.pop(host, set())
        for id in lost:
            del self._out[id]
            self._news.append(BatchUpdate(id, BatchState.ENDED, host=f"host{host:05d}", reason=Reason.LOST, message="its host died"))
        self.lost += len(lost)
        self._life[host] += 1  # its cores of before are none any more
        self._repaired.append((when + self.size.repair, host))

    def _revive(self, host: int) -> None:
        first = self._life[host] * self.size.slots + host * self.size.cores
        self._free += range(first, first + self.size.cores)
