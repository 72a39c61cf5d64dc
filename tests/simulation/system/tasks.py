"""The real batch system of clusters over a simulated scheduler; stands where the leader looks for the module of clusters."""

from collections.abc import Collection, Sequence
from typing import Any

from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.system import ClusterBatchSystem, Tasks
from jobsys.jobstores import keys
from jobsys.launch.base import Launch
from jobsys.message import decode_order
from jobsys.requirements import Requirements
from simulation.system.clerk import SimulatedClerk  # type: ignore[import-not-found]
from simulation.system.runs import the_run  # type: ignore[import-not-found]
from simulation.system.scheduler import SimulatedScheduler  # type: ignore[import-not-found]

NAME = "tasks"
ENDS = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)


class Watched(ClusterBatchSystem):
    """Tells the checker what the leader asks for."""

    def watch(self, run: Any, epoch: int) -> None:
        """Begin with no job."""
        self._run, self._epoch = run, epoch
        self._jobs: dict[int, int] = {}  # by batch job, those of which the leader has not heard the end

    def adopt(self) -> list[BatchJob]:
        self._run.world.point("before adoption")
        found = super().adopt()
        self._jobs.update({job.id: decode_order(job.order).job for job in found})
        return found

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        world = self._run.world
        world.point("before submit")
        for job in jobs:
            order = decode_order(job.order)
            self._run.checker.submitted(self._epoch, order)
            if order.job in self._jobs.values():
                world.violate(f"job {order.job} is submitted while an attempt of it is out")
            self._jobs[job.id] = order.job
        super().submit(jobs)
        world.point("after submit")

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        self._run.world.point("before updates")
        news = super().updates(timeout)
        for update in news:
            if update.state in ENDS:
                self._jobs.pop(update.id, None)
        return news

    def cancel(self, ids: Collection[int]) -> None:
        for id in ids:  # another attempt of the job is the one that counts
            self._jobs.pop(id, None)
        super().cancel(ids)

    def shutdown(self, *, leave: bool = False) -> None:
        self._run.world.point("before shutdown")
        super().shutdown(leave=leave)


def known() -> dict[str, Any]:
    """Name the schedulers that there are."""
    return {NAME: SimulatedScheduler}


def make(launch: Launch) -> BatchSystem:
    """Make the batch system, as the leader's registry asks for it."""
    run, store = the_run(), launch.store
    seconds = run.task_seconds

    def script(wave: str, requirements: Requirements) -> str:
        return f"{wave} {store.key.wave(wave).hex()} {seconds}"

    office = Office(store.storage, keys.TASKS, store.key.wave)
    tasks = Tasks(script, seconds, replaced=lambda: store.replaced(launch.lease.epoch))
    system = Watched(SimulatedScheduler(run.world, run.queue), office, tasks, run.clock, SimulatedClerk(run.world))
    system.watch(run, launch.lease.epoch)
    return system
