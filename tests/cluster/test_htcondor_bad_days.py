"""Whole workflows on a real HTCondor where tasks are pushed out by better jobs, are vacated, or lose their host."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.condor_server import CORES, Condor  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]
from cluster.sites import htcondor_site  # type: ignore[import-not-found]

pytestmark = [pytest.mark.htcondor, pytest.mark.timeout(300)]
OURS: Final = ("-constraint", "JobsysAsk =!= undefined")
URGENT: Final = """\
universe = vanilla
executable = /bin/sleep
transfer_executable = false
arguments = 600
request_memory = 20
request_disk = 1
+Urgent = True
queue {}
"""


@pytest.fixture
def site(condor: Condor, tmp_path: Path) -> Iterator[Site]:
    with htcondor_site(condor, tmp_path) as used:
        used.queued = lambda: condor.run("condor_q", *OURS, "-af:j", "JobStatus").splitlines()
        yield used
        used.end()


@contextmanager
def preferring(condor: Condor) -> Iterator[None]:
    """Have hosts prefer urgent jobs, so much that others are ended for them."""
    settings = condor.tools.parent / "condor_config"
    before = settings.read_text()
    try:
        settings.write_text(f"{before}RANK = (TARGET.Urgent =?= True) * 10\n")
        condor.run("condor_reconfig")
        yield
    finally:
        condor.run("condor_rm", "-constraint", "Urgent =?= True")
        settings.write_text(before)
        condor.run("condor_reconfig")


def submit_urgent(condor: Condor, count: int) -> str:
    """Submit such jobs, which go on until they are removed; give their cluster."""
    path = condor.home / "urgent.sub"
    path.write_text(URGENT.format(count))
    return condor.run("condor_submit", "-terse", str(path)).partition(".")[0]


def none_runs(site: Site) -> bool:
    return not any(row.endswith(" 2") for row in site.queued())


def test_a_better_job_pushes_tasks_out(site: Site, condor: Condor) -> None:
    def push_out() -> None:
        cluster = submit_urgent(condor, 2)
        site.until(lambda: none_runs(site), "tasks are not pushed out")
        condor.run("condor_rm", cluster)

    with preferring(condor):
        submit_urgent(condor, CORES - 2)
        site.until(lambda: condor.run("condor_q", "-af", "JobStatus").split() == ["2"] * (CORES - 2), "the pool does not fill")
        check.check_runs_again(site, push_out, "preempted", "--preemptible")


@pytest.mark.parametrize("how", [(), ("-fast",)], ids=["gently", "fast"])
def test_tasks_are_vacated(site: Site, condor: Condor, how: tuple[str, ...]) -> None:
    check.check_runs_again(site, lambda: condor.run("condor_vacate_job", *how, *OURS), "preempted")


def kill_host(condor: Condor) -> psutil.Process:
    """Kill all that runs jobs, as if their host had lost its power; give what starts it again."""
    master = psutil.Process(int((condor.tools.parent / "master.pid").read_text()))
    master.send_signal(signal.SIGSTOP)
    (startd,) = [process for process in master.children() if process.name() == "condor_startd"]
    for process in [startd, *startd.children(recursive=True)]:
        process.send_signal(signal.SIGKILL)
    return master


def test_a_host_is_given_up_when_the_lease_of_its_jobs_ends(site: Site, condor: Condor) -> None:
    """A host that comes back soon does not tell either that it has lost them."""

    def lose() -> None:
        master = kill_host(condor)
        try:
            site.until(lambda: none_runs(site), "the host is not given up")
        finally:
            master.send_signal(signal.SIGCONT)

    check.check_runs_again(site, lose, "lost", "--batch-option", "line=job_lease_duration = 20")
