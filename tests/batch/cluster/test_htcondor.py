"""HTCondor's text functions: which commands they run, and what they make of the answers. The answers in htcondor/ are those of 23.9."""

import logging
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobsys.batch.cluster.commands import drive
from jobsys.batch.cluster.htcondor import HTCondor
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Command, Output, PassingError, Seen, Steps, TaskId, TaskState
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

RECORDED = Path(__file__).parent / "htcondor"
ASK = Ask("ask-1", 3, Requirements(), "echo 'secret'\n", title="squares")
SAVED = Output(0, "/home/me/.local/state/jobsys/htcondor/ask-1.q1w2\n")
TAKEN = Output(0, "17.0 - 17.2\n")
NOTHING = Output(0, "")
NO_ADS = Output(0, "[\n]\n")  # condor_history; condor_q prints nothing at all
NO_SCHEDD = "ERROR: Can't find address of local schedd"


class Shell:
    """Answers commands in order, and keeps them."""

    def __init__(self, *answers: Output) -> None:
        self.answers = list(answers)
        self.commands: list[Command] = []

    def __call__(self, command: Command) -> Output:
        self.commands.append(command)
        return self.answers.pop(0)

    def play(self, steps: Steps[Any]) -> Any:
        found = drive(steps, self)
        assert not self.answers, f"nobody asked for {self.answers}"
        return found

    @property
    def words(self) -> list[str]:
        """The tools that were called, and of the shell what it deletes."""
        return [" ".join(command.argv[5:]) if "/bin/sh" in command.argv else command.argv[0] for command in self.commands]


def recorded(name: str) -> Output:
    return Output(0, (RECORDED / f"{name}.json").read_text())


def test_submit() -> None:
    shell = Shell(SAVED, TAKEN)
    assert shell.play(HTCondor({"args": "-file-name 'a b'", "schedd": "s1", "pool": "p1"}).submit(ASK)) == "17"
    save, submit = shell.commands
    assert save.argv[:2] == ("/bin/sh", "-c")
    assert save.argv[3:] == ("sh", "", "ask-1", "")
    assert save.input == ASK.script
    assert submit.argv == ("condor_submit", "-name", "s1", "-pool", "p1", "-terse", "-file-name", "a b", "-")
    assert "queue 3\n" in submit.input
    assert "secret" not in " ".join((*save.argv, *submit.argv, submit.input))


