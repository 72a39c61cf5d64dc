"""How a run is going, as shown to people and programs: made from the state, knows no terminal."""

from collections.abc import Iterable

import msgspec

from jobsys.events import AttemptFailed
from jobsys.progress import Counts


class RunningStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job that runs now."""

    job: int
    name: str
    attempt: int
    host: str
    since: float  # seconds since the epoch
    pid: int | None = None
    memory: int | None = None
    service: bool = False
    native: str = ""  # what a cluster's scheduler calls the task that it runs in
    queue: str = ""  # of that scheduler

    @property
    def place(self) -> str:
        """Say where it runs: the host, and the task where a scheduler has one."""
        task = f"task {self.native}" + (f" in {self.queue}" if self.queue else "")
        return f"{self.host} ({task})" if self.native else self.host


class FailureStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job that failed for good."""

    job: int
    name: str
    reason: str
    attempts: int
    host: str = ""
    exit_status: int | None = None
    message: str = ""
    traceback: str = ""
    log: str = ""

    def text(self) -> str:
        """Tell it as in an error message, most important first."""
        head = f"job {self.job} ({self.name}) failed"
        if self.reason != "failed":
            head += f": {self.reason}"
        where = [f"on {self.host}"] if self.host else []
        where.append(f"after {self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        if self.exit_status is not None:
            where.append(exit_text(self.exit_status))
        lines = [f"{head} ({', '.join(where)})"]
        if self.message and self.message.strip() not in self.traceback:
            lines.append(_indented(self.message))
        if self.traceback:
            lines.append(_indented(self.traceback.rstrip()))
        if self.log.strip():
            lines.append("  the end of its log:")
            lines.append(_indented(self.log.rstrip(), "  | "))
        return "\n".join(lines)


class RunStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run at one moment."""

    state: str  # running, done, failed, canceled
    counts: Counts
    running: list[RunningStatus] = []
    failures: list[FailureStatus] = []
    failures_omitted: int = 0
    running_count: int = 0
    epoch: int = 0
    host: str = ""
    pid: int = 0
    started: float = 0.0  # of this leader
    updated: float = 0.0
    done_before: int = 0  # jobs that were done when this leader started


def exit_text(status: int) -> str:
    """Say an exit status in words."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def failure_status(failed: AttemptFailed, name: str, attempts: int, log: bytes) -> FailureStatus:
    """Make what is shown of a job's last attempt."""
    return FailureStatus(
        job=failed.job,
        name=name,
        reason=failed.reason,
        attempts=attempts,
        host=failed.host,
        exit_status=failed.exit_status,
        message=failed.message,
        traceback=failed.traceback,
        log=log.decode(errors="replace"),
    )


def tail(text: bytes, lines: int = 20, size: int = 4096) -> bytes:
    """Keep the end of a log."""
    return b"\n".join(text[-size:].split(b"\n")[-lines - 1 :])


def _indented(text: str, margin: str = "  ") -> str:
    return "\n".join(margin + line for line in text.splitlines())


def explain(failures: Iterable[FailureStatus]) -> str:
    """Tell several failures, one below the other."""
    return "\n\n".join(failure.text() for failure in failures)
