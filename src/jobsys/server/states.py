"""The states of a run or a task, and which may follow which: the one table that all writers go by."""

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """What GA4GH's TES 1.1 and WES 1.1 call states; both list the same eleven."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


_S = RunState
TERMINAL: Final = frozenset({_S.COMPLETE, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR, _S.CANCELED})
"""These never change."""
CANCELABLE: Final = frozenset(RunState) - TERMINAL - {_S.CANCELING}
_ENDS: Final = frozenset({_S.COMPLETE, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR})
_NEXT: Final = {
    # to QUEUED again: the worker was lost or preempted, and another attempt is made
    _S.UNKNOWN: frozenset({_S.QUEUED, _S.SYSTEM_ERROR, _S.CANCELING, _S.CANCELED}),
    _S.QUEUED: frozenset({_S.INITIALIZING, _S.SYSTEM_ERROR, _S.CANCELING, _S.CANCELED}),
    _S.INITIALIZING: frozenset({_S.RUNNING, _S.QUEUED, _S.PREEMPTED, _S.CANCELING}) | _ENDS,
    _S.RUNNING: frozenset({_S.PAUSED, _S.QUEUED, _S.PREEMPTED, _S.CANCELING}) | _ENDS,
    _S.PAUSED: frozenset({_S.RUNNING, _S.QUEUED, _S.PREEMPTED, _S.CANCELING}) | _ENDS,
    _S.PREEMPTED: frozenset({_S.QUEUED, _S.SYSTEM_ERROR, _S.CANCELING, _S.CANCELED}),
    _S.CANCELING: frozenset({_S.CANCELED, _S.SYSTEM_ERROR}),
}


def may_follow(before: RunState, after: RunState) -> bool:
    """Tell whether a run may go from one state to another."""
    return after in _NEXT.get(before, frozenset())


def sources(after: RunState) -> frozenset[RunState]:
    """Give the states from which a run may come to this one: what a compare-and-set compares with."""
    return frozenset(before for before, then in _NEXT.items() if after in then)
