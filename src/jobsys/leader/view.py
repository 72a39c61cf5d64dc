"""What the leader shows of a run: counts, what runs, what failed."""

from itertools import islice
from typing import Final

import msgspec

from jobsys.batch.base import BatchSystem
from jobsys.clock import Clock
from jobsys.events import AttemptFailed
from jobsys.jobstores import JobStore, Lease
from jobsys.leader.attempts import Attempts
from jobsys.progress import Node, Progress
from jobsys.status import FailureStatus, RunningStatus, RunStatus, failure_status, tail

SHOWN_RUNNING: Final = 200
SHOWN_FAILURES: Final = 100


class View:
    """Makes statuses, and keeps the newest in the job store for others to read."""

    def __init__(self, progress: Progress, store: JobStore, lease: Lease, clock: Clock) -> None:
        """Show ``progress``."""
        self._clock = clock
        self._progress = progress
        self._store = store
        self._lease = lease
        self._done_before = progress.counts.done
        self._failures: dict[int, FailureStatus] = {}
        self._saved: RunStatus | None = None

    def failed(self, failed: AttemptFailed, node: Node, log: bytes) -> None:
        """Note that a job failed for good, with what its last attempt printed."""
        self._failures[failed.job] = failure_status(failed, node.name, node.failures + node.losses, tail(log))

    @property
    def failures(self) -> list[FailureStatus]:
        """The jobs that failed for good in this leader's time."""
        return [self._failures[job] for job in self._progress.failed if job in self._failures]

    def status(self, attempts: Attempts, batch: BatchSystem, canceled: str, final: bool) -> RunStatus:
        """Make the status of this moment."""
        count, running = (0, []) if final else self._running(attempts, batch)
        failed = self._progress.failed
        return RunStatus(
            state=self._state(canceled, final),
            counts=self._progress.counts,
            running=running,
            running_count=count,
            failures=self.failures[:SHOWN_FAILURES],
            failures_omitted=max(0, len(failed) - SHOWN_FAILURES),
            epoch=self._lease.epoch,
            host=self._lease.host,
            pid=self._lease.pid,
            started=self._lease.time,
            updated=self._clock.time(),
            done_before=self._done_before,
        )

    def save(self, status: RunStatus) -> None:
        """Keep a status in the store, unless nothing changed but the time."""
        if self._saved is None or msgspec.structs.replace(status, updated=0.0) != msgspec.structs.replace(self._saved, updated=0.0):
            self._store.write_status(msgspec.json.encode(status))
            self._saved = status

    def _state(self, canceled: str, final: bool) -> str:
        if self._progress.finished:
            return "done"
        if not final:
            return "running"
        return "canceled" if canceled else "failed"

    def _running(self, attempts: Attempts, batch: BatchSystem) -> tuple[int, list[RunningStatus]]:
        shown = []
        running = batch.running()
        for id, job in islice(running.items(), SHOWN_RUNNING):
            attempt = attempts.out.get(id)
            if attempt is not None:
                what = (attempt.job, attempt.name, attempt.number)
                shown.append(RunningStatus(*what, job.host, job.since, job.pid, job.memory, attempt.service, job.native, job.queue))
        return len(running), shown
