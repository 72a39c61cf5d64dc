"""Code arrives: every shape of a project runs on this machine, and on hosts that have none of the leader's files."""

import itertools
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

import pytest

from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, Hosts  # type: ignore[import-not-found]
from shipping.shape import Shape  # type: ignore[import-not-found]
from shipping.shapes import SHAPES  # type: ignore[import-not-found]
from shipping.workshop import Start, Workshop  # type: ignore[import-not-found]

pytestmark = pytest.mark.slow

LOCAL: Final = [shape for shape in SHAPES if shape.local]
BESIDE: Final = next(shape for shape in SHAPES if shape.name == "module beside")
QUIET: Final = ("--progress", "off", "--durability", "kill")

Run = Callable[[Start], "subprocess.CompletedProcess[str]"]


def prove(workshop: Workshop, shape: Shape, run: Run, options: Sequence[str], names: Sequence[str]) -> None:
    """Start a shape, once or twice, and check what it prints: values, on which hosts, and that no module came from a leader's path."""
    workshop.prepare(shape)
    store = workshop.new_store()
    given = [*QUIET, *options, *shape.options]
    if shape.again:
        failed = run(workshop.start(shape, store, [*given, *shape.first]))
        assert failed.returncode != 0, "the first start was to fail"
        assert "ValueError: not yet" in failed.stderr, failed.stdout + failed.stderr
        workshop.write(workshop.prepared[shape.name], shape.edit)
    done = run(workshop.start(shape, store, [*given, *shape.again]))
    told = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, told
    lines = done.stdout.splitlines()
    values = [line for line in lines if not line.startswith(("on ", "at "))]
    places = [line.removeprefix("at ") for line in lines if line.startswith("at ")]
    assert values == shape.out.splitlines(), told
    assert [line for line in lines if line.startswith("on ")] in [[f"on {name}"] for name in names], told
    assert len(places) == shape.places, told
    own = [place for place in places if place.startswith(str(workshop.base)) and "/.cache/jobsys/code/" not in place]
    assert own == [], f"modules came from the leader's own files: {places}"
    assert not [text for text in shape.forbidden if text in told], told
    assert "decoy" not in told


@pytest.mark.parametrize("shape", LOCAL, ids=str)
def test_a_shape_runs_on_this_machine(workshop: Workshop, shape: Shape) -> None:
    prove(workshop, shape, _here, (), [os.uname().nodename])


def test_a_leader_finds_on_the_head_all_that_the_workshop_made(workshop: Workshop, hosts: Hosts) -> None:
    prove(workshop, BESIDE, _on_the_head(hosts), (), [HEAD])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_runs_on_hosts_without_the_leaders_files(workshop: Workshop, hosts: Hosts, shape: Shape) -> None:
    ssh = ["--batch-system", "ssh", "--hosts", ",".join(shape.hosts), "--worker-python", hosts.python, "--store-address", HEAD_ADDRESS]
    prove(workshop, shape, _on_the_head(hosts), ssh, shape.hosts)
    assert [name for name in BARE if hosts.run(name, ["test", "-e", str(hosts.base)]).returncode != 1] == [], "the leader's files are there"
    for name, text in itertools.product(BARE, shape.forbidden):
        found = hosts.run(name, ["grep", "-rlsF", "--", text, "/tmp", "/root", "/var/tmp"])
        assert found.stdout == "", f"{name} has what it must not have: {found.stdout}"


def test_every_shape_has_a_name_of_its_own_and_can_be_told_from_others() -> None:
    names = [shape.name for shape in SHAPES]
    assert sorted(set(names)) == sorted(names)
    for shape in SHAPES:
        assert shape.local or not shape.again
        assert set(shape.hosts) <= set(BARE)


def test_what_comes_from_the_leaders_files_is_told(workshop: Workshop) -> None:
    """The harness would see it: in this process's own place, helper is the leader's."""
    with pytest.raises(AssertionError, match="from the leader's own files"):
        prove(workshop, BESIDE, _here, ("--batch-system", "inline"), [os.uname().nodename])


def _here(start: Start) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        start.argv, cwd=start.cwd, env={**_mark(), **start.environment}, input=start.stdin, capture_output=True, text=True, timeout=90
    )


def _on_the_head(hosts: Hosts) -> Run:
    return lambda start: hosts.run(HEAD, start.argv, str(start.cwd), start.environment, start.stdin)


def _mark() -> dict[str, str]:
    """Keep what lets the session find processes that are left."""
    return {name: value for name, value in os.environ.items() if name.startswith("JOBSYS_TEST_") or name == "TMPDIR"}
