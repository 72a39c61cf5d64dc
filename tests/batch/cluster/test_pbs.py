"""OpenPBS and Torque as text. Their outputs are made from manuals, and from what people show of theirs: none was to be had."""

import logging
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.cluster.commanded import Pretended, go  # type: ignore[import-not-found]
from jobsys.batch.cluster.commands import drive
from jobsys.batch.cluster.pbs import Pbs, Torque, short
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Output, PassingError, Seen, TaskId, TaskState
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

MIB = 1 << 20
ARRAY = "1234[].pbs01"
LISTED = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
1234[].pbs01      j0123456789abcd  ann                      0 B workq
1234[0].pbs01     j0123456789abcd  ann               00:00:01 X workq
1234[1].pbs01     j0123456789abcd  ann               00:00:07 R workq
1234[2].pbs01     j0123456789abcd  ann                      0 Q workq
1234[12].pbs01*   j0123456789abcd  ann                      0 H workq
1300.pbs01        jfedcba98765432  ann               00:00:00 F long
9.pbs01           someone          eve               00:00:00 R workq
"""
ATTRIBUTES = """Job Id: {id}
    Job_Name = j0123456789abcd
    Job_Owner = ann@login1.cluster
    resources_used.mem = {mem}
    resources_used.walltime = {walltime}
    job_state = F
    queue = workq
    exec_host = n17/0*2
    Resource_List.mem = 100mb
    Resource_List.walltime = 00:10:00
    substate = {substate}
    Variable_List = PBS_O_HOME=/home/ann,PBS_O_LANG=C.UTF-8,PBS_O_LOGNAME=ann,
\tPBS_O_PATH=/usr/bin:/bin,PBS_O_SHELL=/bin/bash,Exit_status = 5
    comment = Job run at Sat Nov 28 at 11:31 on (n17:ncpus=2:mem=102400kb) and
\t finished
    Exit_status = {status}
    run_count = 1

