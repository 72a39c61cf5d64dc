"""A leader against a batch system that does what the test says."""

from collections import deque
from typing import Any

from jobsys.batch.base import BatchState, BatchSystem, BatchUpdate
from jobsys.errors import RequirementError
from jobsys.events import Policy
from jobsys.jobstores import Lease
from jobsys.journal import pages, replay, take_over
from jobsys.leader import Leader
from jobsys.message import Failure, Report, decode_order, encode_message
from jobsys.record import Blob, JobRecord


class ScriptedBatch(BatchSystem):
    """Hands every order to ``react``, which says what comes of it."""

    def __init__(self, react):
        self.react = react
        self.orders: list[Any] = []
        self.news: deque[BatchUpdate] = deque()
        self.told = []
        self.running_now = {}
        self.stopped = False

    def check(self, requirements):
        if requirements.cores > 8:
            raise RequirementError("8 cores at most")

    def submit(self, jobs):
        for job in jobs:
            order = decode_order(job.order)
            self.orders.append(order)
            self.news.extend(self.react(job, order) or ())

    def updates(self, timeout):
        return [self.news.popleft()] if self.news else []

    def cancel(self, ids):
        raise AssertionError("not used")

    def tell(self, id, message):
        self.told.append((id, message))

    def running(self):
        return self.running_now

    def shutdown(self, *, leave=False):
        self.stopped = True


def done(job: Any, order: Any, value: bytes = b"v", **fields: Any) -> BatchUpdate:
    report = Report(order.job, order.attempt, 1.0, 0.5, token=order.token, host="h", value=Blob.of(value), **fields)
    return BatchUpdate(job.id, BatchState.COMPLETED, encode_message(report, value))


def failed(job, order, reason="failed", log=None, payload=b""):
    report = Report(order.job, order.attempt, 1.0, 0.5, token=order.token, host="h", failure=Failure(reason, "went wrong"), log=log)
    return BatchUpdate(job.id, BatchState.COMPLETED, encode_message(report, payload))


def ended(job, reason, **fields):
    return BatchUpdate(job.id, BatchState.ENDED, reason=reason, host="h", **fields)


def lead(store, react, jobs=("a",), epoch=1, listeners=(), policy=None, **more):
    batch = ScriptedBatch(react)
    lease = Lease(epoch, f"owner{epoch}", "host", 1, 0.0, 0.0)
    progress, last = replay(store)
    started = take_over(store, lease, policy or Policy(backoff=0.0), progress, last)
    leader = Leader(store, lease, started, batch, listeners)
    first = None
    if progress.nodes[0].value is None:
        records = tuple(JobRecord(name, Blob(0, 0, 1)) if isinstance(name, str) else name for name in jobs)
        first = (Report(0, 1, 0.0, 0.0, value=Blob(0, 0, 1), refs=tuple(range(len(records))), jobs=records), b"x")
    leader.start(first, **more)
    return leader, batch


def journaled(store, kind):
    return [event for page in pages(store) for event in page.events if isinstance(event, kind)]
