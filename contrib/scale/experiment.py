"""One simulated run: led half-way, abandoned, restored and led to its end; what that took, as figures."""

import gc
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from clock import SimulatedClock
from counted import CountedStorage
from leading import WatchedLeader
from pretended import Cluster, Size
from watch import LEADER, SIMULATION, Watch, peak, resident
from workloads import WORKLOADS, ReportingWorker, Workload

from jobsys.batch.base import BatchSystem, BatchUpdate
from jobsys.events import Policy
from jobsys.jobstores import Aside, JobStore, Lease
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.jobstores.file import storage as file_storage
from jobsys.journal import restore, take_over
from jobsys.leader import acquire
from jobsys.leader.lease import Here
from jobsys.message import Report, attempt_token
from jobsys.storage.base import Storage
from jobsys.storage.memory import MemoryStorage
from jobsys.worker.execute import load_value

STORAGES = ("file", "unsynced", "memory")


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    workload: str = "flat"
    jobs: int = 200_000
    width: int = 0  # of the workload; 0: its own
    size: Size = field(default_factory=Size)
    mean: float = 60.0  # seconds that a job takes, exponentially distributed
    storage: str = "file"
    latency: float = 0.0  # simulated seconds that each request of the leader to the storage takes
    charged: bool = False  # the leader's own processor time passes on the simulated clock, too
    restart: bool = True  # the leader dies half-way
    window: int = 0  # how many attempts the batch system has at most; 0: what it can run, and its queue
    listed: bool = False  # whenever a status is shown, all that runs is listed, as by a batch system with no other answer
    seed: int = 1


class Abandoned(Exception):
    """The leader is dead: nothing of it runs any more."""


class MortalCluster(Cluster):
    """Ends its leader after so many reports."""

    def __init__(self, *arguments: Any, last: int) -> None:
        super().__init__(*arguments)
        self._left = last

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        if self._left <= 0:
            raise Abandoned
        news = super().updates(timeout)
        self._left -= len(news)
        return news


