"""Whole workflows on a real Slurm where tasks are pushed out, a node dies, the controller is away; and arrays as large as they come."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]
from cluster.sites import slurm_site  # type: ignore[import-not-found]
from cluster.slurm_server import Cluster, cluster, wait_until  # type: ignore[import-not-found]
from jobsys.batch.cluster.commands import CommandScheduler, run
from jobsys.batch.cluster.scheduler import Ask, Command, Output, TaskState
from jobsys.batch.cluster.slurm import Slurm
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import new_name

WAYS: Final = {"cancel": "PreemptMode=CANCEL", "requeue": "PreemptMode=REQUEUE", "grace": "PreemptMode=CANCEL GraceTime=2"}
"""How those are pushed out who run in the partition of that name, each on a node of its own."""
LOST: Final = "lost"
NODES: Final = {way: f"n{number}" for number, way in enumerate(WAYS, 1)}
CONFIGURATION: Final = "SlurmdTimeout=5\nMaxArraySize=40001"
PARTITIONS: Final = (
    *(f"PartitionName={name} Nodes={NODES[name]} PriorityTier=1 {how}" for name, how in WAYS.items()),
    f"PartitionName={LOST} Nodes=n[4-6]",
    f"PartitionName=urgent Nodes=n[1-{len(WAYS)}] PriorityTier=10 PreemptMode=OFF",
)
MANY: Final = 32_000
NOBODY: Final = "nobody"


@pytest.fixture(scope="module")
def rough(isolated_session: None) -> Iterator[Cluster]:
    """Give a Slurm on which people push each other out, and which soon gives a silent node up."""
    with cluster("rough", more=CONFIGURATION, nodes=6) as made:
        for words in PARTITIONS:  # later, since the script that starts it counts its nodes by partition
            made.call("scontrol", "create", *words.split())
        yield made


@contextmanager
def a_site(slurm: Cluster, folder: Path, name: str) -> Iterator[Site]:
    """Use it with a store of one's own; its queue is looked at by partition."""
    own = folder / name
    own.mkdir()
    with slurm_site(slurm, own) as site:
        site.queued = lambda: slurm.call("squeue", "-h", "-r", "-p", name, "-o", "%i").split()
        yield site


def push_out(slurm: Cluster, node: str) -> None:
    """Have another user's job take a node for itself."""
    words = ("--partition=urgent", f"--nodelist={node}", "--exclusive", f"--uid={NOBODY}", "--chdir=/", "--output=/dev/null", "--time=1")
    slurm.call("sbatch", *words, "--wrap=exit 0")


def kill_node(slurm: Cluster, node: str) -> None:
    """Kill all that a node runs, as if it had lost its power."""
    slurmd = int((slurm.state / "run" / f"slurmd-{node}.pid").read_text())
    os.kill(slurmd, signal.SIGKILL)
    spool = f"{slurm.state}/spool/{node}/"
    for process in psutil.process_iter():
        try:
            sockets = process.net_connections("unix") if process.name() == "slurmstepd" else []
            found = any(str(each.laddr).startswith(spool) for each in sockets) or process.environ().get("SLURMD_NODENAME") == node
        except psutil.Error:
            continue
        if found:
            os.kill(process.pid, signal.SIGKILL)


def preempted(slurm: Cluster, folder: Path, way: str) -> None:
    with a_site(slurm, folder, way) as site:
        more = ("--preemptible", "--batch-option", f"preemptible-partition={way}")
        told = check.check_runs_again(site, lambda: push_out(slurm, NODES[way]), "preempted", *more)
        assert all("PREEMPTED" in message for message in told), told


def lost(slurm: Cluster, folder: Path) -> None:
    def kill() -> None:
        for node in set(slurm.call("squeue", "--noheader", f"--partition={LOST}", "--format=%N").split()):
            kill_node(slurm, node)

    with a_site(slurm, folder, LOST) as site:
        told = check.check_runs_again(site, kill, "lost", "--batch-option", f"partition={LOST}")
        assert all("NODE_FAIL" in message for message in told), told


@pytest.fixture(scope="module")
def outcomes(rough: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Have it all happen side by side: most of the time is waiting."""
    folder = tmp_path_factory.mktemp("rough")
    with ThreadPoolExecutor(4) as pool:
        found = {way: pool.submit(preempted, rough, folder, way) for way in WAYS}
        yield {**found, LOST: pool.submit(lost, rough, folder)}


@pytest.mark.parametrize("what", [*WAYS, LOST])
def test_what_is_not_a_jobs_fault_is_not_charged_to_it(outcomes: dict[str, Future[None]], what: str) -> None:
    outcomes[what].result()


def test_the_controller_dies_and_comes_back(rough: Cluster, tmp_path: Path) -> None:
    with slurm_site(rough, tmp_path) as site:
        start = lambda: rough.start("slurmctld")  # noqa: E731
        check.check_scheduler_is_away(site, lambda: rough.signal("slurmctld", signal.SIGKILL), start, 3.0)


def test_an_array_as_large_as_they_come(rough: Cluster) -> None:
    """Submit, look, cancel every other task and then all, with a number of commands that does not grow with that of the tasks."""
    ran: list[str] = []

    def here(command: Command) -> Output:
        ran.append(command.argv[0])
        return run(command._replace(environment={**rough.environment, **command.environment}))

    scheduler = CommandScheduler(Slurm({"args": "--hold"}), here)
    scheduler.learn()
    assert scheduler.most == MANY + 8001
    script = f"exit 0\n#{'x' * (1 << 20)}"  # no argument may be so long
    native = scheduler.submit(Ask(new_name(), MANY, Requirements(), script))

    def waiting() -> set[int]:
        seen = scheduler.look({native: range(MANY)})
        return {task.number for task, what in seen.items() if what.state is TaskState.QUEUED}

    try:
        assert waiting() == set(range(MANY))
        scheduler.cancel({native: range(0, MANY, 2)})
        wait_until(lambda: waiting() == set(range(1, MANY, 2)))
    finally:
        scheduler.cancel({native: None})
    wait_until(lambda: rough.call("squeue", "--noheader") == "")
    assert [each for each in ran if each in ("sbatch", "scancel")] == ["sbatch", "scancel", "scancel"]
