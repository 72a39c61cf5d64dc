"""Grid Engine as text: what is asked for, and what its answers mean. Outputs are those of version 8.1.9, unless a test says otherwise."""

import logging
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.cluster.commanded import Pretended, go  # type: ignore[import-not-found]
from jobsys.batch.cluster import grid_engine_text as text
from jobsys.batch.cluster.commands import drive
from jobsys.batch.cluster.grid_engine import ACCOUNTS, GridEngine
from jobsys.batch.cluster.grid_engine_asks import wrapped
from jobsys.batch.cluster.grid_engine_earlier import PATIENCE, ROUND, SILENCE, TIMES, Earlier
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Output, PassingError, Seen, TaskId, TaskState, ranges
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

MIB = 1 << 20
DOWN = """error: commlib error: got select error (Connection refused)
unable to send message to qmaster using port 16940 on host "vm": got send error
"""
DOWN_XML = """<?xml version='1.0'?>
<comunication_error >
    <AN_status>11</AN_status>
    <AN_text>unable to send message to qmaster using port 16940 on host &quot;vm&quot;: got send error</AN_text>
    <AN_quality>1</AN_quality>
</comunication_error>
"""
COMPLEXES = """#name               shortcut   type      relop requestable consumable default  urgency
#--------------------------------------------------------------------------------------
h_rt                h_rt       TIME      <=    YES         NO         0:0:0    0
h_vmem              h_vmem     MEMORY    <=    YES         NO         0        0
mem_free            mf         MEMORY    <=    YES         NO         0        0
gpu                 gpu        INT       <=    YES         YES        0        0
gpus                gpus       INT       <=    YES         JOB        0        0
# >#< starts a comment but comments are not saved across edits --------
"""
EXPLAINED = """==============================================================
job_number:                 43
owner:                      nobody
cwd:                        /home/me/private
job_name:                   js-eqw
usage         1:            cpu=00:00:00, mem=0.00000 GB s, io=0.00000 GB, vmem=N/A, maxvmem=N/A
error reason          2:      11/28/2026 11:36:25 [65534:11053]: error: can't chdir to /home/me/private: Permission denied
scheduling info:            There are no messages available
==============================================================
job_number:                 44
job_name:                   js-eqo
error reason          2:      11/28/2026 11:36:26 [65534:11073]: can't stat() "/home/me/x/2" as stdout_path: Permission denied
"""
ACCOUNT = """==============================================================
qname        all.q
hostname     vm
owner        root
jobname      js-one
jobnumber    {native}
taskid       {task}
account      sge
slots        {slots}
failed       {failed}
exit_status  {status}
ru_wallclock 2s
maxvmem      {maxvmem}
category     {category}
"""


def row(native: int, state: str, tasks: str, queue: str = "", listed: str = "") -> str:
    return f"""    <job_list state="{listed or ("running" if queue else "pending")}">
      <JB_job_number>{native}</JB_job_number>
      <JAT_prio>0.50000</JAT_prio>
      <JB_name>js-one</JB_name>
      <JB_owner>root</JB_owner>
      <state>{state}</state>
      <JAT_start_time>2026-11-28T11:32:51</JAT_start_time>
      <queue_name>{queue}</queue_name>
      <slots>1</slots>
      <tasks>{tasks}</tasks>
    </job_list>
"""


def listing(*rows: str) -> str:
    return f"<?xml version='1.0'?>\n<job_info>\n  <queue_info>\n{''.join(rows)}  </queue_info>\n</job_info>\n"


def account(
    native: int = 1, task: str = "1", failed: str = "0", status: str = "0", slots: int = 1, maxvmem: str = "0.000B", category: str = "NONE"
) -> str:
    return ACCOUNT.format(native=native, task=task, failed=failed, status=status, slots=slots, maxvmem=maxvmem, category=category)


def ask(requirements: Requirements = Requirements(), count: int = 4, **more: str) -> Ask:
    return Ask("jobsys-a1", count, requirements, **{"script": "exit 0", **more})


