"""Processes that run batch jobs, and their ways to whom they work for."""

from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, RunningJob
from jobsys.errors import BatchSystemError
from jobsys.events import Reason
from jobsys.jobstores import JobStore
from jobsys.message import decode_order
from jobsys.worker.execute import JobExecutor
from simulation.system.clock import SimulatedClock  # type: ignore[import-not-found]
from simulation.system.world import Host, Process, World  # type: ignore[import-not-found]

LOST = (Reason.LOST, Reason.PREEMPTED, Reason.CANCELED, Reason.KILLED)


class Channel:
    """The way from a running job to its leader and back."""

    log = -1
    log_start = 0
    last = False

    def __init__(self, workers: "Workers", job: BatchJob, directory: Path) -> None:
        self.directory = directory
        self.workers, self.job = workers, job
        self.process: Process | None = None
        self.cut = False  # the leader has gone, or believes that the worker has
        self.told: deque[bytes] = deque()
        self._arrives = 0.0

    def say(self, message: bytes) -> None:
        if not self.cut:
            self.send(BatchUpdate(self.job.id, BatchState.MESSAGE, message))

    def receive(self, timeout: float | None = None) -> bytes | None:
        world = self.workers.world
        world.point("job listens")
        if world.me().wait(lambda: bool(self.told) or self.cut, timeout) and self.told:
            return self.told.popleft()
        if self.cut:  # as of a service whose leader has gone
            raise BatchSystemError("the leader has gone")
        return None

    def send(self, update: BatchUpdate) -> None:
        """Let news arrive in the order in which they were sent, some time."""
        world = self.workers.world
        self._arrives = max(self._arrives, world.now + world.random.uniform(0.0, 0.05) + (20.0 if world.strikes("slow") else 0.0))
        world.later(self._arrives - world.now, lambda: self.workers.arrive(update))


class Workers:
    """Processes that run batch jobs for another one, which owns them."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.world: World = run.world
        self.owner = self.world.me()
        self.inbox: deque[BatchUpdate] = deque()
        self.out: dict[int, Channel] = {}
        self.owner.at_end.append(self._owner_is_gone)

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
        self._owner_is_gone()

    def arrive(self, update: BatchUpdate) -> None:
        """Hand news to the owner."""
        self.inbox.append(update)
        self.owner.wake()

    # -- what happens to a batch job ---------------------------------------------------------------------------

    def start(self, channel: Channel, host: Host) -> Process:
        """Start the process of a job."""
        name = f"worker of {channel.job.name} ({decode_order(channel.job.order).token})"
        channel.process = process = Process(self.world, name, host, lambda: self._work(channel))
        process.at_end.append(lambda: self._worker_ended(channel))
        return process

    def pop(self, id: int) -> Channel | None:
        """Strike out a job that has ended."""
        return self.out.pop(id, None)

    def _work(self, channel: Channel) -> None:
        store = JobStore("memory:run", self.run.disk.storage())
        executor = JobExecutor(store, clock=SimulatedClock(self.world))
        report = executor.run(channel.job.order, channel)
        self.world.point("before the report")
        if channel.cut or not self.owner.alive:
            executor.undelivered(report)
        else:
            self.pop(channel.job.id)
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

    def _end(self, id: int, reason: Reason, limit: int | None = None, kill: bool = True) -> None:
        channel = self.pop(id)
        if channel is None:
            return
        if kill and channel.process is not None:
            channel.process.kill("canceled")
        channel.send(BatchUpdate(id, BatchState.ENDED, reason=reason, limit=limit))

    def _owner_is_gone(self) -> None:
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