def test_every_command_goes_through_the_prefix() -> None:
    shell = Shell(SAVED, TAKEN, NOTHING, NO_ADS, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
    condor = HTCondor({"prefix": "enter 'the tree'"})
    shell.play(everything(condor))
    assert {command.argv[:2] for command in shell.commands} == {("enter", "the tree")}


def everything(condor: HTCondor) -> Steps[None]:
    yield from condor.submit(ASK)
    yield from condor.look({"17": range(3)})
    yield from condor.cancel({"17": None})
    yield from condor.check(Requirements())
    yield from condor.learn()


REFUSALS = [
    ("ERROR: Parse error in expression: \n\tRequestMemory = bla bla\n", AskRefusedError),  # recorded, as are the next two
    ("ERROR: No such directory: /nonex", AskRefusedError),
    (NO_SCHEDD, PassingError),
    ("ERROR: Failed to create proc\nNumber of submitted jobs would exceed MAX_JOBS_PER_OWNER", PassingError),
    ("ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_SUBMISSION", AskRefusedError),
    ("ERROR: Failed to connect to local queue manager\nSECMAN:2007:Failed to end classad message.", PassingError),
]


@pytest.mark.parametrize(("words", "error"), REFUSALS)
def test_a_submission_that_fails(words: str, error: type[Exception]) -> None:
    shell = Shell(SAVED, Output(1, "", words), *([NOTHING] if error is AskRefusedError else []))
    with pytest.raises(error, match=re.escape(words.split("\n")[0].strip())):
        shell.play(HTCondor().submit(ASK))
    # of a script that may be needed nobody gets rid
    assert shell.words[2:] == (["ask-1.q1w2"] if error is AskRefusedError else [])


def test_a_script_that_cannot_be_written() -> None:
    with pytest.raises(AskRefusedError, match="Permission denied; give --batch-option directory=PATH"):
        Shell(Output(1, "", "mkdir: cannot create directory: Permission denied")).play(HTCondor().submit(ASK))


def test_find_in_the_queue_and_then_in_the_history() -> None:
    shell = Shell(Output(0, "17\n17\n17\n"))
    assert shell.play(HTCondor().find("ask-1")) == "17"
    assert shell.commands[0].argv == ("condor_q", "-constraint", 'JobsysAsk == "ask-1"', "-af", "ClusterId")
    shell = Shell(NOTHING, Output(0, "17\n"))
    assert shell.play(HTCondor().find("ask-1")) == "17"
    assert shell.commands[1].argv[-2:] == ("-match", "1")
    assert "-since" in shell.commands[1].argv
    assert Shell(NOTHING, NOTHING).play(HTCondor().find("ask-1")) is None


def test_the_script_of_what_was_not_taken_goes() -> None:
    condor = HTCondor()
    with pytest.raises(PassingError):
        Shell(SAVED, Output(1, "", NO_SCHEDD)).play(condor.submit(ASK))
    with pytest.raises(PassingError):
        Shell(Output(1, "", "Error: (null)\n\nExtra Info: start the daemons")).play(condor.find(ASK.name))
    shell = Shell(NOTHING, NOTHING, NOTHING)
    assert shell.play(condor.find(ASK.name)) is None
    assert shell.words == ["condor_q", "condor_history", "ask-1.q1w2"]


def test_look() -> None:
    shell = Shell(recorded("queue"), recorded("history"), NOTHING)
    seen = shell.play(HTCondor().look({"12": range(3), "13": range(4), "14": range(3), "15": [0]}))
    assert seen == {
        TaskId("12", 0): Seen(TaskState.ENDED, None, 0, host="vm"),
        TaskId("12", 1): Seen(TaskState.ENDED, Reason.FAILED, 3, host="vm"),
        TaskId("12", 2): Seen(TaskState.ENDED, Reason.KILLED, -9, host="vm"),
        TaskId("13", 0): Seen(TaskState.RUNNING, host="vm"),  # 13.4 runs as well, of which nobody asked
        TaskId("13", 1): Seen(TaskState.ENDED, Reason.PREEMPTED, message="User requested the job to vacate", host="vm"),
        TaskId("13", 2): Seen(TaskState.ENDED, Reason.CANCELED, message="via condor_hold (by user condor-test)", host="vm"),
        TaskId("13", 3): Seen(TaskState.ENDED, Reason.CANCELED, message="via condor_rm (by user condor-test)", host="vm"),
        TaskId("14", 0): Seen(TaskState.QUEUED, message="no match found"),
        TaskId("14", 1): Seen(TaskState.QUEUED, message="via condor_hold (by user condor-test)"),
        TaskId("15", 0): Seen(TaskState.ENDED, Reason.TIME_LIMIT, message="jobsys: it ran for longer than its walltime", host="vm"),
    }
    queue, history, drop = (command.argv for command in shell.commands)
    assert queue[-1] == "JobsysAsk =!= undefined && ((ClusterId >= 12 && ClusterId <= 15))"
    left = "((ProcId >= 0 && ProcId <= 2))", "((ProcId >= 1 && ProcId <= 3))", "(ProcId == 2)", "(ProcId == 0)"
    wanted = " || ".join(f"(ClusterId == {native} && {part})" for native, part in zip(range(12, 16), left, strict=True))
    assert history[history.index("-constraint") + 1] == f"JobsysAsk =!= undefined && ({wanted})"
    assert history[-2:] == ("-match", "8")
    assert [name.partition(".")[0] for name in drop[5:]] == ["jobsys-ends", "jobsys-limit"]


def test_a_look_at_what_is_in_the_queue_is_one_command() -> None:
    shell = Shell(recorded("queue"))
    assert len(shell.play(HTCondor().look({"13": [0, 4], "14": [0, 1]}))) == 4
    assert shell.words == ["condor_q"]


def test_a_script_goes_when_no_task_can_start_any_more() -> None:
    condor, task = HTCondor(), {"17": [0]}
    Shell(SAVED, TAKEN).play(condor.submit(ASK))
    job = '[{"ClusterId": 17, "ProcId": 0, "JobStatus": %d, "NumShadowStarts": 1}]'
    Shell(Output(0, job % 2)).play(condor.look(task))
    shell = Shell(Output(0, job % 4), NOTHING)
    shell.play(condor.look(task))
    assert shell.words == ["condor_q", "ask-1.q1w2"]
    Shell(NOTHING, NO_ADS).play(condor.look(task))  # once only


def test_a_script_that_the_history_names_is_deleted_once() -> None:
    condor = HTCondor()
    for deleted in (["jobsys-ends"], []):
        shell = Shell(NOTHING, recorded("history"), *[NOTHING for _ in deleted])
        assert len(shell.play(condor.look({"12": range(3)}))) == 3
        assert [words.partition(".")[0] for words in shell.words[2:]] == deleted


def test_a_name_that_is_none_of_ours_is_not_deleted() -> None:
    job = '[{"ClusterId": 17, "ProcId": 0, "JobStatus": 4, "JobsysScript": "../../.ssh/id_rsa"}]'
    shell = Shell(NOTHING, Output(0, job))
    shell.play(HTCondor().look({"17": [0]}))
    assert [words.partition(".")[0] for words in shell.words] == ["condor_q", "condor_history"]


def test_what_cannot_be_deleted_is_told(caplog: pytest.LogCaptureFixture) -> None:
    condor = HTCondor()
    Shell(SAVED, TAKEN).play(condor.submit(ASK))
    with caplog.at_level(logging.WARNING):
        Shell(NOTHING, NO_ADS, Output(1, "", "rm: Permission denied")).play(condor.look({"17": [0]}))
    assert "can't be deleted: rm: Permission denied" in caplog.text


@pytest.mark.parametrize("answer", [Output(1, "", "Error: (null)\n\nExtra Info: You probably saw …"), Output(0, "[{")])
def test_a_schedd_that_does_not_answer(answer: Output) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: Shell(answer).play(HTCondor().look({"17": [0]})),
        lambda: Shell(NOTHING, answer).play(HTCondor().look({"17": [0]})),
    ]
    for call in calls:
        with pytest.raises(PassingError, match="HTCondor"):
            call()


