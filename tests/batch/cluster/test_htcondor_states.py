"""What HTCondor's ads mean.

Recorded with 23.9 where it says so; the rest (memory, other hosts, other versions) is made by hand, from the manual's tables of codes.
"""

import logging
from typing import Any

import pytest

from jobsys.batch.cluster import htcondor_states
from jobsys.batch.cluster.htcondor_states import seen
from jobsys.batch.cluster.scheduler import Seen, TaskState
from jobsys.events import Reason

RULE = "The job attribute PeriodicRemove expression '((JobStatus == 1 || …) =?= true' evaluated to TRUE"
BY_USER = "via condor_hold (by user condor-test)"
TRANSFER = "Transfer input files failure at access point vm while sending files to execution point slot1_1@vm."


def ad(status: int, **more: Any) -> dict[str, Any]:
    return {"ClusterId": 2, "ProcId": 1, "ExitBySignal": False, "JobStatus": status, "JobsysAsk": "ask-1", **more}


def started(status: int, **more: Any) -> dict[str, Any]:
    return ad(status, NumShadowStarts=1, NumJobStarts=1, LastRemoteHost="slot1_3@vm", **more)


IN_QUEUE = [
    (ad(1, NumJobStarts=0, LastRejMatchReason="no match found "), Seen(TaskState.QUEUED, message="no match found")),
    (ad(2, NumShadowStarts=1, NumJobStarts=0, RemoteHost="slot1_4@vm"), Seen(TaskState.RUNNING, host="vm")),
    (started(6), Seen(TaskState.RUNNING, message="its output is transferred", host="vm")),
    (started(7, RemoteHost="n7"), Seen(TaskState.RUNNING, message="it is suspended", host="n7")),
    (started(3), Seen(TaskState.RUNNING, message="it is being removed", host="vm")),
    (started(4, ExitCode=0), Seen(TaskState.ENDED, exit_status=0, host="vm")),
]


@pytest.mark.parametrize(("job", "wanted"), IN_QUEUE)
def test_in_the_queue(job: dict[str, Any], wanted: Seen) -> None:
    assert seen(job, ended=False) == wanted


HOLDS = [
    (3, 1, "jobsys: it ran for longer than its walltime", Reason.TIME_LIMIT),  # recorded
    (13, 2, TRANSFER, Reason.LOST),  # recorded
    (1, 0, BY_USER, Reason.CANCELED),  # recorded
    (34, 0, "Error from slot1_1@n7: Job has gone over cgroup memory limit of 128 megabytes.", Reason.MEMORY),
    (21, 102, "memory usage exceeded request_memory", Reason.MEMORY),
    (21, 104, "disk usage exceeded request_disk", Reason.KILLED),
    (46, 0, "The job exceeded allowed job duration of 0+00:01:00", Reason.TIME_LIMIT),
    (47, 0, "The job exceeded allowed execute duration of 0+00:01:00", Reason.TIME_LIMIT),
    (26, 0, "Job used more RSS than it asked for", Reason.MEMORY),
    (26, 0, "Job ran for more than the wall time of this pool", Reason.TIME_LIMIT),
    (26, 0, "The system macro SYSTEM_PERIODIC_HOLD expression 'x' evaluated to TRUE", Reason.KILLED),
    (6, 2, "Error from slot1_1@n7: Failed to execute '/bin/sh': No such file or directory", Reason.LOST),
]


@pytest.mark.parametrize(("code", "subcode", "message", "reason"), HOLDS)
def test_held_and_then_removed_by_the_rule(code: int, subcode: int, message: str, reason: Reason) -> None:
    wanted = Seen(TaskState.ENDED, reason, message=message, host="vm")
    assert seen(started(5, HoldReasonCode=code, HoldReasonSubCode=subcode, HoldReason=message), ended=False) == wanted
    last = {"LastHoldReasonCode": code, "LastHoldReasonSubCode": subcode, "LastHoldReason": message}
    assert seen(started(3, LastJobStatus=5, RemoveReason=RULE, **last), ended=True) == wanted


BY_HAND = [(1, BY_USER), (15, "submitted on hold at user's request"), (16, "Spooling input data files")]


