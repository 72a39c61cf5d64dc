"""Which job goes to which worker, and when: pure decisions, no processes, no clock.

A *lane* is a worker process and what it holds of the machine while it works. Jobs that ask for the same wait in one queue, a *shape*;
a lane works for one shape at a time. Jobs start in the order of their submission, with one rule against starvation: the oldest job that
does not fit keeps its place free, and nothing younger starts unless it fits beside it.
"""

import heapq
import math
from collections import deque
from collections.abc import Collection, Sequence
from typing import Final

from jobsys.batch.amount import SMALLEST_CORES, Amount, amount_of
from jobsys.batch.base import BatchJob
from jobsys.batch.local.shapes import Lane, Shape, Work
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements

_LOOK_BEHIND: Final = 32  # how many queues behind the one that waits are tried
_SHAPES_MAX: Final = 1_000  # beyond that, those without jobs are forgotten


class Lanes:
    """All lanes of a machine and all jobs that wait for one."""

    def __init__(self, machine: Machine, *, max_lanes: int, ahead: bool = True) -> None:
        """Start with an idle machine; without ``ahead`` every job is sent alone, to a lane of its own that is then closed."""
        self._machine = machine
        self._max_lanes = max_lanes
        self._ahead = ahead
        self.capacity = Amount.of_machine(machine)
        self.free = self.capacity
        self.busy: dict[int, Lane] = {}
        self.idle: list[Lane] = []
        self._devices = list(machine.accelerators)
        self._shapes: dict[tuple[Requirements, bool], Shape] = {}
        self._shapes_max = _SHAPES_MAX
        self._heap: list[tuple[int, int, Shape]] = []  # number of the oldest waiting job, a tie-breaker, its queue
        self._works: dict[int, Work] = {}
        self._count = 0  # of works so far; their numbers are their age
        self._entries = 0
        self._lane_count = 0

    # ── jobs come and go ─────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, job: BatchJob) -> None:
        """Let a job wait."""
        self._count += 1
        shape = self._shape(job.requirements, alone=job.service)
        work = Work(job, shape, self._count)
        self._works[job.id] = work
        shape.waiting.append(work)
        if shape.entry is None:
            self._enqueue(shape)

    def find(self, id: int) -> Work | None:
        """Return a job that waits or was sent."""
        return self._works.get(id)

    def works(self) -> Collection[int]:
        """Return the ids of all jobs that wait or were sent."""
        return self._works.keys()

    def cancel(self, id: int) -> Work | None:
        """Drop a job that waits, or mark one that was sent; None if there is no such job, or it is canceled already."""
        work = self._works.get(id)
        if work is None or work.canceled:
            return None
        work.canceled = True
        if work.lane is None:
            del self._works[id]  # its place in the queue is skipped later
        return work

    def ended(self, lane: Lane, seconds: float | None) -> Work:
        """Take the first job off a lane; ``seconds`` is how long it ran, where that says something about others like it."""
        work = lane.sent.popleft()
        job = work.job
        del self._works[job.id]
        lane.expected -= work.expected
        lane.stuck = False
        if seconds is not None:
            work.shape.learn(job.name, seconds)
        return work

    def given_back(self, lane: Lane, ids: Collection[int]) -> list[Work]:
        """Let jobs wait again that a lane did not begin; return those that were canceled meanwhile."""
        lane.recalled = False
        returned = set(ids)
        back = [work for work in lane.sent if work.job.id in returned]
        lane.sent = deque(work for work in lane.sent if work.job.id not in returned)
        lane.expected = sum(work.expected for work in lane.sent)
        return self._wait_again(back)

    def close(self, lane: Lane) -> list[Work]:
        """Forget a lane whose worker is gone; return the jobs that were canceled, let the others that it had wait again."""
        canceled = self._wait_again(list(lane.sent))
        lane.sent.clear()
        self._release(lane)
        self.idle = [other for other in self.idle if other is not lane]
        return canceled

    def surplus(self, now: float, *, keep: int, seconds: float, most: int) -> list[Lane]:
        """Forget and return the idle lanes that are more than ``most``, or more than ``keep`` and idle for so long."""
        by_age = sorted(self.idle, key=lambda lane: lane.idle_since)
        ended = []
        for left, lane in zip(range(len(by_age), 0, -1), by_age, strict=True):
            if left > most or (left > keep and now - lane.idle_since >= seconds):
                ended.append(lane)
        gone = set(ended)
        self.idle = [lane for lane in self.idle if lane not in gone]
        return ended

    def _wait_again(self, works: Sequence[Work]) -> list[Work]:
        canceled = []
        for work in reversed(works):
            if work.canceled:
                del self._works[work.job.id]
                canceled.append(work)
                continue
            work.lane = None
            work.shape.waiting.appendleft(work)
        for shape in {work.shape for work in works if work.lane is None}:
            self._enqueue(shape)
        return canceled

    def _shape(self, requirements: Requirements, *, alone: bool) -> Shape:
        key = (requirements, alone)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= self._shapes_max:
                self._shapes = {key: shape for key, shape in self._shapes.items() if shape.waiting or shape.lanes}
                self._shapes_max = max(_SHAPES_MAX, 2 * len(self._shapes))
            need = amount_of(requirements, self._machine)
            shape = self._shapes[key] = Shape(need, alone=alone or not self._ahead)
        return shape

    def _enqueue(self, shape: Shape) -> None:
        self._entries += 1
        shape.entry = self._entries
        heapq.heappush(self._heap, (shape.waiting[0].number, self._entries, shape))

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, now: float) -> list[Lane]:
        """Decide what starts or is sent ahead now; return the lanes with something fresh to be sent.

        A lane that has not been seen before needs a worker process.
        """
        for lane in [lane for lane in self.busy.values() if not lane.sent]:
            self._rest(lane, now)
        touched: dict[int, Lane] = {}
        while (shape := self._pop()) is not None:
            limit = self._heap[0][0] if self._heap else math.inf
            served = self._serve(shape, limit, touched)
            if shape.waiting:
                self._enqueue(shape)
            if not served:
                if len(self._heap) > 1:
                    self._serve_beside(shape, touched)
                break
        return list(touched.values())

    def _pop(self) -> Shape | None:
        """Take the queue with the oldest waiting job."""
        while self._heap:
            number, entry, shape = heapq.heappop(self._heap)
            if shape.entry != entry:
                continue  # a later one took its place
            shape.entry = None
            self._skip_canceled(shape)
            if shape.waiting and shape.waiting[0].number > number:
                self._enqueue(shape)
            elif shape.waiting:
                return shape
        return None

    @staticmethod
    def _skip_canceled(shape: Shape) -> None:
        while shape.waiting and shape.waiting[0].canceled:
            shape.waiting.popleft()

    def _serve(self, shape: Shape, limit: float, touched: dict[int, Lane]) -> bool:
        """Start the jobs of a queue that are older than ``limit``; False if one of them finds no place."""
        waiting = shape.waiting
        while waiting and waiting[0].number < limit:
            lane = self._open(shape)
            if lane is not None:
                self._give(lane, waiting.popleft(), touched)
            elif not self._send_ahead(shape, limit, touched, shape.lanes.values()):
                return False
            self._skip_canceled(shape)
        return True

    def _send_ahead(self, shape: Shape, limit: float, touched: dict[int, Lane], lanes: Collection[Lane]) -> bool:
        """Send short jobs behind others of their shape; False if none was sent."""
        if shape.alone:
            return False
        waiting = shape.waiting
        sent = False
        for lane in lanes:
            if not lane.refills():
                continue
            for _ in range(-(-len(waiting) // len(lanes))):  # leave their share to the others
                self._skip_canceled(shape)
                if not waiting or waiting[0].number >= limit:
                    return sent
                expected = shape.expected(waiting[0].job.name)
                if expected is None or not lane.takes(expected):
                    break
                self._give(lane, waiting.popleft(), touched, expected)
                sent = True
        return sent

    def _serve_beside(self, blocked: Shape, touched: dict[int, Lane]) -> None:
        """Start what is younger than the job that waits for a place, as long as it fits beside that place."""
        room = self.capacity.minus(blocked.need)
        kept: dict[Shape, list[Lane]] = {}
        for lane in sorted(self.busy.values(), key=_age):
            if lane.shape is not None and lane.shape.need.fits(room):
                room = room.minus(lane.shape.need)
                kept.setdefault(lane.shape, []).append(lane)
        for shape, lanes in kept.items():
            while shape is not blocked and self._send_ahead(shape, math.inf, touched, lanes):
                pass
        if self.free.cores >= SMALLEST_CORES:
            self._start_beside(blocked, room, touched)

    def _start_beside(self, blocked: Shape, room: Amount, touched: dict[int, Lane]) -> None:
        """Open lanes for what fits into the room beside the job that waits; look at some queues, not at all."""
        tried: list[Shape] = []
        while len(tried) < _LOOK_BEHIND and (shape := self._pop()) is not None:
            tried.append(shape)
            while shape is not blocked and shape.waiting and shape.need.fits(room):
                lane = self._open(shape)
                if lane is None:
                    break
                room = room.minus(shape.need)
                self._give(lane, shape.waiting.popleft(), touched)
                self._skip_canceled(shape)
        for shape in tried:
            if shape.waiting:
                self._enqueue(shape)

    # ── lanes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, shape: Shape) -> Lane | None:
        """Give a shape one more lane, a known worker if there is one; None if the machine has no room for it."""
        need = shape.need
        if not need.fits(self.free) or len(self.busy) >= self._max_lanes:
            return None
        devices = tuple(self._devices[: need.accelerators])
        del self._devices[: need.accelerators]
        lane = self._known(devices)
        if lane is None:
            self._lane_count += 1
            lane = Lane(self._lane_count, devices)
        self.free = self.free.minus(need)
        self.busy[lane.number] = lane
        lane.shape = shape
        shape.lanes[lane.number] = lane
        return lane

    def _known(self, devices: tuple[str, ...]) -> Lane | None:
        """Take the idle lane that worked last, of those whose worker has these accelerators and no others."""
        for index in range(len(self.idle) - 1, -1, -1):
            if self.idle[index].devices == devices:
                return self.idle.pop(index)
        return None

    def _release(self, lane: Lane) -> None:
        """Take from a lane what it holds of the machine."""
        if lane.shape is None:
            return
        self.free = self.free.plus(lane.shape.need)
        self._devices = [device for device in self._machine.accelerators if device in self._devices or device in lane.devices]
        del lane.shape.lanes[lane.number]
        del self.busy[lane.number]
        lane.shape = None

    def _rest(self, lane: Lane, now: float) -> None:
        """Let a lane without jobs be idle."""
        self._release(lane)
        lane.idle_since = now
        lane.expected = 0.0
        if self._ahead:
            self.idle.append(lane)

    @staticmethod
    def _give(lane: Lane, work: Work, touched: dict[int, Lane], expected: float | None = None) -> None:
        if expected is None:
            expected = (work.shape.expected(work.job.name) or 0.0) if not lane.sent else 0.0
        work.lane = lane
        work.expected = expected
        lane.expected += expected
        lane.sent.append(work)
        lane.fresh.append(work)
        touched[lane.number] = lane


def _age(lane: Lane) -> tuple[bool, float, int]:
    """Order lanes by how old the jobs are that wait for them; what runs for ever comes first."""
    shape = lane.shape
    waiting = shape.waiting if shape is not None else ()
    return (shape is not None and not shape.alone, waiting[0].number if waiting else math.inf, lane.number)