def test_a_machine_that_keeps_no_history_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    condor = HTCondor()
    unset = Output(1, "", "Error: No passed search file and configuration key HISTORY is unset.\n\nExtra Info: The variable HISTORY is not")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert Shell(NOTHING, unset).play(condor.look({"17": [0]})) == {}
    assert len(caplog.records) == 1


def test_cancel() -> None:
    condor = HTCondor()
    Shell(SAVED, TAKEN).play(condor.submit(ASK))
    shell = Shell(NOTHING)
    shell.play(condor.cancel({"17": [0, 1], "18": [4]}))
    assert shell.commands[0].argv[-1] == (
        "JobsysAsk =!= undefined && ((ClusterId == 17 && ((ProcId >= 0 && ProcId <= 1))) || (ClusterId == 18 && (ProcId == 4)))"
    )
    none = Output(1, "", "Couldn't find/remove all jobs matching constraint (ClusterId==17)\n")
    shell = Shell(none, NOTHING)
    shell.play(condor.cancel({"17": None}))
    assert shell.words == ["condor_rm", "ask-1.q1w2"]
    with pytest.raises(PassingError, match="can't remove jobs: condor_rm"):
        Shell(Output(1, "", "condor_rm: (null)\n")).play(condor.cancel({"17": [0]}))


def test_cancel_of_what_another_leader_has_asked_for() -> None:
    job = '[{"ClusterId": 17, "ProcId": 0, "JobStatus": 1, "JobsysScript": "ask-1.abcd"}]'
    shell = Shell(Output(0, job), NOTHING, NOTHING)
    shell.play(HTCondor().cancel({"17": None}))
    assert shell.words == ["condor_q", "condor_rm", "ask-1.abcd"]


