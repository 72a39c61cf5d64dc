"""A task on its node: the real `Task` and `Box`, over workers that run one job after the other."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate
from jobsys.batch.cluster.mail import Box, Claim
from jobsys.batch.machine import Machine
from jobsys.errors import JobsysError
from jobsys.events import Reason
from jobsys.jobstores import JobStore, keys
from jobsys.task import Task, blame
from simulation.system.workers import Channel, Workers  # type: ignore[import-not-found]
from simulation.system.world import Process  # type: ignore[import-not-found]

MACHINE = Machine(1, 10**9, 10**9)


class Node(Workers):  # type: ignore[misc]
    """Stands for the local batch system of a task, and tells the truth."""

    def __init__(self, run: Any, begins: Callable[[Process, bytes], None]) -> None:
        """Tell ``begins`` of each job that begins."""
        super().__init__(run)
        self._begins = begins
        self._waiting: deque[BatchJob] = deque()
        self._since: dict[int, float] = {}

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        self._waiting += jobs
        self._next()

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        self.owner.wait(lambda: bool(self.inbox), (timeout or 0.0) + 1e-6)  # as any clock, it goes on for who comes back to ask
        news = list(self.inbox)
        self.inbox.clear()
        return news

    def give_back(self, ids: Collection[int]) -> None:
        """Return those of the jobs that were not begun."""
        self._leave_out(ids, lambda id: BatchUpdate(id, BatchState.RETURNED))

    def cancel(self, ids: Collection[int]) -> None:
        self._leave_out(ids, lambda id: BatchUpdate(id, BatchState.ENDED, reason=Reason.CANCELED))
        super().cancel(ids)

    def arrive(self, update: BatchUpdate) -> None:
        if update.state is BatchState.COMPLETED:
            update = type(update)(update.id, update.state, update.payload, seconds=self.world.now - self._since[update.id])
        super().arrive(update)

    def pop(self, id: int) -> Channel | None:
        channel = super().pop(id)
        self._next()
        return channel

    def _leave_out(self, ids: Collection[int], say: Callable[[int], BatchUpdate]) -> None:
        gone = [job.id for job in self._waiting if job.id in ids]
        self._waiting = deque(job for job in self._waiting if job.id not in ids)
        for id in gone:
            self.arrive(say(id))

    def _next(self) -> None:
        if self.out or not self._waiting or not self.owner.alive:
            return
        job = self._waiting.popleft()
        self.out[job.id] = channel = Channel(self, job, self.run.directory)
        self._since[job.id] = self.world.now
        self.start(channel, self.owner.host)
        self._begins(channel.process, job.order)
        self.arrive(BatchUpdate(job.id, BatchState.RUNNING, host=self.owner.host.name, pid=channel.process.pid))

    def _owner_is_gone(self) -> None:
        self._waiting.clear()
        super()._owner_is_gone()


class Stage:
    """What a task's process does, and what can be done to it."""

    def __init__(self, run: Any, script: str, number: int, begins: Callable[[Process, bytes], None]) -> None:
        """Take the script that a simulated leader wrote: its wave, the secret, and the seconds of a task."""
        wave, secret, seconds = script.split()
        self._run, self._number, self._begins = run, number, begins
        self._wave, self._secret, self._seconds = wave, bytes.fromhex(secret), float(seconds)
        self._task: Task | None = None
        self.status = 0

    def play(self) -> None:
        """Run the task to its end, as its program does."""
        world, me = self._run.world, self._run.world.me()
        try:
            world.point("a task begins")
            storage = JobStore("memory:run", self._run.disk.storage()).storage
            box = Box(storage, keys.TASKS, self._wave, self._number, self._secret)
            if box.claim(Claim(me.host.name, me.pid, self._run.clock.time())) is not None:
                world.note("began before")
                return
            system: Any = Node(self._run, self._begins)
            self._task = Task(box, system, self._seconds, clock=lambda: world.now)
            self._serve(self._task, box)
        except JobsysError as error:
            world.note("task fails", repr(error))
            self.status = 1

    def stop(self, process: Process, number: int) -> None:
        """Send it a signal: before it has set up its handlers, that kills."""
        if self._task is None:
            process.kill("signal")
        else:
            self._task.stop(number)
            process.wake()

    def _serve(self, task: Task, box: Box) -> None:
        try:
            task.serve(MACHINE)
        except JobsysError as error:
            self.status = 1
            blame(box, error)
