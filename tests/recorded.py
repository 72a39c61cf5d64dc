"""A run written down by hand: its journal, lease and status, without anything running."""

import os
import socket
import time as clock

import msgspec

from jobsys import journal, processes
from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy, RunCanceled
from jobsys.jobstores import Lease, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.message import Report
from jobsys.progress import Progress
from jobsys.record import SELF, Blob, JobRecord
from jobsys.requirements import Requirements
from jobsys.status import RunningStatus, RunStatus, failure_status

BEGIN = 1_700_000_000.0


def job(name: str, **fields) -> JobRecord:
    """Make a record whose body is not empty."""
    fields.setdefault("body", Blob(0, 0, 1))
    return JobRecord(name, **fields)


def knot(name: str, **fields) -> JobRecord:
    return JobRecord(name, Blob(0, 0, 0), **fields)


class Recorded:
    """Writes events as a leader would."""

    def __init__(self, locator: str, command: tuple[str, ...] = (), directory: str = "", begin: float = BEGIN) -> None:
        self.store = create(locator, StoreInfo(FORMAT, begin, "0.1.0", command=command, directory=directory), durable=False)
        self.locator = self.store.locator
        self.progress = Progress()
        self.now = begin
        self.segment = 1
        self.epoch = 0
        self.failed: dict[int, AttemptFailed] = {}
        self.journal: journal.Journal | None = None
        self.lease: Lease | None = None

    def lead(self, pid: int | None = None, host: str | None = None, policy: Policy | None = None) -> "Recorded":
        """Begin a new leader: by default this very process, which is alive."""
        self.epoch += 1
        pid = os.getpid() if pid is None else pid
        started = processes.started(pid)
        self.lease = Lease(self.epoch, f"owner{self.epoch}", host or socket.gethostname(), pid, started, self.now)
        assert self.store.take_lease(self.lease)
        self.store.beat(self.epoch, 1, clock.time())
        if self.journal is not None:
            self.flush()
        self.journal = journal.Journal(self.store, self.epoch, self.lease.owner, self.segment)
        return self.add(LeaderStarted(self.epoch, self.lease.owner, self.lease.host, pid, self.now, policy or Policy()))

    def add(self, event: Event) -> "Recorded":
        assert self.journal is not None
        self.journal.add(event)
        self.progress.apply(event)
        return self

    def script(self, *records: JobRecord, refs: tuple[int, ...] = (0,)) -> "Recorded":
        """Commit the script's own jobs."""
        return self.commit(0, *records, seconds=0.0, refs=refs)

    def commit(self, number: int, *records: JobRecord, seconds: float = 1.0, log: bytes = b"", at: float | None = None, refs=(), **fields):
        """Commit a job that began ``at`` (by default now) and took ``seconds``."""
        assert self.journal is not None
        started = self.now if at is None else at
        self.now = max(self.now, started + seconds)
        payload = b"v" + log
        place = self.journal.place(payload)
        report = Report(
            job=number,
            attempt=1,
            started=started,
            seconds=seconds,
            cpu=fields.pop("cpu", seconds / 2),
            host=fields.pop("host", "node1"),
            value=Blob(0, 0, 1),
            refs=refs,
            jobs=records,
            log=Blob(0, 1, len(log)) if log else None,
            **fields,
        )
        return self.add(Committed(report, place, self.progress.next_id))

    def fail(self, number: int, reason: str = "failed", log: bytes = b"", seconds: float = 1.0, **fields) -> "Recorded":
        assert self.journal is not None
        self.now += seconds
        place = self.journal.place(log) if log else None
        fields.setdefault("host", "node2")
        event = AttemptFailed(job=number, attempt=1, reason=reason, time=self.now, seconds=seconds, log=place, **fields)
        self.failed[number] = event
        return self.add(event)

    def cancel(self, reason: str = "signal SIGINT") -> "Recorded":
        return self.add(RunCanceled(self.now, reason))

    def flush(self) -> "Recorded":
        assert self.journal is not None
        if self.journal.pending:
            self.journal.flush()
            self.segment = self.journal.segment
        return self

    def status(self, state: str = "running", running: list[RunningStatus] | None = None) -> "Recorded":
        """Show the status of this moment, as the leader does about once a second."""
        assert self.lease is not None
        shown = RunStatus(
            state=state,
            counts=self.progress.counts,
            running=running or [],
            running_count=len(running or []),
            failures=[
                failure_status(self.failed[number], self.progress.nodes[number].name, self.progress.nodes[number].failures, b"last words\n")
                for number in self.progress.failed
            ],
            epoch=self.epoch,
            host=self.lease.host,
            pid=self.lease.pid,
            started=self.lease.time,
            updated=clock.time(),
        )
        self.store.write_status(msgspec.json.encode(shown))
        return self.flush()

    def leave(self) -> "Recorded":
        """Give the lease back."""
        self.flush()
        self.store.beat(self.epoch, 2, clock.time(), released=True)
        return self


def fan(recorded: Recorded, count: int, name: str = "square") -> Recorded:
    """A script that makes ``count`` jobs and one that takes all their values; all done."""
    total = job("total", refs=tuple(range(count)))
    recorded.lead().script(*[job(name, requirements=Requirements(memory=10**9)) for _ in range(count)], total, refs=(count,))
    begin = recorded.now
    for number in range(1, count + 1):
        recorded.commit(number, at=begin + number % 7, seconds=0.5 + number % 5 / 10, memory=10**8 + number)
        if number % 2000 == 0:
            recorded.flush()
    return recorded.commit(count + 1, seconds=2.0, memory=5 * 10**7, log=b"sum\n").status("done").leave()


__all__ = ["BEGIN", "SELF", "Recorded", "fan", "job", "knot"]