def submitted(requirements: Requirements, **options: str) -> list[str]:
    """Give the options between those that every ask has and the last ones."""
    world = Pretended({"qconf -sc": COMPLEXES, "qsub": "7.1-4:1\n"})
    drive(GridEngine(options).submit(ask(requirements)), world)
    argv = list(world.ran[-1].argv)
    return argv[argv.index("-j") + 2 :]


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_submission() -> None:
    world = Pretended({"qsub": "Your site says hello\n123.1-4:1\n"})
    asked = ask(Requirements(memory=100 * MIB + 1, walltime=60.2), title="align, sort\n\tit's")
    assert drive(GridEngine({"queue": "long.q", "project": "p"}).submit(asked), world) == "123"
    command = world.ran[0]
    assert list(command.argv) == [
        *("qsub", "-terse", "-N", "jobsys-a1", "-t", "1-4", "-r", "n", "-S", "/bin/sh", "-C", "", "-wd", "/", "-o", "/dev/null", "-j", "y"),
        *("-ac", "title=align; sort it's", "-l", "h_vmem=101M,h_rt=61", "-q", "long.q", "-P", "p"),
    ]
    assert "exit 0" in command.input
    assert command.environment == {}


@pytest.mark.parametrize(
    ("requirements", "options", "expected"),
    [
        (Requirements(), {}, []),
        (Requirements(cores=0.1, memory=MIB), {"memory": ""}, []),
        (Requirements(cores=2.5, memory=100 * MIB), {"pe": "smp"}, ["-l", "h_vmem=34M", "-pe", "smp", "3"]),
        (Requirements(cores=2, memory=100 * MIB), {"pe": "smp", "memory": "mem_free, h_vmem"},
         ["-l", "mem_free=100M,h_vmem=50M", "-pe", "smp", "2"]),
        (Requirements(accelerators=3), {"accelerators": "gpu"}, ["-l", "gpu=3"]),
        (Requirements(cores=2, accelerators=4), {"pe": "smp", "accelerators": "gpu"}, ["-l", "gpu=2", "-pe", "smp", "2"]),
        (Requirements(cores=2, accelerators=3), {"pe": "smp", "accelerators": "gpus"}, ["-l", "gpus=3", "-pe", "smp", "2"]),
        (Requirements(), {"args": "-l 'os=new rhel' -R y"}, ["-l", "os=new rhel", "-R", "y"]),
    ],
)  # fmt: skip
def test_requirements(requirements: Requirements, options: dict[str, str], expected: list[str]) -> None:
    assert submitted(requirements, **options) == expected


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="No closing quotation"):
        GridEngine({"args": "-l 'a"})
    with pytest.raises(UsageError, match="do you mean 'queue'"):
        GridEngine({"queu": "long"})


