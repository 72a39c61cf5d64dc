"""Slurm's text functions, driven with outputs that were recorded from 22.05.8 where nothing else is said."""

import logging
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster.commands import CommandScheduler, drive, run
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Command, Output, PassingError, TaskId, TaskState
from jobsys.batch.cluster.slurm import Slurm
from jobsys.batch.cluster.slurm_commands import program, read_config
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

CONFIG = """\
Configuration data as of 2026-11-28T11:38:18
AccountingStorageType   = accounting_storage/{0}
ClusterName             = test
JobCompLoc              = {2}
JobCompType             = jobcomp/{1}
MaxArraySize            = 10001
MaxJobCount             = 100000
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at localhost is UP
"""
WITHOUT = Output(0, CONFIG.format("none", "none", ""))
WITH = Output(0, CONFIG.format("slurmdbd", "none", ""))
NOTED = Output(0, CONFIG.format("none", "filetxt", "/var/log/slurm jobs.txt"))
SINFO = Output(0, "main|main*|up|infinite|2|3000|(null)\nshort|short|up|30:00|2|3000|(null)\ngpu|gpu|up|2-00:00:00|8|64000|gpu:a100:4\n")
DOWN = Output(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
UNKNOWN = Output(1, "", "slurm_load_jobs error: Invalid job id specified\n")
NO_DATABASE = Output(1, "", "sacct: error: Problem talking to the database: Connection refused\n")


class Shell:
    """Answers each command with what was set for its program, and keeps what was run."""

    def __init__(self, **outputs: Output | Sequence[Output]) -> None:
        self.outputs = {"scontrol": WITHOUT, "sinfo": SINFO, **outputs}
        self.ran: list[Command] = []

    def __call__(self, command: Command) -> Output:
        self.ran.append(command)
        output = self.outputs[command.argv[0]]
        if isinstance(output, Output):
            return output
        return output[sum(ran.argv[0] == command.argv[0] for ran in self.ran) - 1]

    def programs(self) -> list[str]:
        return [command.argv[0] for command in self.ran]


def slurm(shell: Shell, **options: str) -> CommandScheduler:
    return CommandScheduler(Slurm({name.replace("_", "-"): value for name, value in options.items()}, user=1000), shell)


def ask(**more: Any) -> Ask:
    need = more.pop("need", Requirements())
    return Ask(**{"name": "jobsys-abc", "count": 3, "requirements": need, "script": "#!/bin/sh\nexec true\n", **more})


def arguments(need: Requirements = Requirements(), options: dict[str, str] | None = None, **more: Any) -> list[str]:
    shell = Shell(sbatch=Output(0, "77\n"))
    assert CommandScheduler(Slurm(options, user=1000), shell).submit(ask(need=need, **more)) == "77"
    return list(shell.ran[-1].argv)


# ── submit ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_submission() -> None:
    shell = Shell(sbatch=Output(0, "77\n"))
    need = Requirements(cores=1.5, memory=(100 << 20) + 1, accelerators=2, walltime=3600)
    assert slurm(shell, account="acc").submit(ask(need=need, title="a  'title'\n\x00\"☃\"")) == "77"
    assert shell.programs() == ["scontrol", "sinfo", "sbatch"]
    assert list(shell.ran[-1].argv) == [
        "sbatch",
        "--parsable",
        "--job-name=jobsys-abc",
        "--array=0-2",
        "--no-requeue",
        "--chdir=/",
        "--output=/dev/null",
        "--error=/dev/null",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=2",
        "--comment=a 'title' \"☃\"",
        "--mem=101M",
        "--gres=gpu:2",
        "--time=62",
        "--signal=B:USR2@30",
        "--account=acc",
        "--partition=gpu",
        "--export=ALL",
    ]
    assert shell.ran[-1].input == "#!/bin/sh\n:\n#!/bin/sh\nexec true\n"


def test_what_a_job_leaves_open_is_left_to_slurm() -> None:
    words = arguments()
    assert not [word for word in words if word.startswith(("--mem", "--time", "--gres", "--comment", "--partition", "--qos"))]


def test_options_and_more_arguments() -> None:
    words = arguments(
        Requirements(walltime=60), {"partition": "short,main", "qos": "q", "gres": "gpu:a100", "args": "--exclude='n 1' --nice"}
    )
    assert words[-2:] == ["--exclude=n 1", "--nice"]
    assert {"--partition=short,main", "--qos=q", "--time=3"} <= set(words)


def test_what_may_be_preempted_runs_elsewhere() -> None:
    options = {"partition": "main", "preemptible-partition": "spot", "preemptible-qos": "low"}
    assert {"--partition=spot", "--qos=low"} <= set(arguments(Requirements(preemptible=True), options))
    assert "--partition=main" in arguments(Requirements(), options)


def test_the_signal_before_the_limit_is_another_one_where_it_would_come_before_a_preemption_too() -> None:
    assert "--signal=B:USR2@30" in arguments()
    for line in ("SlurmctldParameters     = preempt_send_user_signal,x", "PreemptParameters = send_user_signal"):
        shell = Shell(sbatch=Output(0, "77\n"), scontrol=Output(0, f"{CONFIG}{line}\n"))
        slurm(shell).submit(ask())
        assert "--signal=B:TERM@30" in shell.ran[-1].argv


def test_a_walltime_that_just_fits_into_a_partition_is_asked_for_and_not_cut_by_a_signal() -> None:
    words = arguments(Requirements(walltime=1800), {"partition": "short"})
    assert "--time=30" in words
    assert not [word for word in words if word.startswith("--signal")]


def test_the_script_is_in_no_argument_and_no_variable() -> None:
    shell = Shell(sbatch=Output(0, "77\n"))
    slurm(shell).submit(ask(script="#!/bin/sh\nsecret=hush\n"))
    assert "hush" in shell.ran[-1].input
    assert not [text for command in shell.ran for text in (*command.argv, *command.environment.values()) if text and "hush" in text]


@pytest.mark.parametrize("printed", ["77\n", "77;cluster\n", "sbatch: a word of this site\n77\n"])
def test_the_id_is_found_in_what_sbatch_prints(printed: str) -> None:
    assert slurm(Shell(sbatch=Output(0, printed))).submit(ask()) == "77"


def test_an_answer_without_an_id_is_an_answer_that_was_lost() -> None:
    with pytest.raises(PassingError, match="names no job"):
        slurm(Shell(sbatch=Output(0, ""))).submit(ask())


def test_more_tasks_than_an_array_may_have_are_refused_with_the_number() -> None:
    shell = Shell(sbatch=Output(0, "77\n"))
    with pytest.raises(AskRefusedError, match="10001"):
        slurm(shell).submit(ask(count=10_002))
    assert "sbatch" not in shell.programs()


def test_after_a_refusal_partitions_are_listed_anew() -> None:
    shell = Shell(sbatch=[Output(1, "", "sbatch: error: invalid partition specified: x"), Output(0, "77")])
    scheduler = slurm(shell)
    with pytest.raises(AskRefusedError, match="partition=NAME"):
        scheduler.submit(ask())
    assert scheduler.submit(ask()) == "77"
    assert shell.programs() == ["scontrol", "sinfo", "sbatch", "sinfo", "sbatch"]


@pytest.mark.parametrize("program", ["scontrol", "sinfo", "sbatch"])
def test_a_controller_that_is_down_is_a_passing_error(program: str) -> None:
    with pytest.raises(PassingError, match="Unable to contact"):
        slurm(Shell(**{"sbatch": Output(0, "77"), program: DOWN})).submit(ask())


def test_what_no_node_has_is_told_before_it_is_asked_for() -> None:
    shell = Shell()
    scheduler = slurm(shell)
    assert scheduler.check(Requirements(cores=8)) == ""
    assert "9 cores" in scheduler.check(Requirements(cores=9))
    assert "partition main" in slurm(shell, partition="main").check(Requirements(cores=8))
    assert slurm(shell, partition="of-another-cluster").check(Requirements(cores=1000)) == ""
    assert shell.programs() == ["sinfo"] * 3


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("option", "value"), [("most", "many"), ("most", "-1"), ("args", "'"), ("partitoin", "x")])
def test_a_setting_that_makes_no_sense(option: str, value: str) -> None:
    with pytest.raises(UsageError, match=option):
        Slurm({option: value})


