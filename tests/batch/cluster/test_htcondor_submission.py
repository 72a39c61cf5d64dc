"""Submit descriptions and constraints, as text."""

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobsys.batch.cluster.htcondor import HTCondor
from jobsys.batch.cluster.htcondor_submission import LONGEST, constraints, description, said
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError
from jobsys.requirements import Requirements

MIB = 1 << 20
GOLDEN = """\
universe = vanilla
executable = /bin/sh
transfer_executable = false
arguments = squares-7.q1w2
initialdir = /home/me/my scripts/
transfer_input_files = squares-7.q1w2
should_transfer_files = YES
when_to_transfer_output = ON_EXIT
transfer_output_files = ""
environment = "JOBSYS_TASK_NUMBER=$(Process)"
output = /dev/null
error = /dev/null
request_cpus = 2
request_memory = 101
request_disk = 2
request_gpus = 1
periodic_hold = (JobStatus == 2 && time() - JobCurrentStartDate > 91) =?= true
periodic_hold_reason = "jobsys: it ran for longer than its walltime"
periodic_hold_subcode = 1
requirements = ((MY.NumShadowStarts =?= undefined || MY.NumShadowStarts == 0))
periodic_remove = ((JobStatus == 1 || JobStatus == 5) && NumShadowStarts > 0) =?= true || \
(JobStatus == 5 && HoldReasonCode != 1 && HoldReasonCode != 15 && HoldReasonCode != 16) =?= true
+JobsysAsk = "squares-7"
+JobsysScript = "squares-7.q1w2"
+JobBatchName = "3 squares"
queue 12
"""


def written(ask: Ask, script: str = "/d/ask-1.x", **options: str) -> dict[str, str]:
    lines = description(ask, script, HTCondor(options).options).splitlines()
    assert lines[-1] == f"queue {ask.count}"
    return dict(line.split(" = ", 1) for line in lines[:-1])


def test_golden() -> None:
    asked = Requirements(cores=1.5, memory=100 * MIB + 1, disk=1025, accelerators=1, walltime=90.5)
    ask = Ask("squares-7", 12, asked, "secret", title="3 squares")
    assert description(ask, "/home/me/my scripts/squares-7.q1w2", HTCondor().options) == GOLDEN


def test_what_is_not_asked_for_is_the_pools_own() -> None:
    lines = written(Ask("ask-1", 1, Requirements(), ""))
    assert [name for name in lines if name.startswith(("request_", "periodic_hold"))] == ["request_cpus"]
    assert lines["+JobBatchName"] == '"ask-1"'


def test_what_tasks_print_lands_in_the_log_which_may_be_called_anything() -> None:
    lines = written(Ask("ask-1", 1, Requirements(), "", log="/logs/a;b=c, $(Cluster) é"), "/scripts/$x/ask-1.y")
    assert lines["initialdir"] == "/logs/a;b=c, $(DOLLAR)(Cluster) é/"
    assert (lines["output"], lines["error"]) == ("ask-1.$(Process).out", "ask-1.$(Process).err")
    assert (lines["transfer_input_files"], lines["arguments"]) == ("/scripts/$(DOLLAR)x/ask-1.y", "ask-1.y")


@pytest.mark.parametrize("log", ["/a\nqueue 9", "/a\x1b", "/a\udcff"])
def test_a_path_that_cannot_be_written_is_refused(log: str) -> None:
    with pytest.raises(AskRefusedError, match="choose another"):
        written(Ask("ask-1", 1, Requirements(), "", log=log))


def test_a_script_whose_path_would_be_taken_for_two_is_refused() -> None:
    with pytest.raises(AskRefusedError, match="comma"):
        written(Ask("ask-1", 1, Requirements(), "", log="/logs"), "/a,b/ask-1.x")
    assert written(Ask("ask-1", 1, Requirements(), ""), "/a,b/ask-1.x")["initialdir"] == "/a,b/"


def test_settings() -> None:
    more = {"requirements": "HasAVX2 || x", "accounting_group": "physics.me", "line": "+Project = 1\nuniverse = docker\noutput = mine"}
    text = description(Ask("ask-1", 1, Requirements(), ""), "/d/ask-1.x", HTCondor(more).options)
    assert "requirements = (HasAVX2 || x) && ((MY.NumShadowStarts =?= undefined || MY.NumShadowStarts == 0))\n" in text
    assert "accounting_group = physics.me\n" in text
    lines = text.splitlines()
    assert lines[:4] == ["universe = vanilla", "+Project = 1", "universe = docker", "output = mine"]
    assert lines.index("output = /dev/null") > 3  # the last one holds


@given(some.text())
def test_no_title_is_more_than_a_title(title: str) -> None:
    lines = written(Ask("ask-1", 1, Requirements(), "", title=title))
    assert list(lines) == list(written(Ask("ask-1", 1, Requirements(), "")))
    quoted = lines["+JobBatchName"]
    assert re.fullmatch(r'"[^"\\]+"', quoted)
    assert quoted.isprintable()
    assert "$" not in quoted.replace("$(DOLLAR)", "")


def chosen(constraint: str) -> set[tuple[int, int]]:
    """List the jobs of which a constraint is true, by Python's grammar, which this part of HTCondor's fits."""
    text = constraint.replace("JobsysAsk =!= undefined", "True").replace("||", "or").replace("&&", "and")
    program = compile(text, "constraint", "eval")
    return {job for job in product(range(14), range(18)) if eval(program, {"ClusterId": job[0], "ProcId": job[1]})}


NUMBERS = some.sets(some.integers(0, 16), max_size=8)


@given(some.dictionaries(some.integers(1, 12).map(str), some.none() | NUMBERS, max_size=6))
def test_constraints_are_true_of_these_tasks_and_no_others(tasks: dict[str, set[int] | None]) -> None:
    wanted = {(int(native), number) for native, numbers in tasks.items() for number in (range(18) if numbers is None else numbers)}
    assert set().union(*map(chosen, constraints(tasks))) == wanted


def test_ranges_are_short() -> None:
    assert list(constraints({"7": range(1000)})) == ["JobsysAsk =!= undefined && ((ClusterId == 7 && ((ProcId >= 0 && ProcId <= 999))))"]
    assert list(constraints({"3": None, "4": None, "9": None})) == [
        "JobsysAsk =!= undefined && ((ClusterId >= 3 && ClusterId <= 4) || ClusterId == 9)"
    ]
    assert list(constraints({})) == []


def test_thousands_go_in_several_commands_each_no_longer_than_an_argument_may_be() -> None:
    tasks = {str(native): range(0, 1000, 2) for native in range(1, 100)}
    written = list(constraints(tasks))
    assert max(map(len, written)) < LONGEST + 20_000
    assert sum(each.count("ClusterId") for each in written) == 99


def test_what_a_tool_says_is_one_line_without_its_advice() -> None:
    text = "WARNING: the line 'x = 3' was unused\n\nERROR: Parse error in expression: \n\tRequestMemory = bla bla\n\t\n"
    assert said(text) == "ERROR: Parse error in expression: RequestMemory = bla bla"
    assert said("Error: (null)\n\nExtra Info: You probably saw this error because") == "Error: (null)"
