"""What pods and Jobs say. Pods of 1.20 were recorded from the real thing; newer ones and lost hosts are made by hand."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster import kube_states as states
from jobsys.batch.cluster.kube_objects import NUMBER
from jobsys.batch.cluster.scheduler import Seen, TaskId, TaskState, ranges
from jobsys.events import Reason

RECORDED = json.loads((Path(__file__).parent / "kube_pods_1_20.json").read_text())
NOW = states.seconds_of("2026-11-28T11:49:20Z")
ENDED, RUNNING, QUEUED = TaskState.ENDED, TaskState.RUNNING, TaskState.QUEUED


def made(phase="Failed", **status):
    return {"metadata": {"labels": {}}, "spec": {"nodeName": "n1"}, "status": {"phase": phase, **status}}


def terminated(code, reason="Error", **more):
    return [{"name": "task", "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}]


@pytest.mark.parametrize(
    ("name", "state", "reason", "status", "message"),
    [
        ("succeeded", ENDED, None, 0, ""),
        ("failed", ENDED, Reason.FAILED, 3, "last words\n"),
        ("killed", ENDED, Reason.KILLED, -9, "Error"),
        ("memory", ENDED, Reason.MEMORY, -9, "OOMKilled"),
        ("deadline", ENDED, Reason.TIME_LIMIT, -15, "DeadlineExceeded: Pod was active on the node longer than the specified deadline"),
        ("running", RUNNING, None, None, ""),
        ("deleted", RUNNING, None, None, ""),
        ("image", QUEUED, None, None, None),
        ("unschedulable", QUEUED, None, None, "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity."),
    ],
)
def test_recorded(name, state, reason, status, message):
    seen = states.sight(RECORDED[name]).at(NOW)
    assert (seen.state, seen.reason, seen.exit_status) == (state, reason, status)
    assert seen.host == ("" if name == "unschedulable" else "localhost")
    assert message is None or seen.message == message
    task = states.task_of(RECORDED[name])
    assert task is not None
    assert task.number == 0
    assert RECORDED[name]["metadata"]["name"] == f"{task.native}-0"


def test_why_recorded_pods_wait():
    image, host = (states.waiting(RECORDED[name]["status"]) for name in ("image", "unschedulable"))
    assert image is not None
    assert host is not None
    assert not image.unschedulable
    assert "localhost/nowhere:none" in image.message
    assert host.unschedulable
    assert 0 < NOW - host.since < 60
    assert 0 < NOW - image.since < 60
    assert states.waiting(RECORDED["running"]["status"]) is None


@pytest.mark.parametrize(
    ("status", "reason", "exit_status"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory. "}, Reason.PREEMPTED, None),
        (
            {"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "},
            Reason.FAILED,
            None,
        ),
        ({"reason": "Evicted", "message": 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". '}, Reason.FAILED, None),
        ({"reason": "NodeLost", "message": "Node n1 which was running pod is unresponsive"}, Reason.LOST, None),
        ({"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}, Reason.PREEMPTED, None),
        ({"reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"}, Reason.LOST, None),
        ({"containerStatuses": terminated(137, "ContainerStatusUnknown")}, Reason.LOST, -9),
        ({"containerStatuses": terminated(128, "StartError", message="exec: /bin/sh: no such file")}, Reason.FAILED, 128),
        ({"containerStatuses": terminated(255)}, Reason.FAILED, 255),
        ({"containerStatuses": terminated(160)}, Reason.FAILED, 160),
        ({"containerStatuses": terminated(139)}, Reason.KILLED, -11),
        ({"containerStatuses": terminated(0, "Completed", signal=15)}, Reason.KILLED, -15),
        ({}, Reason.LOST, None),
    ],
)
def test_failures(status, reason, exit_status):
    seen = states.sight(made(**status)).at(NOW)
    assert (seen.state, seen.reason, seen.exit_status, seen.host) == (ENDED, reason, exit_status, "n1")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("PreemptionByScheduler", Reason.PREEMPTED),
        ("EvictionByEvictionAPI", Reason.PREEMPTED),
        ("TerminationByKubelet", Reason.PREEMPTED),
        ("DeletionByTaintManager", Reason.LOST),
        ("DeletionByPodGC", Reason.LOST),
    ],
)
def test_disruptions(word, reason):
    condition = {"type": "DisruptionTarget", "status": "True", "reason": word, "message": "since"}
    seen = states.sight(made(conditions=[condition], containerStatuses=terminated(143))).at(NOW)
    assert (seen.reason, seen.message) == (reason, f"{word}: since")


def test_a_disrupted_pod_that_ended_in_order_when_it_was_told_to():
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "since"}
    seen = states.sight(made("Succeeded", conditions=[condition], containerStatuses=terminated(0))).at(NOW)
    assert (seen.state, seen.reason, seen.exit_status) == (ENDED, Reason.PREEMPTED, 0)
    tell = states.job_seen({"spec": {"completions": 2}, "status": {"completedIndexes": "0-1"}})
    assert tell(0, seen) is seen
    assert tell(1, None) == Seen(ENDED, exit_status=0)


def test_whose_doing_it_was_that_a_pod_was_deleted_is_not_known():
    pod = made(containerStatuses=terminated(143))
    pod["metadata"]["deletionTimestamp"] = "2026-11-28T11:49:15Z"
    seen = states.sight(pod).at(NOW)
    assert (seen.state, seen.reason) == (ENDED, None)
    assert "deleted" in seen.message


def test_a_host_that_never_says_that_a_deleted_pod_ended():
    pod = copy.deepcopy(RECORDED["deleted"])
    late = states.seconds_of(pod["metadata"]["deletionTimestamp"]) + states.GONE_SECONDS
    assert states.sight(pod).at(late).state is RUNNING
    assert states.sight(pod).at(late + 1)[:2] == (ENDED, Reason.LOST)


def test_an_unknown_phase_is_told_once(caplog):
    states._told.clear()
    assert states.sight(made("Dreaming")).at(NOW).state is RUNNING
    assert states.sight({**made("Dreaming"), "spec": {}}).at(NOW).state is QUEUED
    assert [record.getMessage() for record in caplog.records if "Dreaming" in record.getMessage()] == [caplog.messages[0]]


def test_what_is_no_task():
    assert states.task_of({"metadata": {}}) is None
    assert states.task_of({"metadata": {"labels": {"jobsys/ask": "a"}, "annotations": {NUMBER: "x"}}}) is None
    assert states.task_of({"metadata": {"labels": {"jobsys/ask": "a"}, "annotations": {NUMBER: "7"}}}) == TaskId("a", 7)


def test_a_job():
    status = {"completedIndexes": "1,3-5", "failedIndexes": "2"}
    tell = states.job_seen({"spec": {"completions": 8}, "status": status})
    memory = Seen(ENDED, Reason.MEMORY, -9)
    assert tell(4, None) == tell(4, Seen(RUNNING)) == Seen(ENDED, exit_status=0)
    assert tell(2, memory) == memory
    lost = tell(2, None)
    assert lost is not None
    assert lost[:2] == (ENDED, Reason.LOST)
    assert tell(6, Seen(RUNNING, host="n1")) == Seen(RUNNING, host="n1")
    assert tell(7, None) == Seen(QUEUED)
    assert tell(8, None) is None


def test_a_job_that_was_ended():
    condition = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    tell = states.job_seen({"spec": {"completions": 3}, "status": {"completedIndexes": "0", "conditions": [condition]}})
    assert tell(0, None) == Seen(ENDED, exit_status=0)
    assert tell(1, Seen(RUNNING, host="n1")) == Seen(ENDED, Reason.CANCELED, None, "DeadlineExceeded: too long", "n1")
    assert tell(2, Seen(ENDED, Reason.MEMORY)) == Seen(ENDED, Reason.MEMORY)


@given(st.sets(st.integers(0, 3000), max_size=60))
def test_ranges(numbers):
    assert states.numbers_of(ranges(numbers)) == numbers
