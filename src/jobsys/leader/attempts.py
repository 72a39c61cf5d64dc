"""Which attempts are out, and the orders they were given."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from jobsys.batch.base import BatchJob
from jobsys.jobstores import Lease
from jobsys.message import Order, attempt_token, encode_order
from jobsys.progress import Node, Progress, State, Submit
from jobsys.record import SELF, Blob
from jobsys.sealing import RunKey

_NEAR_MOST: Final = 8


class Attempt(NamedTuple):
    """One attempt that the batch system has."""

    job: int
    number: int
    token: str
    name: str
    service: bool


class Attempts:
    """Ready jobs on their way to the batch system, and attempts that are out."""

    def __init__(self, progress: Progress, lease: Lease, key: RunKey, recall: Callable[[Blob], bytes]) -> None:
        """Give orders for the jobs of ``progress``.

        Args:
            progress: the run's.
            lease: the leader's.
            key: the run's, of which each order carries one of its own.
            recall: gives what lies at a place, if that is at hand.
        """
        self._recall = recall
        self._progress = progress
        self._lease = lease
        self._key = key
        self._ids = itertools.count(1)
        self._queue: deque[int] = deque()
        self._delayed: list[tuple[float, int]] = []
        self.out: dict[int, Attempt] = {}
        self._by_job: dict[int, int] = {}

    @property
    def waiting(self) -> int:
        """How many ready jobs the batch system does not have yet."""
        return len(self._queue) + len(self._delayed)

    @property
    def queued(self) -> int:
        """How many of these need not wait for a time to come."""
        return len(self._queue)

    def add(self, effect: Submit, now: float) -> None:
        """Take in a job to be submitted."""
        if effect.delay:
            heapq.heappush(self._delayed, (now + effect.delay, effect.job))
        else:
            self._queue.append(effect.job)

    def again(self, id: int) -> None:
        """Take back an attempt that was never begun."""
        attempt = self.take(id)
        if attempt is not None:
            self._queue.appendleft(attempt.job)

    def take(self, id: int) -> Attempt | None:
        """Close an attempt."""
        attempt = self.out.pop(id, None)
        if attempt is not None and self._by_job.get(attempt.job) == id:
            del self._by_job[attempt.job]
        return attempt

    def id_of(self, job: int) -> int | None:
        """Find the attempt of a job that is out."""
        return self._by_job.get(job)

    def next_due(self) -> float | None:
        """Tell when the next delayed job is due."""
        return self._delayed[0][0] if self._delayed else None

    def due(self, now: float, room: int) -> Iterator[Node]:
        """Give up to ``room`` jobs that may be submitted now; one that waits again, for a service that is down, comes again."""
        while self._delayed and self._delayed[0][0] <= now:
            self._queue.append(heapq.heappop(self._delayed)[1])
        ready = self._progress.nodes
        for _ in range(min(room, len(self._queue))):
            node = ready.get(self._queue.popleft())
            if node is not None and node.state is State.READY and node.id not in self._by_job:
                yield node

    def adopt(self, id: int, order: Order) -> None:
        """Take in an attempt of an earlier leader that may still run."""
        self.out[id] = Attempt(order.job, order.attempt, order.token, order.name, order.service)
        self._by_job[order.job] = id

    def order(self, node: Node) -> BatchJob:
        """Open an attempt of a job."""
        id = next(self._ids)
        token = attempt_token(self._lease.epoch, self._lease.owner, id)
        number = node.failures + node.losses + 1
        service = node.service_of is not None
        order = Order(
            job=node.id,
            attempt=number,
            name=node.name,
            body=node.body,
            token=token,
            key=self._key.attempt(node.id, token),
            refs=node.refs,
            values=self._progress.values_for(node.refs) if node.refs else {},
            requirements=node.requirements,
            service=service,
        )
        near = self._near(order)
        if near:
            order = msgspec.structs.replace(order, near=near)
        self.out[id] = Attempt(node.id, number, token, node.name, service)
        self._by_job[node.id] = id
        return BatchJob(id, node.name, node.requirements, encode_order(order), service)

    def _near(self, order: Order) -> dict[int, bytes]:
        """Find what the order names and is at hand, such as the value of the job before: to read it anew takes longer than to send it."""
        if len(order.values) > _NEAR_MOST:
            return {}
        near = {job: data for job, value in order.values.items() if (data := self._recall(value.blob))}
        if body := self._recall(order.body):
            near[SELF] = body
        return near
