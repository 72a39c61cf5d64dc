"""LSF as text. Its outputs are made from manuals of version 10.1, and from what people show of theirs: none was to be had."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.cluster.commanded import Pretended, go  # type: ignore[import-not-found]
from jobsys.batch.cluster.commands import drive
from jobsys.batch.cluster.lsf import Lsf
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Output, PassingError, Seen, TaskId, TaskState
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

MIB = 1 << 20
ACCOUNTS = """
Accounting information about jobs that are:
  - submitted by all users.
------------------------------------------------------------------------------

Job <771278[2]>, Job Name <jobsys-a[1-4]>, User <ann>, Project <default>, Status <EX
                     IT>, Queue <short>, Command <#!/bin/sh;exit 0>
Mon Nov 23 10:16:26: Submitted from host <login1>, CWD </>;
Mon Nov 23 10:16:31: Dispatched to <n28>, Effective RES_REQ <select[type == local] >;
Mon Nov 23 10:17:33: Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF
                     run time limit.

Accounting information about this job:
     CPU_T     WAIT     TURNAROUND   STATUS     HOG_FACTOR    MEM    SWAP
      0.10        5             67     exit         0.0015     4M      0M
------------------------------------------------------------------------------

Job <771278[3]>, Job Name <jobsys-a[1-4]>, User <ann>, Project <default>, Status <DONE>, Queue <short>, Command <x>
Mon Nov 23 10:16:31: Dispatched to <n28>;
Mon Nov 23 10:17:33: Completed <done>.
------------------------------------------------------------------------------

