"""What the leader keeps of a job in memory, by where the job stands: traced allocations of jobsys, the simulation's left out."""

import gc
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiment import Experiment, Setting
from leading import WatchedLeader
from pretended import Cluster, Size

import jobsys

SOURCES = [
    tracemalloc.Filter(inclusive=True, filename_pattern=f"{Path(jobsys.__file__).parent}/*"),
    tracemalloc.Filter(inclusive=True, filename_pattern="<*"),  # where named tuples are made
]


def measure(jobs: int, directory: Path | None) -> dict[str, float]:
    """Give the bytes that jobsys keeps of a job while it is ready, while it is out, after it has run, and while it waits for two values."""
    tracemalloc.start()
    try:
        return _flat(jobs, directory) | _lattice(jobs, directory)
    finally:
        tracemalloc.stop()


def _flat(jobs: int, directory: Path | None) -> dict[str, float]:
    with _all_made("flat", jobs, directory) as (leader, cluster, before):
        ready = _kept()
        count = leader.progress.counts.ready
        cluster.window = cluster.size.slots
        while leader.waits:
            leader.turn(take=False)
        out = _kept()
        while not leader.progress.finished:
            leader.turn()
        return {"ready": (ready - before) / count, "out": (out - before) / count, "gone": (_kept() - before) / count}


def _lattice(jobs: int, directory: Path | None) -> dict[str, float]:
    with _all_made("lattice", jobs, directory) as (leader, _, before):
        return {"waiting": (_kept() - before) / leader.progress.counts.waiting}


@contextmanager
def _all_made(workload: str, jobs: int, place: Path | None) -> Iterator[tuple[WatchedLeader, Cluster, int]]:
    """Lead until all jobs are there, and hardly one has begun but those that make others; give what was kept before, too."""
    with tempfile.TemporaryDirectory(dir=place) as directory:
        experiment = Experiment(Setting(workload, jobs, size=Size(hosts=1000), storage="unsynced"), Path(directory))
        leader, cluster = experiment.begin()
        cluster.window = 16
        before = _kept()
        while leader.progress.counts.total < experiment.workload.jobs:
            leader.turn()
        yield leader, cluster, before


def _kept() -> int:
    gc.collect()
    return sum(found.size for found in tracemalloc.take_snapshot().filter_traces(SOURCES).statistics("filename"))