@pytest.mark.parametrize(
    ("requirements", "options", "words"),
    [
        (Requirements(cores=2), {}, "2 cores need a parallel environment.* one of these: mpi, smp"),
        (Requirements(accelerators=1), {}, "--batch-option accelerators=NAME"),
        (Requirements(cores=2, accelerators=3), {"pe": "smp", "accelerators": "gpu"}, "3 accelerators can't be shared out among 2 slots"),
    ],
)
def test_what_cannot_be_written(requirements: Requirements, options: dict[str, str], words: str) -> None:
    answers = {"qconf -spl": "mpi\nsmp\n", "qconf -sc": COMPLEXES}
    with pytest.raises(AskRefusedError, match=words):
        drive(GridEngine(options).submit(ask(requirements)), Pretended(answers))
    assert drive(GridEngine(options).check(requirements), Pretended(answers))


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (Output(1, "", 'Unable to run job: Job was rejected because job requests unknown queue "nope.q"\nExiting.\n'), AskRefusedError,
         r'refuses 1 core: Job was rejected because job requests unknown queue "nope.q" \(see'),
        (Output(1, "", 'Unable to run job: unknown resource "gpu"\nExiting.\n'), AskRefusedError, 'unknown resource "gpu"'),
        (Output(25, "", "Unable to run job: job rejected: only 1 jobs are allowed per user (current job count: 2)\nExiting.\n"),
         PassingError, "only 1 jobs are allowed per user"),
        (Output(1, "", "Unable to run job: Error reading answer list from qmaster\nExiting.\n"), PassingError, "answer list"),
        (Output(1, "", DOWN), PassingError, "Connection refused"),
        # from the mailing lists: qmaster is overloaded
        (Output(1, "", "error: failed receiving gdi request response for mid=1 (got syncron message receive timeout error).\n"),
         PassingError, "gdi"),
        (Output(0, "nothing like a number\n", ""), PassingError, "nothing like"),
    ],
)  # fmt: skip
def test_refusals(output: Output, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        go(GridEngine().submit(ask()), qsub=output)


def test_a_script_that_others_must_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    world = Pretended({"/bin/sh -c": "", "qsub": "5.1-1:1\n"})
    drive(GridEngine({"scripts": str(folder)}).submit(ask(count=1, script="echo secret")), world)
    write, submit = world.ran
    subprocess.run(list(write.argv), input=write.input, text=True, check=True)
    path = folder / "jobsys-a1.sh"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("echo secret", 0o600)
    assert "secret" not in submit.input
    done = subprocess.run(["/bin/sh"], input=submit.input, text=True, capture_output=True, env={"SGE_TASK_ID": "1"})
    assert done.stdout == "secret\n"
    with pytest.raises(AskRefusedError, match=r"Permission denied.* --batch-option scripts"):
        go(GridEngine({"scripts": "/x"}).submit(ask()), **{"/bin/sh": Output(2, "", "sh: 1: cannot create /x/a.sh: Permission denied\n")})


def test_check() -> None:
    fits = "verification: found suitable queue(s)\n"
    slots = Output(
        1,
        "",
        'Unable to run job: Job 19 cannot run in PE "smp" because it only offers 0 slots\nverification: no suitable queues\nExiting.\n',
    )
    load = Output(
        1,
        "",
        'Unable to run job: Job 37 (-l mem_free=1M) cannot run in queue "all.q@vm" because job requests unknown resource (mem_free)\n'
        "verification: no suitable queues\nExiting.\n",
    )
    assert go(GridEngine().check(Requirements()), qsub=fits) == ""
    assert go(GridEngine().check(Requirements()), qsub=Output(1, "", DOWN)) == ""
    assert go(GridEngine().check(Requirements()), qsub=Output(25, "", "Unable to run job: job rejected: only 1 jobs are allowed\n")) == ""
    assert go(GridEngine().check(Requirements()), qsub=slots) == 'Job 19 cannot run in PE "smp" because it only offers 0 slots'
    loaded = GridEngine({"memory": "mem_free"}).check(Requirements(memory=MIB))
    assert drive(loaded, Pretended({"qsub -l mem_free": load, "qsub -w v": fits})) == ""


def test_learn() -> None:
    scheduler = GridEngine({"pe": "smp"})
    world = Pretended(
        {"qconf -sconf": "max_aj_instances             2000\nmax_aj_tasks                 75\n", "qconf -sc": COMPLEXES, "qsub": "1"}
    )
    drive(scheduler.learn(), world)
    assert scheduler.most == 75
    drive(scheduler.submit(ask(Requirements(cores=2, memory=MIB))), world)
    assert world.words().count("qconf -sc") == 1
    assert GridEngine.most == 1000


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 3), (99, 1), (100, 1), (101, 101)])
def test_statuses_that_mean_something_to_grid_engine_are_kept_from_it(status: int, expected: int) -> None:
    text = wrapped(ask(script=f"exit {status}"))
    assert subprocess.run(["/bin/sh"], input=text, text=True).returncode == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")))
def test_scripts_are_quoted_whatever_they_hold(word: str) -> None:
    asked = ask(script=f"printf %s {shlex.quote(word)}")
    done = subprocess.run(["/bin/sh"], input=wrapped(asked).encode(), capture_output=True, check=True)
    assert done.stdout.decode() == word


def test_what_tasks_print_goes_where_their_host_has_that_place(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "log" $HOME %j'
    folder.mkdir()
    for log in (folder, tmp_path / "nowhere"):
        text = wrapped(ask(script="echo out; echo err >&2; exit 4", log=str(log)))
        done = subprocess.run(["/bin/sh"], input=text, text=True, capture_output=True, env={**os.environ, "SGE_TASK_ID": "12"})
        assert (done.returncode, done.stdout) == (4, "" if log == folder else "out\n")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("jobsys-a1-11.log", "out\nerr\n")]


# ── what became of it ────────────────────────────────────────────────────────────────────────────────────────────────


def test_find() -> None:
    none = Output(1, "", "Following jobs do not exist: \njs\n")
    assert go(GridEngine().find("js"), qstat=EXPLAINED) == "43"
    assert go(GridEngine().find("js"), qstat=none, qacct=account(55) + account(55, "2")) == "55"
    assert go(GridEngine().find("js"), **{"qstat -j": none, "qacct -j": Output(1, "", "error: job name js not found\n")}) is None
    for down in (Output(1, "", DOWN), Output(0, DOWN_XML, "error: commlib error: got select error (Connection refused)\n")):
        with pytest.raises(PassingError):
            go(GridEngine().find("js"), qstat=down)