SUMMARY:      ( time unit: second )
"""
DOWN = Output(255, "", "Cannot connect to LSF. Please wait ...\nlsid: Communication time out\n")
NONE = Output(255, '{\n  "COMMAND":"bjobs",\n  "JOBS":0,\n  "RECORDS":[\n  ]\n}\n', "Job <9> is not found\n")


def record(
    stat: str, job: str = "12", index: str = "1", code: str = "", why: str = "", pending: str = "", host: str = "n1"
) -> dict[str, str]:
    names = ("JOBID", "JOBINDEX", "STAT", "EXIT_CODE", "EXIT_REASON", "PEND_REASON", "EXEC_HOST", "QUEUE")
    return dict(zip(names, (job, index, stat, code, why, pending, host, "normal"), strict=True))


def printed(*records: Any) -> str:
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)


def ask(requirements: Requirements = Requirements(), count: int = 4, script: str = "exit 0") -> Ask:
    return Ask("jobsys-a1", count, requirements, script)


@pytest.mark.parametrize(
    ("requirements", "options", "expected"),
    [
        (Requirements(), {}, ["-n", "1", "-R", "span[hosts=1]"]),
        (Requirements(cores=2.5, memory=100 * MIB), {}, ["-n", "3", "-M", "100MB", "-R", "span[hosts=1] rusage[mem=100MB]"]),
        (Requirements(cores=3, memory=100 * MIB), {"memory-per": "slot"},
         ["-n", "3", "-M", "100MB", "-R", "span[hosts=1] rusage[mem=34MB]"]),
        (Requirements(accelerators=2, walltime=61.0), {"queue": "q", "project": "p", "args": "-app 'a b'"},
         ["-n", "1", "-R", "span[hosts=1]", "-gpu", "num=2", "-W", "2", "-q", "q", "-P", "p", "-app", "a b"]),
    ],
)  # fmt: skip
def test_a_submission(requirements: Requirements, options: dict[str, str], expected: list[str]) -> None:
    world = Pretended({"bsub": "Job <123> is submitted to queue <normal>.\n"})
    assert drive(Lsf(options).submit(ask(requirements)), world) == "123"
    command = world.ran[0]
    assert list(command.argv) == ["bsub", "-J", "jobsys-a1[1-4]", "-rn", "-env", "none", "-cwd", "/", "-o", "/dev/null", *expected]
    assert "exit 0" in command.input
    assert (command.environment["LSB_NTRIES"], command.environment["BSUB_QUIET"]) == ("1", None)


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (Output(255, "", "nope: No such queue. Job not submitted.\n"), AskRefusedError, "LSF refuses 1 core: nope: No such queue"),
        (Output(255, "", "User's pending job threshold reached. Retrying in 60 seconds...\n"), PassingError, "threshold"),
        (DOWN, PassingError, "Cannot connect"),
        (Output(0, "", ""), PassingError, "no number"),
    ],
)
def test_refusals(output: Output, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        go(Lsf().submit(ask()), bsub=output)


def test_what_is_not_asked_for() -> None:
    with pytest.raises(AskRefusedError, match="#BSUB"):
        go(Lsf().submit(ask(script="exit 0\n #BSUB -q other\n")))
    with pytest.raises(UsageError, match="memory-per=host: write job or slot"):
        Lsf({"memory-per": "host"})


def test_find() -> None:
    world = Pretended({"bjobs -a -J jobsys-a1 -o jobid -json": printed({"JOBID": "12"}, {"JOBID": "12"})})
    assert drive(Lsf().find("jobsys-a1"), world) == "12"
    assert go(Lsf().find("jobsys-a1"), bjobs=Output(255, "", "Job <jobsys-a1> is not found\n")) is None
    assert go(Lsf().find("jobsys-a1"), bjobs=printed()) is None
    with pytest.raises(PassingError):
        go(Lsf().find("jobsys-a1"), bjobs=DOWN)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (record("PEND", pending="New job is waiting for scheduling;", host=""),
         Seen(TaskState.QUEUED, message="New job is waiting for scheduling;", queue="normal")),
        (record("RUN", host="2*n17:2*n18"), Seen(TaskState.RUNNING, host="n17", queue="normal")),
        (record("UNKWN"), Seen(TaskState.RUNNING, message="state UNKWN", host="n1", queue="normal")),
        (record("DONE"), Seen(TaskState.ENDED, None, 0, host="n1", queue="normal")),
        (record("EXIT", code="3"), Seen(TaskState.ENDED, Reason.FAILED, 3, host="n1", queue="normal")),
        (record("EXIT", code="137"), Seen(TaskState.ENDED, Reason.FAILED, 137, host="n1", queue="normal")),
        (record("EXIT", code="137", why="TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"),
         Seen(TaskState.ENDED, Reason.MEMORY, -9, "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "n1", "normal")),
        (record("EXIT", code="140", why="TERM_RUNLIMIT: job killed after reaching LSF run time limit"),
         Seen(TaskState.ENDED, Reason.TIME_LIMIT, -12, "TERM_RUNLIMIT: job killed after reaching LSF run time limit", "n1", "normal")),
        (record("EXIT", why="TERM_OWNER: job killed by owner", host="-"),
         Seen(TaskState.ENDED, Reason.CANCELED, None, "TERM_OWNER: job killed by owner", "", "normal")),
        (record("EXIT", code="143", why="TERM_PREEMPT: job killed after preemption"),
         Seen(TaskState.ENDED, Reason.PREEMPTED, -15, "TERM_PREEMPT: job killed after preemption", "n1", "normal")),
        (record("EXIT", code="2", why="TERM_CWD_NOTEXIST: job cannot start"),
         Seen(TaskState.ENDED, Reason.LOST, None, "TERM_CWD_NOTEXIST: job cannot start", "n1", "normal")),
        (record("ZOMBI"), Seen(TaskState.ENDED, Reason.LOST, None, host="n1", queue="normal")),
    ],
)  # fmt: skip
def test_a_look(told: dict[str, str], expected: Seen) -> None:
    noise = "Cannot connect to LSF. Please wait ...\n"
    world = Pretended({"bjobs": noise + printed(told, record("RUN", index="2"), record("RUN", job="13"), {"JOBID": "14", "ERROR": "x"})})
    assert drive(Lsf().look({"12": [0]}), world) == {TaskId("12", 0): expected}
    assert len(world.ran) == 1


def test_what_lsf_has_forgotten_is_looked_up_once() -> None:
    scheduler = Lsf()
    world = Pretended({"bjobs": NONE, "bacct": ACCOUNTS})
    seen = drive(scheduler.look({"771278": [0, 1, 2], "9": [0]}), world)
    assert {task: (what.state, what.reason, what.host, what.queue) for task, what in seen.items()} == {
        TaskId("771278", 1): (TaskState.ENDED, Reason.TIME_LIMIT, "n28", "short"),
        TaskId("771278", 2): (TaskState.ENDED, None, "n28", "short"),
    }
    assert seen[TaskId("771278", 1)].message.startswith("TERM_RUNLIMIT: job killed after reaching")
    drive(scheduler.look({"9": [0]}), world)
    assert [words.partition(" -o")[0] for words in world.words()] == ["bjobs -a", "bacct -l 771278 9", "bjobs -a"]


def test_an_unknown_state_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Lsf()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            seen = go(scheduler.look({"12": [0]}), bjobs=printed(record("DREAMS")))
    assert seen[TaskId("12", 0)].state is TaskState.QUEUED
    assert len(caplog.records) == 1


def test_lsf_is_down() -> None:
    for answer in (DOWN, Output(0, "{ broken", "")):
        with pytest.raises(PassingError):
            go(Lsf().look({"12": [0]}), bjobs=answer)
    with pytest.raises(PassingError):
        go(Lsf().look({"12": [0]}), bjobs=NONE, bacct=DOWN)


def test_cancel(caplog: pytest.LogCaptureFixture) -> None:
    gone = Output(255, "Job <12> is being terminated\n", "Job <13[8]>: Job has already finished\nJob <9>: No matching job found\n")
    world = Pretended({"bkill": gone})
    drive(Lsf().cancel({"12": None, "13": [0, 1, 2, 7], "9": None, "10": []}), world)
    assert world.words() == ["bkill 12 13[1-3,8] 9"]
    assert not caplog.records
    go(Lsf().cancel({"12": None}), bkill=Output(255, "", "Job <12>: User permission denied\n"))
    assert "permission denied" in caplog.text
    with pytest.raises(PassingError):
        go(Lsf().cancel({"12": None}), bkill=DOWN)


@given(st.text())
def test_whatever_is_printed_can_be_read(noise: str) -> None:
    seen = go(Lsf().look({"12": [0]}), bjobs=printed(record("EXIT", code=noise, why=noise, host=noise)), bacct=ACCOUNTS + noise)
    assert seen[TaskId("12", 0)].state is TaskState.ENDED