class Experiment:
    """Runs a setting in a directory of its own."""

    def __init__(self, setting: Setting, directory: Path) -> None:
        self.setting, self.directory = setting, directory
        self.clock, self.watch, self.random = SimulatedClock(), Watch(), Random(setting.seed)
        self.workload: Workload = WORKLOADS[setting.workload](setting.jobs, setting.width)
        inner = self._inner()
        self.storage = CountedStorage(inner, self.watch, self.clock, setting.latency)
        locator = "memory:scale" if setting.storage == "memory" else f"file:{directory / 'store'}"
        self.store = JobStore(locator, self.storage, str(directory / "run.jobsys-key"))
        self.worker = ReportingWorker(self.random, setting.mean, JobStore(locator, inner))
        self.clusters: list[Cluster] = []
        self.leaders: list[WatchedLeader] = []
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Give what was found.

        Raises:
            AssertionError: the run did not come to the right end.
        """
        self.store.create(StoreInfo(FORMAT, self.clock.time(), "simulated"))
        before, began = resident(), time.perf_counter()
        with self.watch.collecting():
            if self.setting.restart:
                self._lead_half_way()
                with self.watch.on(SIMULATION):
                    self.found["restart"] = self._restarts()
                    gc.collect()
            self._lead_to_the_end()
        self._check()
        self._tell(before, time.perf_counter() - began)
        return self.found

    def begin(self) -> tuple[WatchedLeader, Cluster]:
        """Give a leader that has begun, and its batch system, to be led step by step."""
        self.store.create(StoreInfo(FORMAT, self.clock.time(), "simulated"))
        return self._leader(sys.maxsize), self.clusters[-1]

    # -- leaders -----------------------------------------------------------------------------------------------

    def _lead_half_way(self) -> None:
        leader = self._leader(self.workload.jobs // 2)
        try:
            leader.run()
        except Abandoned:
            if self.watch.inside("take"):
                self.watch.leave()
        else:
            raise AssertionError("the leader was to be abandoned before the end")

    def _lead_to_the_end(self) -> None:
        leader = self._leader(sys.maxsize)
        leader.run()
        leader.close()

    def _leader(self, last: int) -> WatchedLeader:
        lease = acquire(self.store, clock=self.clock, here=Here())
        with self.watch.on("restore"):
            progress, segment, tag = restore(self.store)
        started = take_over(self.store, lease, Policy(), progress, segment, tag)
        cluster = MortalCluster(self.setting.size, self.worker, self.clock, self.random, self.watch, last=last)
        cluster.window = self.setting.window or cluster.window
        if self.setting.listed:
            cluster.glance = partial(BatchSystem.glance, cluster)  # type: ignore[method-assign]
        if self.setting.charged:
            cluster.spent = self._spent()
        leader = WatchedLeader(self.store, lease, started, cluster, clock=self.clock).begin(self.watch)
        self.clusters.append(cluster)
        self.leaders.append(leader)
        leader.start(self._first(lease) if progress.nodes[0].value is None else None)
        return leader

    def _first(self, lease: Lease) -> tuple[Report, bytes]:
        first, token = self.workload.first, attempt_token(lease.epoch, lease.owner, 0)
        made = first.made(Aside(self.store, 0, token))
        return Report(0, 1, self.clock.time(), 0.0, token=token, value=first.value, refs=first.refs, **made), first.payload

    def _spent(self) -> Any:
        seen = self.watch.leader()

        def spent() -> float:
            nonlocal seen
            before, seen = seen, self.watch.leader()
            return seen - before

        return spent

    def _inner(self) -> Storage:
        if self.setting.storage == "memory":
            return MemoryStorage()
        return file_storage(str(self.directory / "store"), durable=self.setting.storage == "file")

    # -- what is found -----------------------------------------------------------------------------------------

    def _restarts(self) -> dict[str, Any]:
        """Restore what the dead leader left, each time in a process of its own; from the whole journal, too."""
        if self.setting.storage == "memory":
            return {}
        script = str(Path(__file__).with_name("replay.py"))
        found = {}
        for name in ("snapshot", "journal"):
            done = subprocess.run([sys.executable, script, str(self.directory), name], capture_output=True, text=True, check=True)
            found[name] = json.loads(done.stdout)
        return found

    def _check(self) -> None:
        progress = self.leaders[-1].progress
        counts, wanted = progress.counts, self.workload.jobs
        assert progress.finished, f"the run has not ended: {counts}"
        assert (counts.total, counts.done) == (wanted, wanted), f"{counts}, and {wanted} jobs were to be done"
        value = sum(load_value(self.store, progress.values_for((0,)), 0))
        assert value == self.workload.value, f"the value is {value}, not {self.workload.value}"
        assert len(progress.nodes) == 1 + len(set(self.workload.first.refs)) or self.setting.workload != "flat", (
            f"{len(progress.nodes)} left"
        )

    def _tell(self, before: int, wall: float) -> None:
        watch, storage, leaders = self.watch, self.storage, self.leaders
        jobs = self.workload.jobs
        seconds = watch.leader()
        self.found |= {
            "workload": self.setting.workload,
            "what": self.workload.what,
            "jobs": jobs,
            "simulated_s": self.clock.now,
            "wall_s": wall,
            "leader_cpu_s": seconds,
            "simulation_cpu_s": watch.cpu[SIMULATION] / 1e9,
            "cpu_us": {kind: watch.cpu[kind] / 1e3 for kind in LEADER},
            "wall_us": {kind: watch.wall[kind] / 1e3 for kind in LEADER},
            "times": dict(watch.times),
            "turns": sum(leader.turns for leader in leaders),
            "jobs_per_s": jobs / seconds,
            "ends_per_simulated_s": _pace(leaders),
            "lost": sum(cluster.lost for cluster in self.clusters),
            "attempts": sum(cluster.begun for cluster in self.clusters),
            "ordered": sum(cluster.ordered for cluster in self.clusters),
            "reported": sum(cluster.reported for cluster in self.clusters),
            "most_out": max(cluster.most for cluster in self.clusters),
            "busy": sum(cluster.worked for cluster in self.clusters) / (self.setting.size.slots * self.clock.now),
            "requests": _by_kind(storage.requests),
            "written": dict(storage.written),
            "worker_reads": self.worker.reads / self.worker.orders,
            "most_nodes": max(leader.most_nodes for leader in leaders),
            "snapshots": [snapshot._asdict() for leader in leaders for snapshot in leader.snapshots],
            "rss_before": before,
            "rss_peak": peak(),
            "rss_over_time": [sample._asdict() for sample in _spread(leaders)],
        }


def _pace(leaders: list[WatchedLeader]) -> float:
    """Give the ends a simulated second of the longest-lived leader, between a quarter and three quarters of them: in full swing."""
    samples = max((leader.samples for leader in leaders), key=len)
    first, last = samples[0].done, samples[-1].done
    middle = [each for each in samples if first + (last - first) / 4 <= each.done <= first + (last - first) * 3 / 4]
    if len(middle) < 2 or middle[-1].now == middle[0].now:
        return 0.0
    return (middle[-1].done - middle[0].done) / (middle[-1].now - middle[0].now)


def _by_kind(requests: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (operation, top), count in sorted(requests.items()):
        found.setdefault(operation, {})[top] = count
    return found


def _spread(leaders: list[WatchedLeader], most: int = 20) -> list[Any]:
    samples = [sample for leader in leaders for sample in leader.samples]
    return samples[:: max(1, len(samples) // most)]