def test_how_many_tasks_go_into_one_array() -> None:
    for options, first, then in (({}, 1000, 10_001), ({"most": "50"}, 50, 50), ({"most": "99999"}, 99999, 10_001)):
        scheduler = slurm(Shell(), **options)
        assert scheduler.most == first
        scheduler.learn()
        assert scheduler.most == then
    assert read_config("MaxArraySize = 4000001\nMaxJobCount = 10000\n").most == 10_000
    assert read_config("nonsense\n").most == 1000


def test_one_of_several_clusters_is_meant_by_all_commands() -> None:
    shell = Shell(sbatch=Output(0, "77;far"), squeue=Output(0))
    scheduler = slurm(shell, cluster="far")
    scheduler.submit(ask())
    scheduler.look({"77": [0]})
    assert {command.environment.get("SLURM_CLUSTERS") for command in shell.ran} == {"far"}


def test_what_people_set_for_themselves_does_not_shape_what_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in = tmp_path / "squeue"
    stand_in.write_text(
        '#!/bin/sh\n[ -z "${SQUEUE_FORMAT+set}" ] && [ "$SLURM_BITSTR_LEN" = 0 ] && [ "$KEPT" = 1 ] || exit 1\n'
        'echo "7_[0-1]|RUNNING|0|n1|main|None|"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("KEPT", "1")
    assert CommandScheduler(Slurm()).look({"7": [1]})[TaskId("7", 1)].state is TaskState.RUNNING


@pytest.mark.parametrize(
    ("options", "whole"), [({}, False), ({"export": "NIL"}, True), ({"args": "--export=ALL,A=1"}, True), ({"args": "--nice"}, False)]
)
def test_sbatch_exports_little_unless_somebody_says_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, str], whole: bool
) -> None:
    stand_in = tmp_path / "sbatch"
    stand_in.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/words\nenv >{tmp_path}/variables\necho 77\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SECRET", "hush")
    shell = Shell()
    scheduler = CommandScheduler(Slurm(options), lambda command: run(command) if command.argv[0] == "sbatch" else shell(command))
    submitted = scheduler.submit(ask())
    variables = dict(line.partition("=")[::2] for line in (tmp_path / "variables").read_text().splitlines())
    assert (submitted, variables["SLURM_CONF"], "PATH" in variables, "SECRET" in variables) == ("77", "/etc/slurm.conf", True, whole)
    words = (tmp_path / "words").read_text()
    assert f"--export={options.get('export', 'ALL')}" in words
    assert words.endswith(f"{options['args']}\n") if "args" in options else words.count("--export") == 1