def test_a_look() -> None:
    rows = [
        row(25, "r", "4", "all.q@vm"),
        row(25, "s", "5", "all.q@vm"),
        row(25, "t", "9", "all.q@vm"),
        row(26, "r", "1", "all.q@n1"),
        row(25, "qw", "10-29:1,31,32,35-40:1"),
        row(27, "hqw", "1,2"),
        row(99, "r", "1", "all.q@vm"),
    ]
    world = Pretended({"qstat -xml": listing(*rows)})
    seen = drive(GridEngine().look({"25": [3, 4, 8, 9, 28, 30, 39], "26": [0], "27": {1}}), world)
    assert seen == {
        TaskId("25", 3): Seen(TaskState.RUNNING, host="vm", queue="all.q"),
        TaskId("25", 4): Seen(TaskState.RUNNING, host="vm", queue="all.q", message="state s"),
        TaskId("25", 8): Seen(TaskState.RUNNING, host="vm", queue="all.q"),
        **{TaskId("25", number): Seen(TaskState.QUEUED) for number in (9, 28, 30, 39)},
        TaskId("26", 0): Seen(TaskState.RUNNING, host="n1", queue="all.q"),
        TaskId("27", 1): Seen(TaskState.QUEUED, message="state hqw"),
    }
    assert world.words() == ["qstat -xml -u $user"]


@pytest.mark.parametrize("name", ["a%lt;b&amp;c", "a & b", "<job_list>", "é☃"])  # the first as Grid Engine writes `a<b&c`
def test_names_of_other_jobs_that_are_no_xml(name: str) -> None:
    listed = listing(row(1, "r", "1", "all.q@vm").replace("js-one", name), row(2, "qw", "1"))
    seen = go(GridEngine().look({"2": [0]}), qstat=listed)
    assert seen == {TaskId("2", 0): Seen(TaskState.QUEUED)}


def test_an_unknown_state_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = GridEngine()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            seen = go(scheduler.look({"1": [0, 1]}), qstat=listing(row(1, "X", "1", "all.q@vm"), row(1, "Yqw", "2")))
    assert [what.state for what in seen.values()] == [TaskState.RUNNING, TaskState.QUEUED]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("told", "reason", "status"),
    [
        (account(), None, 0),
        (account(status="3"), Reason.FAILED, 3),
        (account(status="137                  (Killed)"), Reason.FAILED, 137),
        (account(failed="100 : assumedly after job", status="137                  (Killed)"), Reason.KILLED, -9),
        (account(failed="100 : assumedly after job", status="143                  (Terminated)"), Reason.KILLED, -15),
        (account(failed="37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", status="137", maxvmem="3.344MB",
                 category="-l h_rt=2"), Reason.TIME_LIMIT, -9),
        (account(failed="37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", status="137", maxvmem="454.758MB",
                 category="-l h_vmem=300M"), Reason.MEMORY, -9),
        (account(failed="37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", status="137", maxvmem="454.758MB", slots=2,
                 category="-l h_rt=60,h_vmem=300M -pe smp 2"), Reason.TIME_LIMIT, -9),
        (account(failed="28  : changing into working directory"), Reason.LOST, None),
        (account(failed="26  : opening input/output file"), Reason.LOST, None),
        # made from the manual: a job that is no array
        (account(failed="21  : in recognizing job", task="undefined"), Reason.LOST, None),
    ],
)  # fmt: skip
def test_accounts(told: str, reason: Reason | None, status: int | None) -> None:
    seen = go(GridEngine().look({"1": [0]}), qstat=listing(), qacct=told)[TaskId("1", 0)]
    assert (seen.state, seen.reason, seen.exit_status, seen.host, seen.queue) == (TaskState.ENDED, reason, status, "vm", "all.q")
    assert ("Grid Engine says" in seen.message) == ("failed       0" not in told)


def test_only_what_is_missing_is_looked_up_and_a_restart_is_no_end() -> None:
    again = account(8, "2", failed="25  : rescheduling", status="99")
    world = Pretended(
        {"qstat": listing(row(8, "Rt", "2", "all.q@vm")), "qacct -j 8": again + account(8, "3") + account(8, "4", status="2")}
    )
    seen = drive(GridEngine().look({"8": [1, 2, 3, 6]}), world)
    assert {task.number: (what.state, what.exit_status) for task, what in seen.items()} == {
        1: (TaskState.RUNNING, None),
        2: (TaskState.ENDED, 0),
        3: (TaskState.ENDED, 2),
    }
    assert world.words()[1:] == ["qacct -j 8 -t 3-7"]
    assert text.accounts(again) == {}


