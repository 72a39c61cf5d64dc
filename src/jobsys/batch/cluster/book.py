"""What a leader knows of its tasks and of the jobs in them. Pure: asks nobody, knows no time of its own."""

import signal
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.cluster.scheduler import Ask, Seen, TaskId, TaskState
from jobsys.requirements import Requirements

OVERHEAD: Final = 256 << 20
"""Bytes that a task takes beside its jobs: some schedulers count what its processes share once for each."""
START: Final = 60.0
"""Seconds that are added to the walltime of a task, for its start."""
_FEWER: Final = 4
WARNINGS: Final = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU})
"""Signals by which schedulers say that a task's time is nearly over: it then ends by itself, of which they tell nothing but its status."""
_WARNED: Final = "its time was nearly over; if the scheduler allows more, ask for it with walltime="


class Part:
    """A task: its jobs that have not ended, by the ids that it knows them under, in the order in which it was given them."""

    def __init__(self, wave: "Wave", number: int) -> None:
        """Start as a task that nobody has seen."""
        self.wave = wave
        self.number = number
        self.jobs: dict[int, BatchJob] = {}
        self._last = 0  # of the ids that it knows jobs under
        self.begun: dict[int, RunningJob] = {}
        self.canceled: set[int] = set()
        self.written = 0  # letters to it
        self.seen = Seen(TaskState.QUEUED)
        self.host = ""
        self.since = 0.0  # when it said hello; 0: it has not
        self.idle: float | None = None  # since when it has no job
        self.adopted = False  # it was asked for by an earlier leader
        self.over = False  # nothing more comes from it, and nothing more is sent there
        self.leaving = 0  # the signal that ends it
        self.spoiled = False  # somebody else has written to it
        self.missed = 0  # times in a row that the scheduler did not know it
        self.ended: float | None = None  # when the scheduler said so

    @property
    def id(self) -> TaskId:
        """Give its name as the scheduler knows it."""
        return TaskId(self.wave.native or self.wave.ask.name, self.number)

    def shown(self) -> str:
        """Name it for people."""
        return f"{self.id.native}_{self.number}" if self.wave.ask.count > 1 else self.id.native

    def running(self, running: dict[int, RunningJob]) -> None:
        """Take note of what runs in it."""
        for local, job in running.items():
            if local in self.jobs:
                self.begun[local] = RunningJob(job.host, job.pid, job.since, job.memory, self.shown(), self.seen.queue)

    def add(self, job: BatchJob, local: int | None = None) -> int:
        """Put a job in, under an id that no other job of the task had or will have; return that."""
        local = self._last + 1 if local is None else local
        self._last = max(self._last, local)
        self.jobs[local] = job
        return local

    def pop(self, local: int) -> BatchJob | None:
        """Strike out a job."""
        self.begun.pop(local, None)
        self.canceled.discard(local)
        return self.jobs.pop(local, None)

    def remainder(self, seen: Seen) -> Iterator[BatchUpdate]:
        """Say what becomes of the jobs of a task that has ended, and strike them out.

        Whatever ended it is told of the job that had begun; where none had been said to, of the first. The others were not begun, nor
        does it count that one was which its own run has stopped.
        """
        jobs, begun, canceled = dict(self.jobs), set(self.begun), set(self.canceled)
        self.jobs.clear()
        self.begun.clear()
        if begun and seen.reason is None and self.leaving in WARNINGS:
            seen = seen._replace(reason=Reason.TIME_LIMIT, exit_status=None, message=_WARNED)
        if not begun and self.since and (seen.reason or seen.exit_status or self.leaving):
            begun = set(list(jobs)[:1])
        for local, job in jobs.items():
            if local in canceled:
                yield BatchUpdate(job.id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled")
            elif local in begun and not self.wave.canceled and not self.spoiled:
                yield _ended(job, self, seen)
            else:
                yield BatchUpdate(job.id, BatchState.RETURNED)


def _ended(job: BatchJob, part: Part, seen: Seen) -> BatchUpdate:
    reason = seen.reason or Reason.LOST
    if reason in {Reason.FAILED, Reason.CANCELED}:  # the task's program failed, not the job; or somebody else canceled the task
        reason = Reason.LOST if reason is Reason.FAILED else Reason.KILLED
    why = seen.message or (f"exit status {seen.exit_status}" if seen.exit_status else "its scheduler does not say why")
    why += f" (it left after signal {part.leaving})" if part.leaving > 0 and seen.reason is None else ""
    where = f"task {part.shown()}" + (f" on {part.host or seen.host}" if part.host or seen.host else "")
    message = f"{where} ended before the job did: {why}"
    limit = job.requirements.memory if reason is Reason.MEMORY else None
    return BatchUpdate(
        job.id, BatchState.ENDED, b"", part.host or seen.host, reason=reason, exit_status=seen.exit_status, message=message, limit=limit
    )


class Wave:
    """Tasks that were asked for together."""

    def __init__(self, ask: Ask, service: bool = False) -> None:
        """Start before the scheduler has heard of it."""
        self.ask = ask
        self.native = ""
        self.service = service
        self.parts = [Part(self, number) for number in range(ask.count)]
        self.canceled = False  # whoever asked for it has canceled its tasks, and was gone before their last letters came

    @property
    def over(self) -> bool:
        """Tell whether nothing more comes from any of its tasks."""
        return all(part.over for part in self.parts)

    def live(self) -> list[Part]:
        """Give the tasks from which something may come."""
        return [part for part in self.parts if not part.over]


def of_task(requirements: Requirements, jobs: int, task_seconds: float) -> Requirements:
    """Say what a task needs that runs so many jobs of these requirements one after the other."""
    memory = None if requirements.memory is None else requirements.memory + OVERHEAD
    walltime = requirements.walltime
    if walltime is not None:
        walltime = min(jobs * walltime, 1.5 * task_seconds + walltime) + START
    return Requirements(
        cores=requirements.cores,
        memory=memory,
        disk=requirements.disk,
        accelerators=requirements.accelerators,
        walltime=walltime,
        preemptible=requirements.preemptible,
    )


def choices(requirements: Requirements, jobs: int, task_seconds: float) -> Iterator[tuple[int, Requirements]]:
    """Say how many jobs go into a task, and what it then needs, in the order in which to try whether a host can ever run it.

    What is over a limit of time with many jobs may do with fewer, or with one that has no time more for the start of its task.
    """
    need = of_task(requirements, jobs, task_seconds)
    yield jobs, need
    if requirements.walltime is None:
        return
    while jobs > 1:
        jobs = max(1, jobs // _FEWER)
        before, need = need, of_task(requirements, jobs, task_seconds)
        if need != before:
            yield jobs, need
    yield 1, msgspec.structs.replace(need, walltime=requirements.walltime)


def fits(job: Requirements, part: Part, now: float) -> bool:
    """Tell whether a job may run in a task that is there."""
    task = part.wave.ask.requirements
    if (job.memory is None) != (task.memory is None) or job.preemptible != task.preemptible:
        return False
    enough = job.cores <= task.cores and job.accelerators <= task.accelerators and (job.disk or 0) <= (task.disk or 0)
    if not enough or (job.memory is not None and task.memory is not None and job.memory + OVERHEAD > task.memory):
        return False
    if task.walltime is None:
        return job.walltime is None
    if part.adopted:  # nobody here knows when it began
        return False
    return job.walltime is not None and part.since + task.walltime - START / 2 >= now + job.walltime


def by_native(parts: Iterable[Part]) -> dict[str, list[int]]:
    """Sort tasks by native id."""
    found: dict[str, list[int]] = {}
    for part in parts:
        if part.wave.native:
            found.setdefault(part.wave.native, []).append(part.number)
    return found
