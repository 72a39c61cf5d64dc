"""Which job goes to which host: pure decisions, no connection, no clock.

A job goes to the host with the lowest load of those that can run it, as long as that one has not enough to do already; the rest waits here
in the order in which it came. A host's *load* is how many times over the jobs sent to it fill it, in the respect in which they do most.
"""

import heapq
from collections import deque
from collections.abc import Collection
from itertools import islice
from typing import Final

from jobsys.batch.amount import Amount, amount_of
from jobsys.batch.base import BatchJob
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements

_DEEP: Final = 2.0  # load up to which a host is given jobs: as much again as runs
_FEW: Final = 2.0  # cores' worth of jobs on top, for small hosts
_AHEAD_SECONDS: Final = 0.25  # of work at the rate seen so far: short jobs must not wait for the way there and back
_RATED_SECONDS: Final = 0.25
_LOOK_BEHIND: Final = 100  # how many kinds of jobs that find no place are passed over
_IDLE: Final = 0.99  # load below which a host could run more than it has
_LOOK_BACK: Final = 1_000  # how many jobs of a host are looked at when some are to go elsewhere


class Kind:
    """The jobs that ask for the same, in the order in which they came."""

    __slots__ = ("requirements", "service", "waiting")

    def __init__(self, requirements: Requirements, *, service: bool) -> None:
        """Start with no job."""
        self.requirements = requirements
        self.service = service
        self.waiting: deque[Placed] = deque()

    def oldest(self) -> "Placed | None":
        """Return the oldest job that waits and was not canceled."""
        waiting = self.waiting
        while waiting and waiting[0].canceled:
            waiting.popleft()
        return waiting[0] if waiting else None


class Placed:
    """A job on its way; ``host`` is None as long as it waits."""

    __slots__ = ("canceled", "host", "job", "kind", "number", "recalled")

    def __init__(self, job: BatchJob, kind: Kind, number: int) -> None:
        """Start as a waiting job."""
        self.job = job
        self.kind = kind
        self.number = number
        self.host: Host | None = None
        self.canceled = False
        self.recalled = False  # its host was asked for it


class Host:
    """A host, as far as decisions go."""

    __slots__ = ("_ended", "_rate", "_rated", "capacity", "free", "index", "jobs", "load", "machine", "name")

    def __init__(self, name: str, machine: Machine, index: int) -> None:
        """Start idle."""
        self.name = name
        self.machine = machine
        self.index = index
        self.capacity = self.free = Amount.of_machine(machine)  # free of services, which may never end
        self.load = 0.0
        self.jobs: dict[int, Placed] = {}
        self._ended = 0.0  # load that went since the rate was taken
        self._rate = 0.0  # load that goes a second
        self._rated = 0.0

    def need(self, requirements: Requirements) -> Amount:
        """Tell how much of this host a job holds."""
        return amount_of(requirements, self.machine)

    def can_ever(self, requirements: Requirements) -> bool:
        """Tell whether a job could run here if nothing else did."""
        return self.need(requirements).fits(self.capacity)

    def can_begin(self, requirements: Requirements, room: float) -> bool:
        """Tell whether a job could begin at once, if so much of the host is free."""
        need = self.need(requirements)
        return need.fits(self.free) and self.share(need) <= room + 1.0 - _IDLE

    def has_room(self) -> bool:
        """Tell whether the host should be given more."""
        return self.load < _DEEP + _FEW / max(self.machine.cores, 1.0) + self._rate * _AHEAD_SECONDS

    def share(self, need: Amount) -> float:
        """Tell how much of this host an amount is, in the respect in which it is most."""
        return max(asked / there for asked, there in zip(need, self.capacity, strict=True) if asked and there)

    def take(self, placed: Placed) -> None:
        """Give a job to the host."""
        placed.host = self
        self.jobs[placed.job.id] = placed
        need = self.need(placed.job.requirements)
        self.load += self.share(need)
        if placed.kind.service:
            self.free = self.free.minus(need)

    def give_up(self, placed: Placed) -> None:
        """Take a job that ended, or did not begin, off the host."""
        del self.jobs[placed.job.id]
        need = self.need(placed.job.requirements)
        share = self.share(need)
        if not placed.recalled:
            self._ended += share
        self.load = self.load - share if self.jobs else 0.0  # no rest of rounding stays
        if placed.kind.service:
            self.free = self.free.plus(need)

    def rate(self, now: float) -> None:
        """Note how fast the host works its jobs off."""
        passed = now - self._rated
        if passed >= _RATED_SECONDS:
            self._rate = (self._rate + self._ended / passed) / 2
            self._ended, self._rated = 0.0, now