@pytest.mark.parametrize(("code", "message"), BY_HAND)
def test_held_by_hand_before_it_started(code: int, message: str) -> None:
    assert seen(ad(5, HoldReasonCode=code, HoldReason=message), ended=False) == Seen(TaskState.QUEUED, message=message)
    removed = ad(3, LastJobStatus=5, LastHoldReasonCode=code, LastHoldReason=message, RemoveReason="via condor_rm (by user x)")
    assert seen(removed, ended=True) == Seen(TaskState.ENDED, Reason.CANCELED, message="via condor_rm (by user x)")


VACATES = [
    ({"VacateReasonCode": 1004, "VacateReason": "User requested the job to vacate"}, Reason.PREEMPTED, "User requested the job to vacate"),
    ({"VacateReasonCode": 1005, "VacateReason": ""}, Reason.PREEMPTED, "it was evicted"),  # recorded, as is the one above
    ({}, Reason.PREEMPTED, "it was evicted"),  # before 24.0, which has codes
    ({"VacateReasonCode": 1011}, Reason.PREEMPTED, "it was evicted"),
    ({"VacateReasonCode": 1008}, Reason.LOST, "its host failed, or could not start it"),
    ({"VacateReasonCode": 1030, "VacateReason": "no"}, Reason.LOST, "no"),
    ({"NumJobStarts": 0}, Reason.LOST, "its host failed, or could not start it"),
    ({"VacateReasonCode": 34, "VacateReason": "over memory"}, Reason.MEMORY, "over memory"),  # retry_request_memory
]


@pytest.mark.parametrize(("more", "reason", "message"), VACATES)
def test_evicted_and_then_removed_by_the_rule(more: dict[str, Any], reason: Reason, message: str) -> None:
    wanted = Seen(TaskState.ENDED, reason, message=message, host="vm")
    assert seen({**started(1), **more}, ended=False) == wanted
    held_before = {"LastHoldReasonCode": 1, "LastHoldReason": BY_USER}
    assert seen({**started(3, LastJobStatus=1, RemoveReason=RULE, **held_before), **more}, ended=True) == wanted


REMOVALS = [
    ("via condor_rm (by user condor-test)", Reason.CANCELED),
    ("The system macro SYSTEM_PERIODIC_REMOVE expression 'MemoryUsage > 2 * RequestMemory' evaluated to TRUE", Reason.MEMORY),
    ("The system macro SYSTEM_PERIODIC_REMOVE expression 'RemoteWallClockTime > 86400' evaluated to TRUE", Reason.TIME_LIMIT),
    ("The system macro SYSTEM_PERIODIC_REMOVE expression 'NumHolds > 9' evaluated to TRUE", Reason.CANCELED),
]


@pytest.mark.parametrize(("message", "reason"), REMOVALS)
def test_removed(message: str, reason: Reason) -> None:
    job = started(3, LastJobStatus=2, RemoveReason=message)
    assert seen(job, ended=True) == Seen(TaskState.ENDED, reason, message=message, host="vm")


def test_an_exit() -> None:
    assert seen(started(4, ExitCode=3), ended=True) == Seen(TaskState.ENDED, Reason.FAILED, 3, host="vm")
    killed = {**started(4, ExitSignal=9), "ExitBySignal": True}
    assert seen(killed, ended=True) == Seen(TaskState.ENDED, Reason.KILLED, -9, host="vm")


def test_an_unknown_state_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htcondor_states, "_unknown", set())
    with caplog.at_level(logging.WARNING):
        assert [seen(started(8), ended=False).state for _ in range(3)] == [TaskState.RUNNING] * 3
        assert seen(started(8), ended=True) == Seen(TaskState.ENDED, message="in state 8", host="vm")
    assert [record.getMessage() for record in caplog.records] == [
        "HTCondor knows a state of jobs that jobsys does not: 8; it is taken for running"
    ]


def test_what_is_an_expression_is_no_number() -> None:
    assert seen(ad(1, NumShadowStarts="/Expr(1 + 1)/"), ended=False) == Seen(TaskState.QUEUED)
