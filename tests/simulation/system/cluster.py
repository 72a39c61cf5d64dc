"""A batch system of simulated workers, which may lie; chosen by the name under which the leader's registry of batch systems finds it."""

from collections.abc import Sequence
from typing import Any

from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate
from jobsys.errors import RequirementError
from jobsys.events import Reason
from jobsys.launch.base import Launch
from jobsys.message import decode_order
from jobsys.requirements import Requirements
from simulation.system.runs import the_run  # type: ignore[import-not-found]
from simulation.system.workers import Channel, Workers  # type: ignore[import-not-found]

MOST_MEMORY = 1000


class Cluster(Workers, BatchSystem):  # type: ignore[misc]
    """Runs each batch job on one of several hosts, and lies."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(the_run())
        self.epoch = launch.lease.epoch

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
        self.owner.wait(lambda: bool(self.inbox), timeout)
        news = list(self.inbox)
        self.inbox.clear()
        return news

    def arrive(self, update: BatchUpdate) -> None:
        """Hand news to the leader, more or less."""
        if not self.owner.alive:
            return
        again = 1 + (update.state is not BatchState.MESSAGE and self.world.strikes("twice"))
        self.inbox.extend([update] * again)
        if self.world.strikes("strange"):
            strange: Any = self.world.random.choice(("hibernating", BatchState.RUNNING))
            self.inbox.append(BatchUpdate(update.id, strange))
        if self.world.strikes("unknown id"):
            self.inbox.append(BatchUpdate(update.id + 10**6, BatchState.ENDED, reason=Reason.LOST))
        self.owner.wake()

    def _begin(self, channel: Channel) -> None:
        world = self.world
        if not self.owner.alive or channel.job.id not in self.out:
            return
        if world.strikes("returned"):
            del self.out[channel.job.id]
            self.arrive(BatchUpdate(channel.job.id, BatchState.RETURNED))
            return
        self.start(channel, world.random.choice(self.run.hosts))
        if world.strikes("gone"):  # the batch system loses sight of it, and it runs on
            world.later(world.random.uniform(0.0, 5.0), lambda: self._lose(channel))

    def _lose(self, channel: Channel) -> None:
        if channel.job.id in self.out and channel.process is not None and channel.process.alive:
            channel.cut = True
            channel.process.wake()
            self._end(channel.job.id, Reason.LOST, kill=False)


def make(launch: Launch) -> BatchSystem:
    """Make the batch system, as the leader's registry asks for it."""
    return Cluster(launch)