class Placing:
    """All hosts that are up and all jobs that are on one, or wait for one."""

    def __init__(self) -> None:
        """Start with neither."""
        self.hosts: dict[str, Host] = {}
        self._works: dict[int, Placed] = {}
        self._kinds: dict[tuple[Requirements, bool], Kind] = {}  # those with waiting jobs; each is in one of the queues, once
        self._jobs: list[tuple[int, Kind]] = []  # heaps; the number is that of the kind's oldest waiting job, or of an older one
        self._services: list[tuple[int, Kind]] = []
        self._count = 0

    # ── hosts and jobs come and go ───────────────────────────────────────────────────────────────────────────────────

    def add_host(self, name: str, machine: Machine, index: int) -> None:
        """Use a host; of equal ones, that with the lower index comes first."""
        self.hosts[name] = Host(name, machine, index)

    def remove_host(self, name: str) -> list[Placed]:
        """Use a host no more; return the jobs that it had, and forget them."""
        host = self.hosts.pop(name, None)
        gone = list(host.jobs.values()) if host is not None else []
        for placed in gone:
            del self._works[placed.job.id]
        return gone

    def add(self, job: BatchJob) -> None:
        """Let a job wait."""
        self._count += 1
        kind = self._kind_of(job, self._count)
        placed = self._works[job.id] = Placed(job, kind, self._count)
        kind.waiting.append(placed)

    def returned(self, placed: Placed) -> None:
        """Let a job wait again that its host did not begin."""
        if placed.host is not None:
            placed.host.give_up(placed)
        placed.host, placed.recalled = None, False
        kind = placed.kind = self._kind_of(placed.job, placed.number)
        kind.waiting.appendleft(placed)
        if len(kind.waiting) > 1 and kind.waiting[1].number < placed.number:
            kind.waiting = deque(sorted(kind.waiting, key=lambda waiting: waiting.number))

    def _kind_of(self, job: BatchJob, number: int) -> Kind:
        key = (job.requirements, job.service)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(job.requirements, service=job.service)
            heapq.heappush(self._services if kind.service else self._jobs, (number, kind))
        return kind

    def busy(self) -> bool:
        """Tell whether there are jobs."""
        return bool(self._works)

    def find(self, id: int) -> Placed | None:
        """Return a job that waits or was sent."""
        return self._works.get(id)

    def cancel(self, id: int) -> Placed | None:
        """Drop a job that waits, or mark one that was sent; None if there is no such job, or it is canceled already."""
        placed = self._works.get(id)
        if placed is None or placed.canceled:
            return None
        placed.canceled = True
        if placed.host is None:
            del self._works[id]  # its place in the queue is skipped later
        return placed

    def ended(self, placed: Placed) -> None:
        """Forget a job that was sent and has ended."""
        del self._works[placed.job.id]
        if placed.host is not None:
            placed.host.give_up(placed)

    def wanted(self) -> set[Requirements]:
        """Return what the jobs ask for that wait."""
        return {kind.requirements for kind in self._kinds.values() if kind.oldest() is not None}

    def drop(self, requirements: Requirements) -> list[BatchJob]:
        """Forget the waiting jobs that ask for this; return them."""
        dropped = []
        for service in (False, True):
            kind = self._kinds.get((requirements, service))
            if kind is not None:
                dropped += [placed.job for placed in kind.waiting if not placed.canceled]
                kind.waiting.clear()
        for job in dropped:
            del self._works[job.id]
        return dropped

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, now: float) -> dict[str, list[BatchJob]]:
        """Decide what is sent now: the jobs for each host, services first, else oldest first."""
        for host in self.hosts.values():
            host.rate(now)
        sent: dict[str, list[BatchJob]] = {}
        if self._services:
            self._serve(self._services, set(self.hosts.values()), sent)
        if self._jobs:
            self._serve(self._jobs, {host for host in self.hosts.values() if host.has_room()}, sent)
        return sent

    def _serve(self, queue: list[tuple[int, Kind]], hosts: set[Host], sent: dict[str, list[BatchJob]]) -> None:
        """Send jobs of a queue to hosts, until these have enough."""
        choices: dict[Kind, _Choice] = {}
        blocked: list[tuple[int, Kind]] = []
        while queue and hosts and len(blocked) < _LOOK_BEHIND:
            number, kind = heapq.heappop(queue)
            oldest = kind.oldest()
            if oldest is None:
                del self._kinds[kind.requirements, kind.service]
                continue
            if oldest.number > number:
                heapq.heappush(queue, (oldest.number, kind))
                continue
            choice = choices.get(kind) or choices.setdefault(kind, _Choice(kind, hosts))
            host = choice.best()
            if host is None:
                blocked.append((number, kind))
                continue
            host.take(kind.waiting.popleft())
            sent.setdefault(host.name, []).append(oldest.job)
            if not kind.service and not host.has_room():
                hosts.discard(host)
            heapq.heappush(queue, (number, kind))
        for entry in blocked:
            heapq.heappush(queue, entry)

    def misplaced(self, running: Collection[int]) -> dict[str, list[int]]:
        """Choose jobs that wait on a full host while another one idles that could run them: to be asked back, youngest first."""
        asked: dict[str, list[int]] = {}
        room = {host: 1.0 - host.load for host in self.hosts.values() if host.load < _IDLE}
        full = [host for host in self.hosts.values() if host.load > 1.0]
        for host in sorted(full, key=lambda host: host.load, reverse=True) if room else ():
            surplus = host.load - 1.0
            for placed in islice(reversed(host.jobs.values()), _LOOK_BACK):
                wants = placed.job.requirements
                share = host.share(host.need(wants))
                if share > surplus or not room:
                    break
                if placed.canceled or placed.kind.service or placed.job.id in running:
                    continue
                place = next((other for other in room if other.can_begin(wants, room[other])), None)
                if place is None:
                    continue
                if not placed.recalled:
                    placed.recalled = True
                    asked.setdefault(host.name, []).append(placed.job.id)
                surplus -= share
                room[place] -= place.share(place.need(wants))
                if room[place] <= 1.0 - _IDLE:
                    del room[place]
        return asked


class _Choice:
    """The hosts that one kind of job can go to, the least loaded first. Good for one dispatch, in which loads only grow."""

    def __init__(self, kind: Kind, hosts: Collection[Host]) -> None:
        self._service = kind.service
        needs = ((host, host.need(kind.requirements)) for host in hosts)
        self._heap = [(host.load, host.index, host, need) for host, need in needs if need.fits(host.free)]
        heapq.heapify(self._heap)

    def best(self) -> Host | None:
        """Return the host for the next job; None if it has to wait."""
        heap = self._heap
        while heap:
            load, index, host, need = heap[0]
            if host.load > load:
                heapq.heapreplace(heap, (host.load, index, host, need))
            elif need.fits(host.free) and (self._service or host.has_room()):
                return host
            else:
                heapq.heappop(heap)
        return None
