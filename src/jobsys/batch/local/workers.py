"""A worker process as the leader sees it: its lane, its socket, its row of shared memory, and the words for what it says."""

import socket
import time
from typing import Final

from jobsys import framing, slots
from jobsys.batch.base import BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.local.link import Link
from jobsys.batch.local.shapes import Lane, Work
from jobsys.framing import Death, header
from jobsys.requirements import Requirements

HOST: Final = socket.gethostname()


class Worker:
    """A worker process, seen from the leader."""

    __slots__ = ("_since", "announced", "lane", "limits", "link", "row", "slot")

    def __init__(self, lane: Lane, link: Link, slot: int, row: slots.Slot) -> None:
        """Join a lane to the process that works for it."""
        self.lane = lane
        self.link = link
        self.slot = slot
        self.row = row
        self.limits: Requirements | None = None  # in force there
        self.announced = False  # its first job was said to run
        self._since = (0, 0.0)  # when a job began by the worker's clock, and by the one on the wall

    def begun(self) -> Work | None:
        """Return the job that the worker runs, or ran when it died."""
        row, sent = self.row, self.lane.sent
        if sent and row[slots.STATE] in (slots.RUNNING, slots.DELIVERING) and sent[0].job.id == row[slots.JOB]:
            return sent[0]
        return None

    def write_orders(self) -> bytes:
        """Write what is fresh on the lane for the worker."""
        fresh = self.lane.fresh
        parts = []
        requirements = fresh[0].job.requirements
        if requirements is not self.limits:
            self.limits = requirements
            parts.append(header(framing.LIMITS, requirements.memory or 0, round((requirements.walltime or 0) * 1000), 0))
        for work in fresh:
            order = work.job.order
            parts += (header(framing.ORDER, work.job.id, 0, len(order)), order)
        fresh.clear()
        return b"".join(parts)

    def runs_since(self) -> RunningJob:
        """Describe the job that runs."""
        row = self.row
        begun, since = self._since
        if begun != row[slots.BEGUN]:  # worked out once a job: a status in which nothing else has changed is not written again
            begun = row[slots.BEGUN]
            since = time.time() - (time.monotonic_ns() - begun) / 1e9
            self._since = (begun, since)
        memory = row[slots.MEMORY] if row[slots.PEAK_JOB] == row[slots.JOB] else 0
        return RunningJob(HOST, row[slots.PID], since, memory or None)

    # ── news ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def running(self, id: int) -> BatchUpdate:
        """Say that a job runs."""
        return BatchUpdate(id, BatchState.RUNNING, b"", HOST, self.row[slots.PID])

    def said(self, id: int, message: bytes) -> BatchUpdate:
        """Hand on what a job said."""
        return BatchUpdate(id, BatchState.MESSAGE, message, HOST, self.row[slots.PID])

    def completed(self, id: int, report: bytes, seconds: float) -> BatchUpdate:
        """Hand on a report, and how long the job ran."""
        row = self.row
        memory = row[slots.PEAK] if row[slots.PEAK_JOB] == id else 0
        return BatchUpdate(id, BatchState.COMPLETED, report, HOST, row[slots.PID], None, None, "", b"", memory or None, None, seconds)

    def failed(self, id: int, text: bytes) -> BatchUpdate:
        """Say that the executor raised."""
        return BatchUpdate(id, BatchState.ENDED, b"", HOST, self.row[slots.PID], Reason.FAILED, None, text.decode(errors="replace"))

    def ended(self, id: int, death: Death) -> BatchUpdate:
        """Say that a job ended because its worker did."""
        reason = Reason(death.reason or Reason.LOST)
        pid = self.row[slots.PID]
        return BatchUpdate(
            id, BatchState.ENDED, b"", HOST, pid, reason, death.exit_status, death.message, death.log, death.memory, death.limit
        )


def canceled(id: int) -> BatchUpdate:
    """Say that a job was canceled."""
    return BatchUpdate(id, BatchState.ENDED, b"", reason=Reason.CANCELED, message="canceled")