# ── find ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = Output(0, "12_0|COMPLETED|0|n1|main|None|\n9_[0-1]|PENDING|0|n/a|main|Resources|\n")


def test_tasks_are_found_in_the_queue_the_first_ones_if_there_are_two() -> None:
    shell = Shell(squeue=ROWS)
    assert slurm(shell).find("jobsys-abc") == "9"
    assert "--name=jobsys-abc" in shell.ran[0].argv


def test_tasks_that_left_the_queue_are_found_in_accounting_whatever_the_time_of_day() -> None:
    shell = Shell(squeue=Output(0), scontrol=WITH, sacct=Output(0, "9_0|COMPLETED|0:0|n1|main|None\n"))
    assert slurm(shell).find("jobsys-abc") == "9"
    assert {"--name=jobsys-abc", "--starttime=now-7days"} <= set(shell.ran[-1].argv)


def test_tasks_that_left_the_queue_are_found_in_the_file_of_finished_jobs() -> None:
    line = "JobId=4 UserId=u(1) GroupId=g(1) Name=jobsys-abc JobState=FAILED Partition=main TimeLimit=1 NodeList=n2 NodeCnt=1 "
    line += "ArrayJobId=1 ArrayTaskId=2 DerivedExitCode=0:0 ExitCode=0:9 \n"
    shell = Shell(squeue=Output(0), scontrol=NOTED, tail=Output(0, line))
    assert slurm(shell).find("jobsys-abc") == "1"
    assert slurm(shell).find("jobsys-ab") is None
    assert shell.ran[-1].argv[-1] == "/var/log/slurm jobs.txt"
    assert slurm(shell).look({"1": [2, 3]}).keys() == {TaskId("1", 2)}


def test_a_name_that_nobody_gave() -> None:
    assert slurm(Shell(squeue=Output(0))).find("jobsys-abc") is None
    assert slurm(Shell(squeue=Output(0), scontrol=WITH, sacct=Output(0))).find("jobsys-abc") is None


@pytest.mark.parametrize("outputs", [{"squeue": DOWN}, {"squeue": Output(0), "scontrol": WITH, "sacct": NO_DATABASE}])
def test_whether_there_are_tasks_is_not_guessed(outputs: dict[str, Output]) -> None:
    with pytest.raises(PassingError):
        slurm(Shell(**outputs)).find("jobsys-abc")


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_look_is_one_command_however_many_tasks() -> None:
    text = "".join(f"{native}_[0-9999]|PENDING|0|n/a|main|Resources|\n" for native in range(1, 6))
    shell = Shell(squeue=Output(0, text))
    seen = slurm(shell).look({str(native): range(10_000) for native in range(1, 6)})
    assert len(seen) == 50_000
    assert shell.programs() == ["squeue"]
    argv = shell.ran[0].argv
    assert {"--user=1000", "--states=all", "--all"} <= set(argv)


def test_more_ids_than_fit_into_an_argument_are_not_listed() -> None:
    shell = Shell(squeue=Output(0, "7_0|RUNNING|0|n1|main|None|\n"))
    assert list(slurm(shell).look({str(native): [0] for native in range(6000)})) == [TaskId("7", 0)]
    assert not [word for word in shell.ran[0].argv if word.startswith("--jobs")]