def test_a_script_goes_with_the_next_look_at_others_or_at_the_close() -> None:
    condor = HTCondor()
    Shell(SAVED, TAKEN).play(condor.submit(ASK))
    job = '[{"ClusterId": %d, "ProcId": 0, "JobStatus": 2}]'
    shell = Shell(Output(0, job % 17))
    shell.play(condor.close())
    assert "ClusterId == 17" in shell.commands[0].argv[-1]
    shell = Shell(Output(0, job % 18), NOTHING)
    assert list(shell.play(condor.look({"18": [0]}))) == [TaskId("18", 0)]
    assert shell.words == ["condor_q", "ask-1.q1w2"]
    assert "ClusterId >= 17 && ClusterId <= 18" in shell.commands[0].argv[-1]
    Shell().play(condor.close())
    Shell(SAVED, TAKEN).play(condor.submit(ASK))
    shell = Shell(NOTHING, NOTHING)
    shell.play(condor.close())
    assert shell.words == ["condor_q", "ask-1.q1w2"]


SLOTS = Output(0, "8 4000 63029764.0 0\n64 undefined 1000.0 4\n")
CHECKS = [
    (Requirements(cores=8, memory=4000 << 20), True),
    (Requirements(cores=9, disk=1 << 30), False),  # each has room for one of both
    (Requirements(cores=64, memory=1 << 60, accelerators=4), True),  # a memory that is not told says nothing against it
    (Requirements(accelerators=5), False),
]


@pytest.mark.parametrize(("asked", "fits"), CHECKS)
def test_check(asked: Requirements, fits: bool) -> None:
    told = Shell(SLOTS).play(HTCondor().check(asked))
    assert told == "" if fits else "up to 64 cores, inf MiB memory, 6.30298e+07 KiB disk, 4 accelerators" in told


@pytest.mark.parametrize("answer", [NOTHING, Output(1, "", "Error: communication error")])
def test_a_pool_of_which_nothing_is_known_may_have_room(answer: Output) -> None:
    assert Shell(answer).play(HTCondor().check(Requirements(cores=999))) == ""
    assert Shell().play(HTCondor({"elastic": "yes"}).check(Requirements(cores=999))) == ""


@pytest.mark.parametrize(("answer", "most"), [("20000\n", 1000), ("50\n", 50), ("0\n", 1), ("Not defined\n", 1000)])
def test_learn(answer: str, most: int) -> None:
    condor = HTCondor()
    Shell(Output(0, answer)).play(condor.learn())
    assert condor.most == most


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"args": "'"}, "args=\"'\" can't be divided into words"),
        ({"line": "x = 1\nQueue 7"}, "leave out `queue`"),
        ({"elastic": "maybe"}, "give yes or no"),
        ({"requirement": "x"}, "do you mean 'requirements'"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        HTCondor(options)


def test_the_shell_writes_and_deletes_in_a_directory_of_any_name(tmp_path: Path) -> None:
    """Run what is for /bin/sh for real."""
    folder, log = tmp_path / "a 'b' $(c) é", tmp_path / "the log"
    condor = HTCondor({"directory": str(folder)})
    outputs = []

    def run(command: Command) -> Output:
        if "/bin/sh" not in command.argv:
            return Output(0, "17.0 - 17.0\n") if command.argv[0] == "condor_submit" else NOTHING
        done = subprocess.run(command.argv, input=command.input, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
        return Output(done.returncode, done.stdout, done.stderr)

    drive(condor.submit(Ask("ask-1", 1, Requirements(), "x\n\\n $HOME", log=str(log))), run)
    (path,) = folder.iterdir()
    assert outputs == [f"{path.resolve()}\n"]
    assert (path.read_text(), path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == ("x\n\\n $HOME", 0o600, 0o700)
    assert log.is_dir()
    drive(condor.look({"17": [0]}), run)
    assert list(folder.iterdir()) == []


def test_without_a_directory_scripts_lie_with_the_state_of_whoever_runs_the_tools(tmp_path: Path) -> None:
    shell = Shell(SAVED, TAKEN)
    shell.play(HTCondor().submit(ASK))
    save = shell.commands[0]
    for name, place in (("HOME", ".local/state/jobsys/htcondor"), ("XDG_STATE_HOME", "jobsys/htcondor")):
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/none", name: str(tmp_path / name)}
        done = subprocess.run(save.argv, input=save.input, env=environment, capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()).parent == (tmp_path / name / place).resolve()


def test_a_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    shell = Shell(SAVED, TAKEN)
    shell.play(HTCondor({"directory": "~/scripts"}).submit(ASK))
    assert shlex.join(shell.commands[0].argv).endswith("sh /home/me/scripts ask-1 ''")
