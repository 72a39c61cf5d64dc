"""One simulated run from its first leader to its end: the person who starts leaders, and the fiend who disturbs them."""

import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoints
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from jobsys import workflow
from jobsys.config import Config
from jobsys.errors import (
    CanceledError,
    FailedJobsError,
    IntegrityError,
    JobStoreExistsError,
    LeaderRunningError,
    LeaseLostError,
    NotFoundError,
    StorageError,
)
from jobsys.jobstores import JobStore
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.launch import MAKERS
from jobsys.launch.base import Launch
from simulation.system import runs, tasks  # type: ignore[import-not-found]
from simulation.system.bucket import Server  # type: ignore[import-not-found]
from simulation.system.checker import Checker  # type: ignore[import-not-found]
from simulation.system.clock import SimulatedClock, SimulatedHere  # type: ignore[import-not-found]
from simulation.system.files import Files  # type: ignore[import-not-found]
from simulation.system.jobs import script  # type: ignore[import-not-found]
from simulation.system.scheduler import Queue  # type: ignore[import-not-found]
from simulation.system.storage import Disk  # type: ignore[import-not-found]
from simulation.system.world import LANDS, Host, Process, Violation, World  # type: ignore[import-not-found]
from simulation.workflows import FOREVER, SELF, Spec, acyclic, generate  # type: ignore[import-not-found]

EXPECTED = (LeaderRunningError, LeaseLostError, CanceledError, FailedJobsError, StorageError)
NEVER = (IntegrityError, NotFoundError)  # of the storage errors, those that mean that something is lost
MOST_LEADERS = 300


@dataclass
class Outcome:
    """How a simulated run ended, and what it met on the way."""

    finished: bool
    done: set[str]
    run: "Run"


class Run:
    """A workflow, a world, and what happens."""

    def __init__(
        self,
        root: Spec,
        seed: int,
        odds: dict[str, float],
        only: Collection[int] | None = None,
        on: str = "objects",
        in_tasks: bool = False,
    ) -> None:
        """Begin ``on`` the real storage of "files", that of buckets over a "bucket", or "objects" that know neither; perhaps in tasks."""
        self.root = root
        self.directory = Path(tempfile.mkdtemp())
        self.world = World(seed, odds, only)
        self.disk = Files(self.world, self.directory) if on == "files" else Server(self.world) if on == "bucket" else Disk(self.world)
        self.specs = {spec.path: spec for spec in root.walk()}
        self.tried: Any = dict.fromkeys(self.specs, 0)
        self.hosts = [Host(name) for name in ("ada", "bob", "cyd")]
        self.checker = Checker(self.world, self.disk, root)
        self.config = Config.of(
            "memory:run",
            restart=True,
            batch_system=tasks.NAME if in_tasks else "simulated",
            progress="off",
            retries=Random(seed).randint(0, 2),
            backoff=Random(seed).choice((0.0, 1.0)),
        )
        self.leaders: dict[Process, Any] = {}
        self.started: list[Process] = []
        self.clock = SimulatedClock(self.world)
        cluster = Random(f"cluster {seed}")
        self.task_seconds = cluster.choice((0.0, 5.0, 60.0))
        services = sum(spec.kind == "service" for spec in self.specs.values())  # which hold their places while their clients wait
        self.queue = Queue(self, services + cluster.choice((1, 2, 4, 50)))

    def simulate(self) -> Outcome:
        """Let it happen.

        Raises:
            Violation: something happened that must never happen.
        """
        runs.begin(self)
        try:
            with self.disk.installed() if isinstance(self.disk, Files) else nullcontext():
                return self._simulate()
        finally:
            runs.end()
            if isinstance(self.disk, Files):
                self.disk.close_all()
            shutil.rmtree(self.directory)

    def _simulate(self) -> Outcome:
        try:
            user = Process(self.world, "user", Host("desk"), self._use)
            fiend = Process(self.world, "fiend", Host("hell"), self._disturb)
            self.world.run(lambda: user.ended)
            self._raise(user)
            self._raise(fiend)
            self.world.calm = True  # who starts a leader now and kills it undoes what the person has seen
            self.world.run(lambda: not any(each.alive for each in self.world.processes))  # zombies come home
            self.checker.check_end()
            self._check_queue()
            finished, done = self.checker.outcome()
            if finished:
                self._look_again()
            return Outcome(finished, done, self)
        finally:
            self.world.close()

    def _check_queue(self) -> None:
        left = [(entry.id, entry.state) for entry in self.queue.left()]
        if left:
            self.world.violate(f"the run has ended, and tasks have not: {left}")

    def _look_again(self) -> None:
        """Ask for the value once more when everybody has gone."""
        last = self.start_leader(self.hosts[0])
        self.world.run(lambda: last.ended)
        self._raise(last)
        self.checker.check_value(last.result)

    def _raise(self, process: Process) -> None:
        if process.error is not None:
            raise process.error

    # -- leaders -----------------------------------------------------------------------------------------------

    def start_leader(self, host: Host) -> Process:
        """Start a leader on a host."""
        process = Process(self.world, f"leader {len(self.started) + 1}", host, self._lead)
        self.started.append(process)
        process.at_end.append(lambda: self._leader_ended(process))
        return process

    def _lead(self) -> Any:
        store = JobStore("memory:run", self.disk.storage())
        with suppress(JobStoreExistsError):
            store.create(StoreInfo(FORMAT, 0.0, "simulated"))
        here = SimulatedHere(self.world, self.world.me())
        with workflow._leading(store, self.clock, here) as lease, ExitStack() as stack:
            what = Launch(self.config, store, lease, stack, workflow._say)
            leader = workflow._lead(what, script(self.root), [self.checker], self.clock)
            return workflow._outcome(leader, store, "")

    def _leader_ended(self, process: Process) -> None:
        error = process.error
        self.world.note("leader ended", type(error).__name__ if error else "killed" if process.killed else "well")
        others = [each for each in self.started if each is not process]
        if isinstance(error, LeaderRunningError) and not any(each.ended_at >= process.began - LANDS for each in others):
            self.world.broken = self.world.broken or Violation(f"{process.name} was refused, and nobody else leads")
        if error is not None and (not isinstance(error, EXPECTED) or isinstance(error, NEVER)):
            self.world.broken = self.world.broken or _unexpected(process, error)

    # -- the person who wants the result -----------------------------------------------------------------------

    def _use(self) -> None:
        """Start leaders until there is nothing more to be had."""
        world = self.world
        while True:
            if len(self.started) > MOST_LEADERS:
                world.violate(f"{MOST_LEADERS} leaders, and no end")
            leader = self.start_leader(world.random.choice(self.hosts[:2]))
            leader.at_end.append(world.me().wake)
            world.me().wait(lambda leader=leader: leader.ended, None)
            if self._is_over(leader):
                return
            world.me().pause(world.random.choice((0.0, 0.1, 5.0)))

    def _is_over(self, leader: Process) -> bool:
        """Tell whether another leader could get no further."""
        if leader.error is None and not leader.killed:
            if not self.checker.finished():
                self.world.violate("a leader gave a value before everything was journaled")
            self.checker.check_value(leader.result)
            return True
        if isinstance(leader.error, FailedJobsError):
            return all(self.specs[failure.name].fails >= FOREVER for failure in leader.error.failures)
        return False

    # -- who disturbs --------------------------------------------------------------------------------------------

    def _disturb(self) -> None:
        """Do evil for a while."""
        world = self.world
        until = world.random.choice((30.0, 120.0, 400.0))
        while world.now < until and world.odds:
            world.me().pause(world.random.expovariate(0.3))
            for what in (
                "kill leader",
                "freeze leader",
                "second leader",
                "freeze worker",
                "host dies",
                "clock jumps",
                "signal",
                "power cut",
            ):
                if world.strikes(what):
                    self._do(what)
        world.calm = True

    def _do(self, what: str) -> None:
        random = self.world.random
        leaders = [each for each in self.started if each.alive]
        workers = [each for each in self.world.processes if each.alive and each.name.startswith(("worker", "task"))]
        host = random.choice(self.hosts)
        if what == "kill leader" and leaders:
            random.choice(leaders).kill("killed")
        elif what == "freeze leader" and leaders:
            random.choice(leaders).freeze(random.choice((1.0, 30.0, 100.0)))
        elif what == "second leader":
            self.start_leader(host)
        elif what == "freeze worker" and workers:
            random.choice(workers).freeze(random.choice((1.0, 30.0, 100.0)))
        elif what == "host dies":
            for each in [*leaders, *workers]:
                if each.host is host:
                    each.kill("host died")
        elif what == "power cut":
            for each in [*leaders, *workers]:
                each.kill("power cut")
            self.disk.lose_power()
        elif what == "clock jumps":
            host.offset += random.uniform(-5000.0, 5000.0)
        elif what == "signal" and leaders:
            leader = self.leaders.get(random.choice(leaders))
            if leader is not None:
                leader.cancel("a person wished it")