def test_what_the_queue_has_forgotten_is_asked_of_accounting() -> None:
    shell = Shell(squeue=UNKNOWN, scontrol=WITH, sacct=Output(0, "7_0|TIMEOUT|0:0|n1|main|None\n7_1|RUNNING|0:0|n1|main|None\n"))
    seen = slurm(shell).look({"7": [0, 1, 2], "8": [0]})
    assert {task: what.reason for task, what in seen.items()} == {TaskId("7", 0): Reason.TIME_LIMIT, TaskId("7", 2): Reason.CANCELED}
    assert {"--jobs=7,8", "--starttime=1970-01-01"} <= set(shell.ran[-1].argv)


def test_without_accounting_what_the_queue_has_forgotten_is_unknown() -> None:
    shell = Shell(squeue=UNKNOWN)
    assert slurm(shell).look({"7": [0]}) == {}
    assert shell.programs() == ["squeue", "scontrol"]


def test_an_accounting_that_is_down_keeps_no_news_back(caplog: pytest.LogCaptureFixture) -> None:
    shell = Shell(squeue=Output(0, "7_0|RUNNING|0|n1|main|None|\n"), scontrol=WITH, sacct=NO_DATABASE)
    with caplog.at_level(logging.INFO, logger="jobsys.batch.cluster"):
        assert list(slurm(shell).look({"7": [0, 1]})) == [TaskId("7", 0)]
    assert "Connection refused" in caplog.text


def test_a_controller_that_is_down_can_not_tell() -> None:
    with pytest.raises(PassingError, match="Unable to contact"):
        slurm(Shell(squeue=DOWN)).look({"7": [0]})


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_are_canceled_by_number_or_all_of_them() -> None:
    shell = Shell(scancel=Output(0))
    slurm(shell).cancel({"7": None, "8": [5, 1, 2], "9": []})
    assert [list(command.argv) for command in shell.ran] == [["scancel", "7", "8_[1-2,5]"]]


def test_no_argument_is_longer_than_the_system_allows() -> None:
    shell = Shell(scancel=Output(0))
    slurm(shell).cancel({"8": range(0, 200_000, 2), **{str(native): None for native in range(100_000_000, 100_012_000)}})
    for command in shell.ran:
        assert max(len(word) for word in command.argv) < 128 << 10
        assert sum(len(word) + 9 for word in command.argv) < 1 << 20
    assert len(shell.ran) < 10


@pytest.mark.parametrize(
    ("output", "fails"),
    [
        (Output(1, "", "scancel: error: Kill job error on job id 12: Invalid job id specified"), False),
        (Output(1, "", "scancel: error: Kill job error on job id 12_3: Job/step already completing or completed"), False),
        (Output(1, "", "scancel: error: Kill job error on job id 12: Unable to contact slurm controller (connect failure)"), True),
    ],
)
def test_canceling_what_has_ended_is_no_error(output: Output, fails: bool) -> None:
    scheduler = slurm(Shell(scancel=output))
    if fails:
        with pytest.raises(PassingError):
            scheduler.cancel({"12": None})
    else:
        scheduler.cancel({"12": None})


# ── the program of a task ────────────────────────────────────────────────────────────────────────────────────────────


def sh(text: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["/bin/sh"], input=text, env=environment, capture_output=True, text=True, check=False, timeout=20)


def numbered(log: Path) -> str:
    return program(ask(script="#!/bin/sh\necho out\necho err >&2\nexit 3\n", log=str(log)))


def test_what_a_task_prints_goes_to_its_own_file_if_its_host_has_the_directory(tmp_path: Path) -> None:
    odd = tmp_path / "it's a $(log)"
    missing = sh(numbered(odd), SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="1")
    assert (missing.returncode, missing.stdout, missing.stderr) == (3, "out\n", "err\n")
    odd.mkdir()
    found = sh(numbered(odd), SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="1")
    assert (found.returncode, found.stdout, found.stderr) == (3, "", "")
    assert (odd / "7.1.log").read_text() == "out\nerr\n"


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_any_value_that_is_quoted_gets_through(text: str) -> None:
    if text.endswith("\n"):
        text += "x"  # the shell's $() takes the last ones off
    done = sh(program(ask(script=f"#!/bin/sh\nexec printf %s {shlex.quote(text)}\n")))
    assert done.stdout == text


@given(st.text(max_size=300))
def test_any_title_is_one_plain_argument(text: str) -> None:
    words = arguments(title=text.encode(errors="ignore").decode())
    comment = [word for word in words if word.startswith("--comment=")]
    assert len(comment) <= 1
    assert not any(char < " " or char == "\x7f" for word in comment for char in word)
    assert all(len(word) <= 210 for word in comment)


def test_text_functions_can_be_driven_by_anyone() -> None:
    run: Callable[[Command], Output] = Shell(squeue=ROWS)
    assert drive(Slurm(user=1).find("jobsys-abc"), run) == "9"
