"""What AWS Batch says of jobs, in our words: tables and pure functions."""

from typing import Any, Final

from jobsys.batch.cluster.scheduler import Seen, TaskState
from jobsys.events import Reason
from jobsys.late import Logger

Json = dict[str, Any]

logger = Logger(__name__)

STATES: Final = {
    "SUBMITTED": TaskState.QUEUED,
    "PENDING": TaskState.QUEUED,
    "RUNNABLE": TaskState.QUEUED,
    "STARTING": TaskState.QUEUED,
    "RUNNING": TaskState.RUNNING,
    "SUCCEEDED": TaskState.ENDED,
    "FAILED": TaskState.ENDED,
}
REASONS: Final = (
    ("OutOfMemoryError", Reason.MEMORY),
    ("Job attempt duration exceeded timeout", Reason.TIME_LIMIT),
    ("Host EC2", Reason.PREEMPTED),  # "Host EC2 (instance i-…) terminated.": a spot instance that was taken back, or one that broke
    ("Spot Task was interrupted", Reason.PREEMPTED),
    ("Host EC2 agent disconnected", Reason.LOST),
)
"""What is in the reason of a job or its container, and what that means; the longest that is there counts."""
_SIGNALS: Final = 31
_told: set[str] = set()


def job_seen(job: Json) -> Seen:
    """Tell what is with a task by what `describe_jobs` says of it."""
    status = str(job.get("status", ""))
    state = STATES.get(status)
    container = job.get("container") or {}
    message = " ".join(filter(None, (str(job.get("statusReason") or ""), str(container.get("reason") or ""))))
    queue = str(job.get("jobQueue") or "").rpartition("/")[2]
    if state is None:
        if status not in _told:
            _told.add(status)
            logger.warning("AWS Batch says %r of a job, which jobsys does not know: it is taken for one that waits", status)
        state = TaskState.QUEUED
    if state is not TaskState.ENDED:
        return Seen(state, message=message, queue=queue)
    exit_status = _exit_status(container.get("exitCode"))
    if status == "SUCCEEDED":
        return Seen(state, exit_status=exit_status, queue=queue)
    return Seen(state, _reason(job, message, exit_status), exit_status, message, queue=queue)


def _reason(job: Json, message: str, exit_status: int | None) -> Reason:
    if job.get("isCancelled") or job.get("isTerminated"):
        return Reason.CANCELED
    known = [(len(words), reason) for words, reason in REASONS if words in message]
    if known:
        return max(known, key=lambda pair: pair[0])[1]
    return Reason.KILLED if exit_status is not None and exit_status < 0 else Reason.FAILED


def _exit_status(code: object) -> int | None:
    """Give the exit status, or the signal, which a container tells as 128 more."""
    if not isinstance(code, int):
        return None
    return 128 - code if 128 < code <= 128 + _SIGNALS else code


def all_in(job: Json) -> Seen | None:
    """Tell what is with all tasks of an array by its own description, if all wait or all are done with."""
    array = job.get("arrayProperties") or {}
    size, counts = int(array.get("size") or 0), {name: count for name, count in (array.get("statusSummary") or {}).items() if count}
    if not counts or sum(counts.values()) != size:
        return None
    queue = str(job.get("jobQueue") or "").rpartition("/")[2]
    if set(counts) == {"SUCCEEDED"}:
        return Seen(TaskState.ENDED, exit_status=0, queue=queue)
    waits = all(STATES.get(name) is TaskState.QUEUED for name in counts)
    return Seen(TaskState.QUEUED, message=str(job.get("statusReason") or ""), queue=queue) if waits else None


def is_over(job: Json) -> bool:
    """Tell whether nothing of a job, or of an array, goes on."""
    array = job.get("arrayProperties") or {}
    counts, size = array.get("statusSummary") or {}, int(array.get("size") or 0)
    ended = sum(count for name, count in counts.items() if STATES.get(name) is TaskState.ENDED)
    return STATES.get(str(job.get("status"))) is TaskState.ENDED and ended >= size