def test_unknown_ones_are_left_out() -> None:
    assert go(GridEngine().look({"9999": [0]}), qstat=listing(), qacct=Output(1, "", "error: job id 9999 not found\n")) == {}
    assert go(GridEngine().look({"25": [19]}), qstat=listing(), qacct=Output(1, "", "error: Job-array tasks 25.20-20:1 not found\n")) == {}


def test_many_accounts_are_read_in_several_looks() -> None:
    scheduler, count = GridEngine(), 2 * ACCOUNTS + 5
    tasks = {str(native): [0] for native in range(count)}
    found: set[TaskId] = set()
    for _ in range(3):
        world = Pretended({"qstat": listing()} | {f"qacct -j {native} ": account(native) for native in range(count)})
        found |= drive(scheduler.look(tasks), world).keys()
        assert len(world.ran) == 1 + ACCOUNTS
    assert len(found) == count


def test_what_has_left_the_queue_is_told_of_as_before_until_it_is_in_the_accounts() -> None:
    scheduler, nothing = GridEngine(), Output(1, "", "error: job id 1 not found\n")
    go(scheduler.look({"1": [0, 1]}), qstat=listing(row(1, "r", "1", "all.q@vm"), row(1, "qw", "2")))
    for _ in range(PATIENCE):
        seen = go(scheduler.look({"1": [0, 1]}), qstat=listing(), qacct=nothing)
        assert [what.state for what in seen.values()] == [TaskState.RUNNING, TaskState.QUEUED]
        assert "no account of it yet" in seen[TaskId("1", 0)].message
    assert go(scheduler.look({"1": [0, 1]}), qstat=listing(), qacct=nothing) == {}


def test_accounts_are_read_less_and_less_often() -> None:
    scheduler = GridEngine()
    go(scheduler.look({"1": [0]}), qstat=listing(row(1, "r", "1", "all.q@vm")))
    world = Pretended({"qstat": listing(), "qacct": Output(1, "", "error: job id 1 not found\n")})
    read = []
    for look in range(1, PATIENCE + 1):
        before = world.words().count("qacct -j 1 -t 1-1")
        drive(scheduler.look({"1": [0]}), world)
        read += [look] * (world.words().count("qacct -j 1 -t 1-1") - before)
    assert read == [1, 2, 4, 8, 16]
    world.answers["qacct"] = account(status="3")
    assert drive(scheduler.look({"1": [0]}), world)[TaskId("1", 0)].exit_status == 3


def test_what_was_canceled_is_not_waited_for() -> None:
    scheduler = GridEngine()
    go(scheduler.look({"1": [0, 1]}), qstat=listing(row(1, "qw", "1,2")))
    go(scheduler.cancel({"1": [1]}), qdel="root has deleted job-array task 1.2\n")
    seen = go(scheduler.look({"1": [0, 1]}), qstat=listing(), qacct=Output(1, "", "error: job id 1 not found\n"))
    assert seen.keys() == {TaskId("1", 0)}


def test_errors_are_explained_and_canceled() -> None:
    rows = [row(43, "r", "1", "all.q@vm"), row(43, "Eqw", "2,3"), row(44, "Eqw", "2"), row(45, "Eqw", "1")]
    world = Pretended({"qstat -xml": listing(*rows), "qstat -j 43,44": EXPLAINED, "qacct": "", "qdel": ""})
    seen = drive(GridEngine().look({"43": [0, 1, 2], "44": [1]}), world)
    assert seen[TaskId("43", 0)].state is TaskState.RUNNING
    assert {task: (what.state, what.reason) for task, what in seen.items() if task.number} == dict.fromkeys(
        [TaskId("43", 1), TaskId("43", 2), TaskId("44", 1)], (TaskState.ENDED, Reason.LOST)
    )
    assert "can't chdir to /home/me/private: Permission denied" in seen[TaskId("43", 1)].message
    assert "does not say why" in seen[TaskId("43", 2)].message
    assert world.words()[1:] == ["qstat -j 43,44", "qdel 43.2-3 44.2"]


