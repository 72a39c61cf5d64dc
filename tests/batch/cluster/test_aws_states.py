"""What AWS Batch says of jobs; the answers are made by hand after its documentation, for nobody has run it."""

import pytest

from jobsys.batch.cluster import aws_states as states
from jobsys.batch.cluster.scheduler import Seen, TaskState
from jobsys.events import Reason

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/spot"


def job(status="FAILED", **more):
    return {"jobId": "j", "jobQueue": QUEUE, "status": status, **more}


@pytest.mark.parametrize(
    ("more", "reason", "status"),
    [
        ({"statusReason": "Host EC2 (instance i-0abc) terminated."}, Reason.PREEMPTED, None),
        ({"statusReason": "Host EC2 agent disconnected"}, Reason.LOST, None),
        (
            {
                "statusReason": "Essential container in task exited",
                "container": {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
            },
            Reason.MEMORY,
            -9,
        ),
        ({"statusReason": "Job attempt duration exceeded timeout", "container": {"exitCode": 137}}, Reason.TIME_LIMIT, -9),
        ({"statusReason": "canceled by jobsys", "isTerminated": True, "container": {"exitCode": 143}}, Reason.CANCELED, -15),
        ({"statusReason": "by hand", "isCancelled": True}, Reason.CANCELED, None),
        ({"statusReason": "Essential container in task exited", "container": {"exitCode": 3}}, Reason.FAILED, 3),
        ({"statusReason": "Essential container in task exited", "container": {"exitCode": 200}}, Reason.FAILED, 200),
        ({"statusReason": "Essential container in task exited", "container": {"exitCode": 139}}, Reason.KILLED, -11),
        ({"statusReason": "Task failed to start", "container": {"reason": "CannotPullContainerError: x"}}, Reason.FAILED, None),
    ],
)
def test_failures(more, reason, status):
    seen = states.job_seen(job(**more))
    assert (seen.state, seen.reason, seen.exit_status, seen.queue) == (TaskState.ENDED, reason, status, "spot")
    assert seen.message.startswith(more["statusReason"])


@pytest.mark.parametrize("status", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING"])
def test_waiting(status):
    why = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
    assert states.job_seen(job(status, statusReason=why)) == Seen(TaskState.QUEUED, message=why, queue="spot")


def test_an_unknown_status_is_told_once(caplog):
    states._told.clear()
    assert [states.job_seen(job("DREAMING")).state for _ in range(2)] == [TaskState.QUEUED] * 2
    assert len([text for text in caplog.messages if "DREAMING" in text]) == 1


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"RUNNABLE": 3, "STARTING": 1, "RUNNING": 0}, TaskState.QUEUED),
        ({"SUCCEEDED": 4, "RUNNABLE": 0}, TaskState.ENDED),
        ({"SUCCEEDED": 3, "FAILED": 1}, None),
        ({"RUNNABLE": 3, "RUNNING": 1}, None),
        ({"RUNNABLE": 3}, None),
        ({}, None),
    ],
)
def test_tasks_that_are_all_alike(counts, state):
    seen = states.all_in(job("PENDING", arrayProperties={"size": 4, "statusSummary": counts}))
    assert (seen and seen.state) == state


@pytest.mark.parametrize(
    ("status", "counts", "over"),
    [
        ("FAILED", {"SUCCEEDED": 3, "FAILED": 1}, True),
        ("FAILED", {"RUNNING": 3, "FAILED": 1}, False),
        ("PENDING", {"SUCCEEDED": 4}, False),
    ],
)
def test_whether_an_array_is_over(status, counts, over):
    assert states.is_over(job(status, arrayProperties={"size": 4, "statusSummary": counts})) is over
    assert states.is_over(job(status)) is (status == "FAILED")
