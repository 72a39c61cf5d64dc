"""What Slurm prints of tasks, as it was recorded from 22.05.8 and 24.11.5; what could not be had is said to be made by hand."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster import slurm_states as states
from jobsys.batch.cluster.scheduler import Seen, TaskId, TaskState, ranges
from jobsys.batch.cluster.slurm_states import Row, ended, exit_status, expand, finished, never_ran, pick, rows, see
from jobsys.events import Reason

QUEUED, RUNNING, ENDED = TaskState.QUEUED, TaskState.RUNNING, TaskState.ENDED

SQUEUE_22_05 = """\
5_[0-1]|PENDING|0|n/a|gpu|Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions|
2_0|COMPLETED|0|n1|main|None|
2_1|FAILED|768|n2|main|NonZeroExitCode|
2_2|FAILED|9|n2|main|JobLaunchFailure|
2_4|FAILED|33280|n3|main|NonZeroExitCode|
9_0|FAILED|4021|n1|main|JobLaunchFailure|
3_3|NODE_FAIL|0|n3|main|NodeDown|
1_0|OUT_OF_MEMORY|253|n1|main|OutOfMemory|
4_[0-3]|PENDING|0|n/a|main|JobHeldUser|
8_5|PREEMPTED|15|n2|main|None|
6_[0-1]|PENDING|0|n/a|short|PartitionTimeLimit|
10_3|CANCELLED|15|n2|main|None|
13_[10-11,13,20-28:4]|PENDING|0|n/a|urgent|Resources|
13_5|RUNNING|0|n2|urgent|None|
"""
SQUEUE_24_11 = """\
1_3|CANCELLED|0:15|n2|main|None|
1_0|COMPLETED|0:0|n1|main|None|
1_1|FAILED|3:0|n1|main|NonZeroExitCode|
1_2|FAILED|0:9|n2|main|RaisedSignal:9(Killed)|
1_4|FAILED|130:0|n3|main|NonZeroExitCode|
1_[11-29,31,33-34,38-39]|PENDING|0:0|n/a|main|Resources|
1_10|RUNNING|0:0|n2|main|None|
"""
SACCT_22_05 = """\
1_0|OUT_OF_MEMORY|0:125|n1|main|None
2_1|FAILED|3:0|n2|main|None
3_3|NODE_FAIL|0:0|n3|main|None
5_[0-1]|PENDING|0:0|None assigned|gpu|ReqNodeNotAvail
8_3|PREEMPTED|0:0|n2|main|None
12_3|RUNNING|0:0|n2|main|JobHeldUser
12_5|CANCELLED by 0|0:0|n3|main|JobHeldUser
12_[26-29,31,33-34,38-39]|PENDING|0:0|None assigned|main|JobHeldUser
14_[6-39]|CANCELLED by 0|0:0|None assigned|main|None
"""
JOBCOMP = (
    "JobId={0} UserId=root(0) GroupId=root(0) Name={1} JobState={2} Partition=main TimeLimit=525600 StartTime=2026-11-28T11:30:43 "
    "EndTime=2026-11-28T11:30:43 NodeList=n1 NodeCnt=1 ProcCnt=1 WorkDir=/tmp/sl ReservationName= Tres=cpu=1,mem=100M,node=1,billing=1 "
    "Account= QOS= WcKey= Cluster=unknown SubmitTime=2026-11-28T11:30:43 "
    "EligibleTime=2026-11-28T11:30:43 {3}DerivedExitCode=0:0 ExitCode={4} \n"
)


def row(state: str, status: int = 0, host: str = "n1", reason: str = "") -> Row:
    return Row("1", [0], True, state, status, host, "main", reason)


def seen_in(text: str) -> dict[tuple[str, int], tuple[object, ...]]:
    return {(each.native, number): see(each)[:3] for each in rows(text) for number in each.numbers}


def test_squeue_22_05() -> None:
    seen = seen_in(SQUEUE_22_05)
    assert {key: what for key, what in seen.items() if what[0] is ENDED} == {
        ("2", 0): (ENDED, None, 0),
        ("2", 1): (ENDED, Reason.FAILED, 3),
        ("2", 2): (ENDED, Reason.KILLED, -9),
        ("2", 4): (ENDED, Reason.FAILED, 130),
        ("9", 0): (ENDED, Reason.LOST, None),
        ("3", 3): (ENDED, Reason.LOST, None),
        ("1", 0): (ENDED, Reason.MEMORY, None),
        ("8", 5): (ENDED, Reason.PREEMPTED, None),
        ("10", 3): (ENDED, Reason.CANCELED, None),
    }
    assert {key for key, what in seen.items() if what[0] is RUNNING} == {("13", 5)}
    assert {number for (native, number), what in seen.items() if native == "13" and what[0] is QUEUED} == {10, 11, 13, 20, 24, 28}


def test_squeue_24_11() -> None:
    seen = seen_in(SQUEUE_24_11)
    assert [seen["1", number] for number in range(5)] == [
        (ENDED, None, 0),
        (ENDED, Reason.FAILED, 3),
        (ENDED, Reason.KILLED, -9),
        (ENDED, Reason.CANCELED, None),
        (ENDED, Reason.FAILED, 130),
    ]
    assert {number for (_, number), what in seen.items() if what[0] is QUEUED} == {*range(11, 30), 31, 33, 34, 38, 39}


def test_sacct() -> None:
    seen = seen_in(SACCT_22_05)
    assert seen["12", 5] == seen["14", 39] == (ENDED, Reason.CANCELED, None)
    assert (seen["1", 0][1], seen["2", 1][1:], seen["3", 3][1], seen["8", 3][1]) == (
        Reason.MEMORY,
        (Reason.FAILED, 3),
        Reason.LOST,
        Reason.PREEMPTED,
    )


def test_why_a_task_waits_and_where_it_ran() -> None:
    waiting, running, done = (
        see(each) for each in rows("1_0|PENDING|0|n/a|main|Priority|\n1_1|RUNNING|0|n2|main|None|\n1_2|TIMEOUT|0|n3|x|TimeLimit|")
    )
    assert waiting == Seen(QUEUED, message="Priority", queue="main")
    assert running == Seen(RUNNING, host="n2", queue="main")
    assert done == Seen(ENDED, Reason.TIME_LIMIT, None, "TIMEOUT: TimeLimit", "n3", "x")


def test_a_host_that_could_not_set_a_task_up_is_not_the_task_s_fault() -> None:
    assert see(row("FAILED", -53, reason="JobLaunchFailure")).reason is Reason.LOST
    assert "could not open" in see(row("FAILED", -53)).message
    assert see(row("FAILED", 0, reason="JobLaunchFailure")).reason is Reason.LOST
    assert see(row("FAILED", 1, reason="JobLaunchFailure"))[1:3] == (Reason.FAILED, 1)


@pytest.mark.parametrize("state", sorted(states.STATES))
def test_every_state_has_a_meaning(state: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = see(row(state, 1))
    assert (seen.reason is None) == (seen.state is not ENDED or state == "COMPLETED")
    assert not caplog.records


def test_an_unknown_state_is_told_of_once_and_is_not_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """Made by hand, as is each state of a later Slurm."""
    with caplog.at_level(logging.WARNING):
        found = [see(row("ENTANGLED")), see(row("ENTANGLED", host="")), see(row("ENTANGLED+"))]
    assert [each.state for each in found] == [RUNNING, QUEUED, RUNNING]
    assert [record.getMessage() for record in caplog.records] == ["Slurm has a state that is not known here: 'ENTANGLED'; taken as running"]


def test_what_is_no_task_of_an_array_is_passed_over() -> None:
    assert list(rows("CLUSTER: test\n77|RUNNING|0|n1|main|None|\n78+0|RUNNING|0|n1|main|None|\n\nslurm_load_jobs error\n")) == []


@given(st.sets(st.integers(0, 5000)), st.sampled_from(["", "%1", "%20"]))
def test_numbers_are_read_as_they_are_written(numbers: set[int], throttle: str) -> None:
    assert expand(f"{ranges(numbers)}{throttle}]") == sorted(numbers)


@given(st.sets(st.integers(0, 5000), min_size=1), st.integers(0, 200))
def test_of_a_list_that_was_cut_off_nothing_is_made_up(numbers: set[int], length: int) -> None:
    text = ranges(numbers)[:length]
    assert set(expand(text)) <= numbers
    assert set(expand(text + "...")) <= numbers
    (found,) = rows(f"1_[{text}...|PENDING|0|n/a|main|None|")
    assert not found.whole


@given(st.integers(0, 255), st.integers(1, 64))
def test_exit_statuses_of_both_versions_mean_the_same(status: int, number: int) -> None:
    assert exit_status(str(status << 8)) == exit_status(f"{status}:0") == status
    assert exit_status(str(number)) == exit_status(f"0:{number}") == -number
    assert exit_status("") == exit_status("x:y") == 0


def test_of_two_lines_about_a_task_the_one_that_says_that_it_lives_counts() -> None:
    """A controller that lost its memory runs a task again that was said to have completed."""
    lines = ["1_0|COMPLETED|0|n1|main|None|", "1_0|PENDING|0|n/a|main|None|"]
    for text in ("\n".join(lines), "\n".join(reversed(lines))):
        assert pick(rows(text), {"1": [0]})[TaskId("1", 0)].state is QUEUED


def test_only_what_was_asked_for_is_picked() -> None:
    assert set(pick(rows(SQUEUE_22_05), {"13": [5, 10, 99], "77": [0]})) == {TaskId("13", 5), TaskId("13", 10)}


def test_what_accounting_takes_for_alive_is_left_out_and_what_it_never_saw_was_canceled() -> None:
    found = list(rows(SACCT_22_05))
    tasks = {"12": [3, 5, 30, 26], "14": [6], "99": [0]}
    assert set(ended(pick(found, tasks))) == {TaskId("12", 5), TaskId("14", 6)}
    assert {task: what.reason for task, what in never_ran(found, tasks).items()} == {TaskId("12", 30): Reason.CANCELED}
    assert never_ran(list(rows("12_5|COMPLETED|0:0|n1|main|None\n12_[6,8,...|PENDING|0:0|n1|main|None")), tasks) == {}


def test_the_file_of_finished_jobs() -> None:
    text = (
        JOBCOMP.format(2, "jobsys-a", "COMPLETED", "ArrayJobId=1 ArrayTaskId=0 ", "0:0")
        + JOBCOMP.format(4, "jobsys-a", "FAILED", "ArrayJobId=1 ArrayTaskId=2 ", "0:9")
        + JOBCOMP.format(12, "jobsys-b", "CANCELLED", "", "0:0")
        + JOBCOMP.format(9, "x JobState=COMPLETED ArrayJobId=1 ArrayTaskId=7", "FAILED", "", "0:0")
        + JOBCOMP.format(15, "jobsys-c", "TIMEOUT", "ArrayJobId=14 ArrayTaskId=3 ", "0:0")
        + "JobId=16 UserId=root(0) GroupId=root(0) Name=jobsys-d JobSt"
    )
    found = {(each.native, *each.numbers): see(each)[1:3] for each in finished(text)}
    assert found == {("1", 0): (None, 0), ("1", 2): (Reason.KILLED, -9), ("14", 3): (Reason.TIME_LIMIT, None)}
    assert [each.native for each in finished(text, "jobsys-c")] == ["14"]