def _unexpected(process: Process, error: BaseException) -> Any:
    made = Violation(f"{process.name} ended with {type(error).__name__}: {error}")
    made.__cause__ = error
    return made


@contextmanager
def simulated() -> Iterator[None]:
    """Put the simulation where the leader looks for time, signals, workers and large values."""

    @contextmanager
    def signals(leader: Any) -> Iterator[None]:
        run = runs.the_run()
        run.leaders[run.world.me()] = leader
        yield

    logging.disable(logging.CRITICAL)
    try:
        with (
            patch.dict(MAKERS, {"simulated": "simulation.system.cluster"}),
            patch("jobsys.launch._others", EntryPoints),  # to look for others takes long
            patch("jobsys.launch._CLUSTER", "simulation.system.tasks"),
            patch("jobsys.batch.cluster.system._random", lambda: f"{runs.the_run().world.random.getrandbits(64):016x}"),
            patch("jobsys.workflow._signals", signals),
            patch("jobsys.workflow._say", lambda text: runs.the_run().world.note("said", text)),
            patch("jobsys.workflow.shipment.name_script", lambda: None),
            patch("jobsys.graph.SPILL", 2000),
            patch("jobsys.graph._RECORD", 700),  # so the jobs of a commit lie aside where they are three or more
            patch("jobsys.worker.execute.SPILL", 2000),
            patch("jobsys.leader.leader.SNAPSHOT_EVERY", 4),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)


def random_workflow(seed: int, size: int) -> Spec:
    """Make a workflow that a script can write down."""
    root: Spec = generate(Random(seed), size)
    for spec in root.made:  # a script is no job: it can't be named as parent, and has no value that its jobs could need
        spec.refs = tuple(ref for ref in spec.refs if ref != SELF)
        spec.follow_on_of = tuple(ref for ref in spec.follow_on_of if ref != SELF)
        others = tuple(ref for ref in spec.child_of if ref != SELF)
        if spec.service_of is None:
            spec.child_of = others or (() if spec.follow_on_of else (SELF,))
    root.value_refs = tuple(range(len(root.made)))
    for spec in root.walk():
        spec.early = False
    if not acyclic(root):
        raise AssertionError("a workflow that can't end")
    return root