"""
UNKNOWN = Output(153, "", "qstat: Unknown Job Id 77.pbs01\n")
DOWN = Output(255, "", "Connection refused\nqstat: cannot connect to server pbs01 (errno=111)\n")


def attributes(id: str = "1300.pbs01", status: object = 0, substate: int = 92, mem: str = "4kb", walltime: str = "00:00:01") -> str:
    return ATTRIBUTES.format(id=id, status=status, substate=substate, mem=mem, walltime=walltime)


def ask(requirements: Requirements = Requirements(), count: int = 4) -> Ask:
    return Ask("jobsys-0123456789abcdef", count, requirements, "exit 3", title="a title")


@pytest.mark.parametrize(
    ("make", "count", "requirements", "expected"),
    [
        (Pbs, 4, Requirements(), "-J 0-3 -l select=1:ncpus=1"),
        (Pbs, 1, Requirements(cores=1.5, memory=MIB + 1, accelerators=2, walltime=0.5),
         "-l select=1:ncpus=2:mem=2mb:ngpus=2 -l walltime=1"),
        (Torque, 4, Requirements(), "-t 0-3 -l nodes=1:ppn=1"),
        (Torque, 1, Requirements(cores=2, memory=MIB, accelerators=1, walltime=60), "-l nodes=1:ppn=2:gpus=1 -l mem=1mb -l walltime=60"),
    ],
)  # fmt: skip
def test_a_submission(make: type[Pbs], count: int, requirements: Requirements, expected: str) -> None:
    world = Pretended({"qsub": f"{ARRAY}\n"})
    scheduler = make({"queue": "long", "account": "a b", "args": "-W 'x=y z'"})
    assert drive(scheduler.submit(ask(requirements, count)), world) == ARRAY
    argv = list(world.ran[0].argv)
    assert argv[:13] == ["qsub", "-N", short(ask().name), "-r", "n", "-S", "/bin/sh", "-C", "", "-j", "oe", "-o", "/dev/null"]
    assert argv[13:] == [*expected.split(), "-q", "long", "-A", "a b", "-W", "x=y z"]
    assert "exit 3" in world.ran[0].input


def test_a_task_that_is_no_part_of_an_array_is_number_0(tmp_path: Path) -> None:
    world = Pretended({"qsub": "5.pbs01\n"})
    drive(Pbs().submit(Ask("jobsys-a", 1, Requirements(), f"echo $(({Pbs.index} - 0)); exit 3", str(tmp_path))), world)
    done = subprocess.run(["/bin/sh"], input=world.ran[0].input, text=True, env={})
    assert (done.returncode, (tmp_path / "jobsys-a-0.log").read_text()) == (3, "0\n")


@given(st.text("abcdef0123456789-", min_size=1, max_size=40))
def test_names_fit_into_old_versions(rest: str) -> None:
    name = short("j" + rest)
    assert len(name) <= 15
    assert name[0] == "j"
    assert len("j" + rest) > 15 or name == "j" + rest


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (Output(170, "", "qsub: Unknown queue\n"), AskRefusedError, "PBS refuses 1 core: qsub: Unknown queue"),
        (Output(188, "", "qsub: Job violates queue and/or server resource limits\n"), AskRefusedError, "resource limits"),
        (Output(184, "", "qsub: would exceed queue workq's per-user limit\n"), PassingError, "would exceed"),
        (Output(184, "", "qsub: Maximum number of jobs already in queue\n"), PassingError, "Maximum"),
        (DOWN, PassingError, "Connection refused"),
        (Output(0, "", ""), PassingError, "no id"),
    ],
)
def test_refusals(output: Output, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        go(Pbs().submit(ask()), qsub=output)


def test_settings() -> None:
    with pytest.raises(UsageError, match="no such option"):
        Pbs({"partition": "x"})
    with pytest.raises(UsageError, match="No closing quotation"):
        Torque({"args": "'"})
    assert Torque({"accelerators": "mics"})._resources(Requirements(accelerators=1)) == ["-l", "nodes=1:ppn=1:mics=1"]


@pytest.mark.parametrize(("make", "command"), [(Pbs, "qselect -x -N"), (Torque, "qselect -N")])
def test_find(make: type[Pbs], command: str) -> None:
    world = Pretended({command: f"{ARRAY}\n"})
    assert drive(make().find(ask().name), world) == ARRAY
    assert world.words() == [f"{command} {short(ask().name)}"]
    assert go(make().find("jobsys-a"), qselect="1234[7].pbs01\n1234[8].pbs01\n") == ARRAY
    assert go(make().find("jobsys-a"), qselect="") is None
    with pytest.raises(PassingError):
        go(make().find("jobsys-a"), qselect=DOWN)


def test_a_look() -> None:
    world = Pretended({"qstat -t -x": LISTED, "qstat -f -x": attributes("1234[0].pbs01") + attributes(status=271, substate=91)})
    seen = drive(Pbs().look({ARRAY: [0, 1, 2, 12, 13], "1300.pbs01": [0]}), world)
    assert {task: (what.state, what.message) for task, what in seen.items()} == {
        TaskId(ARRAY, 0): (TaskState.ENDED, ""),
        TaskId(ARRAY, 1): (TaskState.RUNNING, ""),
        TaskId(ARRAY, 2): (TaskState.QUEUED, ""),
        TaskId(ARRAY, 12): (TaskState.QUEUED, "state H"),
        TaskId("1300.pbs01", 0): (TaskState.ENDED, "Job run at Sat Nov 28 at 11:31 on (n17:ncpus=2:mem=102400kb) and finished"),
    }
    assert seen[TaskId("1300.pbs01", 0)].reason is Reason.CANCELED
    assert world.words() == [f"qstat -t -x {ARRAY} 1300.pbs01", "qstat -f -x 1234[0].pbs01 1300.pbs01"]


def test_a_look_at_torque() -> None:
    listed = LISTED.replace(" X ", " C ").replace(" F ", " C ")
    world = Pretended({"qstat -t": listed, "qstat -f": attributes("1234[0].pbs01", -11)})
    seen = drive(Torque().look({ARRAY: [0]}), world)
    assert seen == {TaskId(ARRAY, 0): Seen(TaskState.ENDED, Reason.TIME_LIMIT, None, seen[TaskId(ARRAY, 0)].message, "n17", "workq")}
    assert world.words() == [f"qstat -t {ARRAY}", "qstat -f 1234[0].pbs01"]


def test_unknown_ones_are_left_out() -> None:
    world = Pretended({"qstat": UNKNOWN})
    assert drive(Pbs().look({"77.pbs01": [0], ARRAY: [3]}), world) == {}
    assert len(world.ran) == 1
    for answer in (DOWN, Output(2, "", "Unknown option: x\n"), Output(1)):
        with pytest.raises(PassingError):
            go(Pbs().look({ARRAY: [0]}), qstat=answer)


def test_an_end_of_which_nothing_more_is_known() -> None:
    """History is off, and others of the array still run."""
    seen = drive(Pbs().look({ARRAY: [0]}), Pretended({"qstat -t": LISTED, "qstat -f": UNKNOWN}))
    assert seen == {TaskId(ARRAY, 0): Seen(TaskState.ENDED, queue="workq", message="state X")}


@pytest.mark.parametrize(
    ("make", "told", "reason", "status"),
    [
        (Pbs, attributes(), None, 0),
        (Pbs, attributes(status=3), Reason.FAILED, 3),
        (Pbs, attributes(status=265), Reason.KILLED, -9),
        (Pbs, attributes(status=271, walltime="00:10:02"), Reason.TIME_LIMIT, -15),
        (Pbs, attributes(status=265, mem="102400kb"), Reason.MEMORY, -9),
        (Pbs, attributes(status=271, substate=91), Reason.CANCELED, -15),
        (Pbs, attributes(status="", substate=91), Reason.CANCELED, None),
        (Pbs, attributes(status=-27), Reason.MEMORY, None),
        (Pbs, attributes(status=-29), Reason.TIME_LIMIT, None),
        (Pbs, attributes(status=-10), Reason.LOST, None),
        (Torque, attributes(status=-10), Reason.MEMORY, None),
        (Torque, attributes(status=-1), Reason.LOST, None),
    ],
)
def test_ends(make: type[Pbs], told: str, reason: Reason | None, status: int | None) -> None:
    seen = drive(make().look({"1300.pbs01": [0]}), Pretended({"qstat -t": LISTED, "qstat -f": told}))[TaskId("1300.pbs01", 0)]
    assert (seen.state, seen.reason, seen.exit_status, seen.host) == (TaskState.ENDED, reason, status, "n17")


def test_an_unknown_state_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Pbs()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            seen = go(scheduler.look({ARRAY: [1]}), qstat=LISTED.replace(" R ", " Z "))
    assert seen[TaskId(ARRAY, 1)].state is TaskState.QUEUED
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Pbs, f"qdel {ARRAY} 8[0-2].pbs01 8[7].pbs01"),
        (Torque, f"qdel {ARRAY} 8[0].pbs01 8[1].pbs01 8[2].pbs01 8[7].pbs01"),
    ],
)  # fmt: skip
def test_cancel(make: type[Pbs], expected: str, caplog: pytest.LogCaptureFixture) -> None:
    gone = Output(153, "", "qdel: Unknown Job Id 1234[].pbs01\nqdel: Job has finished 8[0].pbs01\n")
    world = Pretended({"qdel": gone})
    drive(make().cancel({ARRAY: None, "8[].pbs01": [0, 1, 2, 7], "9[].pbs01": []}), world)
    drive(make().cancel({"6.pbs01": [0, 3], "7.pbs01": [3]}), world)
    assert world.words() == [expected, "qdel 6.pbs01"]
    assert not caplog.records
    go(make().cancel({"6.pbs01": None}), qdel=Output(159, "", "qdel: Unauthorized Request 6.pbs01\n"))
    assert "Unauthorized" in caplog.text
    with pytest.raises(PassingError):
        go(make().cancel({"6.pbs01": None}), qdel=DOWN)


@given(st.text())
def test_whatever_is_printed_can_be_read(printed: str) -> None:
    for make in (Pbs, Torque):
        assert go(make().look({ARRAY: [1]}), qstat=LISTED + printed)[TaskId(ARRAY, 1)]
        drive(make().look({"1300.pbs01": [0]}), Pretended({"qstat -t": LISTED, "qstat -f": attributes() + printed}))
