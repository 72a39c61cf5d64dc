"""The commit protocol as a model (docs/model): searched whole, able to fail, and speaking of the code as it is."""

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

MODEL = Path(__file__).parents[2] / "docs" / "model" / "commit.pml"
MEMORY = 2000  # megabytes
DEPTH = 100_000

WHOLE = {  # constants, and how many states there are at least: a model that stands still has no violation either
    "three leaders": (("EPOCHS=3",), 2_000_000),
    "an attempt after another": (("EPOCHS=2", "TRIES=2"), 3_000_000),
    "two jobs in one segment": (("EPOCHS=2", "JOBS=2"), 5_000_000),
}
MUTANTS = {  # and what spin must say to each: a part of the assertion, as spin writes it
    "NO_FENCE": "files[j]&",
    "OLD_EPOCH": "writer[segments]<=epoch",
    "SECOND_COMMIT": "won[j]==0",
    "ADOPT_BLIND": "files[j]&",
    "TAKEN_IN_TWICE": "won[j]!=a",
    "COMMIT_PER_JOB": "won[job]!=token",
    "DELETE_BEFORE_FLUSH": "won[j]!=0",
    "EFFECTS_BEFORE_FLUSH": "done[j]==won[j]",
}


class Search(NamedTuple):
    """What a search found."""

    violation: str
    states: int
    output: str


@pytest.fixture(scope="module")
def tools():
    lacking = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if lacking:
        text = (
            f"the model is not checked without {' and '.join(lacking)}: install them, on Debian with 'apt-get install spin gcc libc6-dev'"
        )
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)


def search(directory, constants, *, liveness=False, optimized="-O1"):
    """Have spin search all states: for violated assertions and steps that lead nowhere, or for runs that never end."""
    subprocess.run(["spin", "-a", *(f"-D{text}" for text in constants), str(MODEL)], cwd=directory, check=True, capture_output=True)
    kind = ["-DNFAIR=3"] if liveness else ["-DSAFETY", "-DNOCLAIM"]
    subprocess.run(["gcc", optimized, "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY}", *kind, "-o", "pan", "pan.c"], cwd=directory, check=True)
    what = ["-a", "-f", "-N", "ends"] if liveness else []
    output = subprocess.run(["./pan", f"-m{DEPTH}", *what], cwd=directory, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^pan:1: (.*) \(at depth", output, re.MULTILINE)
    states = re.search(r"(\d+) states, stored", output)
    depth = re.search(r"depth reached (\d+)", output)
    errors = re.search(r"errors: (\d+)", output)
    assert states, output
    assert depth, output
    assert errors, output
    assert (found is None) == (errors[1] == "0"), output
    seconds = re.search(r"elapsed time (\S+)", output)
    memory = re.search(r"(\S+)\s+total actual memory", output)
    figures = f"{int(states[1]):,} states, depth {depth[1]}, {seconds[1] if seconds else '?'} s, {memory[1] if memory else '?'} MB"
    print(f"\n{' '.join(constants)}{' (liveness)' if liveness else ''}: {found[1] if found else 'nothing violated'}; {figures}")
    return Search(found[1] if found else "", int(states[1]), output)


def check_it_was_whole(found):
    assert not found.violation, found.output
    for incomplete in ("Search not completed", "max search depth too small", "out of memory", "hash-compact", "Bit statespace"):
        assert incomplete not in found.output, found.output


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_no_state_violates_the_promises(name, tmp_path, tools):
    constants, least = WHOLE[name]
    found = search(tmp_path, constants, optimized="-O2")
    check_it_was_whole(found)
    assert found.states >= least, found.output
    never = re.findall(r"^\t\S+commit\.pml:(\d+), state.*$", found.output, re.MULTILINE)
    assert not never, f"steps that no leader or worker ever takes: lines {never} of the model\n{found.output}"


def test_every_run_ends_once_the_crashes_have_stopped(tmp_path, tools):
    found = search(tmp_path, ("EPOCHS=2",), liveness=True)
    check_it_was_whole(found)
    assert found.states > 10_000, found.output


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_left_out_is_found(mutant, tmp_path, tools):
    found = search(tmp_path, ("EPOCHS=3", f"MUTANT_{mutant}"))
    assert found.violation.startswith("assertion violated"), found.output
    assert MUTANTS[mutant] in found.violation, found.output


def test_without_reading_back_a_run_may_never_end(tmp_path, tools):
    found = search(tmp_path, ("EPOCHS=2", "MUTANT_NO_READ_BACK"), liveness=True)
    assert found.violation == "acceptance cycle", found.output


def test_every_mutant_of_the_model_is_tried():
    named = set(re.findall(r"#ifn?def MUTANT_(\w+)", MODEL.read_text()))
    assert named == {*MUTANTS, "NO_READ_BACK"}


NAMES = sorted(set(re.findall(r"@([\w.]+:[\w.]+)", MODEL.read_text())))


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_are_those_of_the_code(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)


def test_the_words_of_the_model_are_those_of_the_code():
    """A label, or a sequence with a name, is a function of the code, or one of the few words that a model needs besides."""
    text = MODEL.read_text()
    used = set(re.findall(r"^(\w+):", text, re.MULTILINE)) | set(re.findall(r"^inline (\w+)", text, re.MULTILINE))
    known = {name.rpartition(".")[2].rpartition(":")[2] for name in NAMES}
    besides = {"end_idle", "end_left", "end_over", "crashed", "again", "write"}
    parts = {"discard_objects", "written", "delete_adopted", "judge_commits"}  # of _act, flush and _adopt_commits
    assert len(NAMES) > 20
    assert used - known == besides | parts