def test_a_host_that_is_not_heard_of_for_long() -> None:
    unheard = "<job_info>\n  <queue_info>\n    <Queue-List>\n      <name>all.q@n1</name>\n      <state>u</state>\n    </Queue-List>\n"
    both = listing(row(1, "r", "1", "all.q@n1"), row(1, "r", "2", "all.q@n2"))
    now = 1000.0
    scheduler = GridEngine(clock=lambda: now)
    world = Pretended({"qstat -xml": both, "qstat -f -xml -qs u": unheard, "qdel": ""})
    for _ in range(int(ROUND + SILENCE) // 10):  # however often somebody looks
        assert all(what.state is TaskState.RUNNING for what in drive(scheduler.look({"1": [0, 1]}), world).values())
        now += 10
    assert len([words for words in world.words() if words.startswith("qstat -f")]) == SILENCE // ROUND
    seen = drive(scheduler.look({"1": [0, 1]}), world)
    assert (seen[TaskId("1", 0)].reason, seen[TaskId("1", 1)].state) == (Reason.LOST, TaskState.RUNNING)
    assert "all.q@n1" in seen[TaskId("1", 0)].message
    assert world.words()[-1] == "qdel 1.1"
    world.answers["qstat -f -xml -qs u"] = listing()
    now += ROUND
    seen = drive(scheduler.look({"1": [0, 1]}), world)
    assert seen[TaskId("1", 0)].state is TaskState.RUNNING


def test_a_host_is_not_lost_because_qmaster_was_away_for_long() -> None:
    now = 0.0
    earlier = Earlier(clock=lambda: now)
    now = ROUND
    earlier.miss(["all.q@n1"])
    now += SILENCE
    for _ in range(TIMES - 1):
        assert not earlier.is_lost("all.q@n1")
        earlier.miss(["all.q@n1"])
        now += ROUND
    assert earlier.is_lost("all.q@n1")
    earlier.miss([])
    earlier.miss(["all.q@n1"])
    assert not earlier.is_lost("all.q@n1")


@pytest.mark.parametrize("ours", [True, False])
def test_a_cancellation_is_remembered(ours: bool) -> None:
    scheduler = GridEngine()
    killed = account(1, "1", failed="100 : assumedly after job", status="137") + account(1, "2")
    if ours:
        go(scheduler.cancel({"1": None}), qdel="root has registered the job-array task 1.1 for deletion\n")
    else:
        go(scheduler.look({"1": [0]}), qstat=listing(row(1, "dr", "1", "all.q@vm")))
    seen = go(scheduler.look({"1": [0, 1]}), qstat=listing(), qacct=killed)
    assert [what.reason for what in seen.values()] == [Reason.CANCELED, None]


def test_cancel(caplog: pytest.LogCaptureFixture) -> None:
    gone = Output(1, 'denied: job "1" does not exist\nroot has deleted job 2\n', "")
    world = Pretended({"qdel": gone})
    drive(GridEngine().cancel({"1": None, "2": [0, 1, 2, 7], "3": []}), world)
    assert world.words() == ["qdel 1 2.1-3 2.8"]
    assert not caplog.records
    # from the source: another's job
    go(GridEngine().cancel({"5": None}), qdel=Output(1, 'denied: "me" is not an operator or the owner of job "5"\n', ""))
    assert "not an operator" in caplog.text
    with pytest.raises(PassingError):
        go(GridEngine().cancel({"1": None}), qdel=Output(1, "", DOWN))
    world = Pretended({"qdel": ""})
    drive(GridEngine().cancel({"1": range(0, 5000, 2)}), world)
    assert [len(command.argv) for command in world.ran] == [1001, 1001, 501]


def test_qmaster_is_down() -> None:
    for down in (Output(1, "", DOWN), Output(0, DOWN_XML, "")):
        with pytest.raises(PassingError, match="qmaster"):
            go(GridEngine().look({"1": [0]}), qstat=down)


@given(st.sets(st.integers(0, 300)))
def test_ranges_come_back(numbers: set[int]) -> None:
    assert {number - 1 for span in text.spans(ranges(numbers, 1)) for number in span} == numbers


@given(st.text())
def test_whatever_is_printed_can_be_read(printed: str) -> None:
    noise = listing(row(1, "r", "1", "all.q@vm")).replace("js-one", printed) + printed
    assert all(what.state is TaskState.RUNNING for what in go(GridEngine().look({"1": [0]}), qstat=noise, qacct=printed).values())
