"""What HTCondor says of a job, in its queue or its history, as one of our states. Pure."""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from jobsys.batch.cluster.scheduler import Seen, TaskState
from jobsys.events import Reason

logger = logging.getLogger(__name__)

Ad = Mapping[str, Any]
"""A job as HTCondor describes it; what is not there is undefined."""

ATTRIBUTES: Final = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "JobsysAsk",
    "JobsysScript",
    "ExitCode",
    "ExitBySignal",
    "ExitSignal",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "LastHoldReason",
    "LastHoldReasonCode",
    "LastHoldReasonSubCode",
    "LastJobStatus",
    "LastRejMatchReason",
    "LastRemoteHost",
    "NumJobStarts",
    "NumShadowStarts",
    "RemoteHost",
    "RemoveReason",
    "VacateReason",
    "VacateReasonCode",
)
"""What is asked for of a job."""

IDLE, REMOVED, COMPLETED, HELD = 1, 3, 4, 5
RUNS: Final = {2: "", 6: "its output is transferred", 7: "it is suspended"}
BY_HAND: Final = frozenset({1, 15, 16})
"""Codes of a hold that somebody will release: by condor_hold, at the submission, while files are spooled."""
HELD_FOR: Final = {
    (3, 1): Reason.TIME_LIMIT,  # our own periodic_hold
    (21, 102): Reason.MEMORY,  # the host's policy, HOLD_IF_MEMORY_EXCEEDED
    34: Reason.MEMORY,
    46: Reason.TIME_LIMIT,
    47: Reason.TIME_LIMIT,
}
"""By code, or code and subcode."""
BY_POLICY: Final = frozenset({3, 21, 26})
"""Codes of a hold by a rule of the job, the host or the schedd, of which only the text says what it is about."""
NOT_EVICTED: Final = frozenset({1002, 1003, 1006, 1007, 1008, 1012, 1020, 1021, 1024, *range(1026, 1037)})
"""Codes of what went wrong with the host, or on the way to it; the others say that somebody else got it, or that it was shut down."""
MEMORY_CODE: Final = 34
WORDS: Final = (
    (re.compile(r"memory|\bRSS\b", re.IGNORECASE), Reason.MEMORY),
    (re.compile(r"wall ?(clock|time)|run ?time|time limit|too long|duration", re.IGNORECASE), Reason.TIME_LIMIT),
)

_unknown: set[int] = set()


def seen(ad: Ad, ended: bool) -> Seen:
    """Say what a job's ad means, which is from the history if it has ``ended``, else from the queue."""
    status, host = _number(ad, "JobStatus"), _host(ad)
    if status == COMPLETED:
        return _exited(ad, host)
    if status == REMOVED:
        return _removed(ad, host) if ended else Seen(TaskState.RUNNING, message="it is being removed", host=host)
    if status == HELD:
        return _held(ad, host)
    if status == IDLE:
        return _evicted(ad, host) if _number(ad, "NumShadowStarts") else Seen(TaskState.QUEUED, message=_text(ad, "LastRejMatchReason"))
    if status not in RUNS and status not in _unknown:
        _unknown.add(status)
        logger.warning("HTCondor knows a state of jobs that jobsys does not: %s; it is taken for running", status)
    return Seen(TaskState.ENDED if ended else TaskState.RUNNING, message=RUNS.get(status, f"in state {status}"), host=host)


def _exited(ad: Ad, host: str) -> Seen:
    if ad.get("ExitBySignal") is True:
        return Seen(TaskState.ENDED, Reason.KILLED, -_number(ad, "ExitSignal"), host=host)
    status = _number(ad, "ExitCode")
    return Seen(TaskState.ENDED, Reason.FAILED if status else None, status, host=host)


def _held(ad: Ad, host: str) -> Seen:
    """Say why a job was stopped that HTCondor will not go on with; the submission has it removed."""
    last = "" if _number(ad, "HoldReasonCode") else "Last"  # a job that was removed has left its hold
    code, message = _number(ad, f"{last}HoldReasonCode"), _text(ad, f"{last}HoldReason")
    if code in BY_HAND:
        started = _number(ad, "NumShadowStarts") > 0
        return Seen(TaskState.ENDED, Reason.CANCELED, message=message, host=host) if started else Seen(TaskState.QUEUED, message=message)
    reason = HELD_FOR.get((code, _number(ad, f"{last}HoldReasonSubCode"))) or HELD_FOR.get(code)
    if reason is None:
        reason = _reason_in(message, Reason.KILLED) if code in BY_POLICY else Reason.LOST
    return Seen(TaskState.ENDED, reason, message=message, host=host)


def _evicted(ad: Ad, host: str) -> Seen:
    """Say why a job is no longer where it was started; the submission has it neither started again nor kept."""
    code, message = _number(ad, "VacateReasonCode"), _text(ad, "VacateReason")
    if code == MEMORY_CODE:
        return Seen(TaskState.ENDED, Reason.MEMORY, message=message, host=host)
    lost = code in NOT_EVICTED or not _number(ad, "NumJobStarts")
    told = message or ("its host failed, or could not start it" if lost else "it was evicted")
    return Seen(TaskState.ENDED, Reason.LOST if lost else Reason.PREEMPTED, message=told, host=host)


def _removed(ad: Ad, host: str) -> Seen:
    message, before = _text(ad, "RemoveReason"), _number(ad, "LastJobStatus")
    if before == HELD and (held := _held(ad, host)).state is TaskState.ENDED:
        return held
    if before == IDLE and "PeriodicRemove" in message and _number(ad, "NumShadowStarts"):
        return _evicted(ad, host)
    by_policy = "SYSTEM_PERIODIC_REMOVE" in message
    return Seen(TaskState.ENDED, _reason_in(message, Reason.CANCELED) if by_policy else Reason.CANCELED, message=message, host=host)


def _reason_in(message: str, otherwise: Reason) -> Reason:
    return next((reason for pattern, reason in WORDS if pattern.search(message)), otherwise)


def _host(ad: Ad) -> str:
    return (_text(ad, "RemoteHost") or _text(ad, "LastRemoteHost")).rpartition("@")[2]


def _number(ad: Ad, name: str) -> int:
    value = ad.get(name)
    return value if isinstance(value, int) else 0  # an expression comes as text


def _text(ad: Ad, name: str) -> str:
    value = ad.get(name)
    return value.strip() if isinstance(value, str) else ""
