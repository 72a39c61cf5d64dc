"""A batch system of simulated workers, which may lie; chosen by the name under which the leader's registry of batch systems finds it."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, RunningJob
from jobsys.errors import BatchSystemError, RequirementError
from jobsys.events import Reason
from jobsys.jobstores import JobStore
from jobsys.launch.base import Launch
from jobsys.message import decode_order
from jobsys.requirements import Requirements
from jobsys.worker.execute import JobExecutor
from simulation.system.clock import SimulatedClock  # type: ignore[import-not-found]
from simulation.system.runs import the_run  # type: ignore[import-not-found]
from simulation.system.world import Process, World  # type: ignore[import-not-found]

MOST_MEMORY = 1000
LOST = (Reason.LOST, Reason.PREEMPTED, Reason.CANCELED, Reason.KILLED)


class Channel:
    """The way from a running job to its leader and back."""

    log = -1
    log_start = 0
    last = False

    def __init__(self, cluster: "Cluster", job: BatchJob, directory: Path) -> None:
        self.directory = directory
        self.cluster, self.job = cluster, job
        self.process: Process | None = None
        self.cut = False  # the leader has gone, or believes that the worker has
        self.told: deque[bytes] = deque()
        self._arrives = 0.0

    def say(self, message: bytes) -> None:
        if not self.cut:
            self.send(BatchUpdate(self.job.id, BatchState.MESSAGE, message))

    def receive(self, timeout: float | None = None) -> bytes | None:
        world = self.cluster.world
        world.point("job listens")
        if world.me().wait(lambda: bool(self.told) or self.cut, timeout) and self.told:
            return self.told.popleft()
        if self.cut:  # as of a service whose leader has gone
            raise BatchSystemError("the leader has gone")
        return None

    def send(self, update: BatchUpdate) -> None:
        """Let news arrive in the order in which they were sent, some time."""
        world = self.cluster.world
        self._arrives = max(self._arrives, world.now + world.random.uniform(0.0, 0.05) + (20.0 if world.strikes("slow") else 0.0))
        world.later(self._arrives - world.now, lambda: self.cluster.arrive(update))


class Cluster(BatchSystem):
    """Runs each batch job in a process of its own, on one of several hosts."""

    def __init__(self, launch: Launch) -> None:
        self.run = the_run()
        self.world: World = self.run.world
        self.leader = self.world.me()
        self.epoch = launch.lease.epoch
        self.inbox: deque[BatchUpdate] = deque()
        self.out: dict[int, Channel] = {}
        self.leader.at_end.append(self._leader_is_gone)

    def check(self, requirements: Requirements) -> None:
        if (requirements.memory or 0) > MOST_MEMORY:
            raise RequirementError(f"{MOST_MEMORY} bytes at most")

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        self.world.point("before submit")
        for job in jobs:
            order = decode_order(job.order)
            self.run.checker.submitted(self.epoch, order)
            if any(channel.job.name and decode_order(channel.job.order).job == order.job for channel in self.out.values()):
                self.world.violate(f"job {order.job} is submitted while an attempt of it is out")
            self.out[job.id] = channel = Channel(self, job, self.run.directory)
            self.world.later(self.world.random.uniform(0.0, 0.5), lambda channel=channel: self._begin(channel))
        self.world.point("after submit")

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        self.world.point("before updates")
        self.leader.wait(lambda: bool(self.inbox), timeout)
        news = list(self.inbox)
        self.inbox.clear()
        return news

    def cancel(self, ids: Collection[int]) -> None:
        for id in ids:
            self._end(id, Reason.CANCELED)

    def tell(self, id: int, message: bytes) -> None:
        channel = self.out.get(id)
        if channel is not None:
            self.world.later(self.world.random.uniform(0.0, 0.05), lambda: self._told(channel, message))

    def running(self) -> Mapping[int, RunningJob]:
        return {id: RunningJob("host", 1, 0.0) for id, channel in self.out.items() if channel.process is not None}

    def shutdown(self, *, leave: bool = False) -> None:
        self.world.point("before shutdown")
        self._leader_is_gone()

    # -- what happens to a batch job ---------------------------------------------------------------------------

    def arrive(self, update: BatchUpdate) -> None:
        """Hand news to the leader."""
        if not self.leader.alive:
            return
        again = 1 + (update.state is not BatchState.MESSAGE and self.world.strikes("twice"))
        self.inbox.extend([update] * again)
        if self.world.strikes("strange"):
            strange: Any = self.world.random.choice(("hibernating", BatchState.RUNNING))
            self.inbox.append(BatchUpdate(update.id, strange))
        if self.world.strikes("unknown id"):
            self.inbox.append(BatchUpdate(update.id + 10**6, BatchState.ENDED, reason=Reason.LOST))
        self.leader.wake()

    def _begin(self, channel: Channel) -> None:
        world = self.world
        if not self.leader.alive or channel.job.id not in self.out:
            return
        if world.strikes("returned"):
            del self.out[channel.job.id]
            self.arrive(BatchUpdate(channel.job.id, BatchState.RETURNED))
            return
        host = world.random.choice(self.run.hosts)
        name = f"worker of {channel.job.name} ({decode_order(channel.job.order).token})"
        channel.process = process = Process(world, name, host, lambda: self._work(channel))
        process.at_end.append(lambda: self._worker_ended(channel))
        if world.strikes("gone"):  # the batch system loses sight of it, and it runs on
            world.later(world.random.uniform(0.0, 5.0), lambda: self._lose(channel))

    def _work(self, channel: Channel) -> None:
        store = JobStore("memory:run", self.run.disk.storage())
        executor = JobExecutor(store, clock=SimulatedClock(self.world))
        report = executor.run(channel.job.order, channel)
        self.world.point("before the report")
        if channel.cut or not self.leader.alive:
            executor.undelivered(report)
        else:
            self.out.pop(channel.job.id, None)
            channel.send(BatchUpdate(channel.job.id, BatchState.COMPLETED, report))

    def _worker_ended(self, channel: Channel) -> None:
        process = channel.process
        if process is None or channel.job.id not in self.out or channel.cut:
            return
        if process.error is not None:
            self.world.violate(f"{process.name} raised {process.error!r}")
        if process.reason == Reason.MEMORY:
            self._end(channel.job.id, Reason.MEMORY, limit=decode_order(channel.job.order).requirements.memory)
        else:
            self._end(channel.job.id, Reason.LOST if process.reason == "lost" else self.world.random.choice(LOST))

    def _lose(self, channel: Channel) -> None:
        if channel.job.id in self.out and channel.process is not None and channel.process.alive:
            channel.cut = True
            channel.process.wake()
            self._end(channel.job.id, Reason.LOST, kill=False)

    def _end(self, id: int, reason: Reason, limit: int | None = None, kill: bool = True) -> None:
        channel = self.out.pop(id, None)
        if channel is None:
            return
        if kill and channel.process is not None:
            channel.process.kill("canceled")
        channel.send(BatchUpdate(id, BatchState.ENDED, reason=reason, limit=limit))

    def _leader_is_gone(self) -> None:
        """End the workers, or let them find out by themselves that nobody listens."""
        channels, self.out = list(self.out.values()), {}
        for channel in channels:
            channel.cut = True
            if channel.process is None:
                continue
            if self.world.strikes("outlives"):
                channel.process.wake()
            else:
                channel.process.kill("without a leader")

    def _told(self, channel: Channel, message: bytes) -> None:
        channel.told.append(message)
        if channel.process is not None:
            channel.process.wake()


def make(launch: Launch) -> BatchSystem:
    """Make the batch system, as the leader's registry asks for it."""
    return Cluster(launch)
