"""The tasks that are out, and what becomes of the jobs in them: by their letters, by the scheduler's word, by what others have room for."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Part, Wave, fits
from jobsys.batch.cluster.mail import Letter, Office
from jobsys.batch.cluster.scheduler import Seen, TaskState
from jobsys.batch.cluster.sizing import Times, jobs_a_task
from jobsys.clock import Clock
from jobsys.errors import BatchSystemError, IntegrityError
from jobsys.framing import FrameReader
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

GRACE: Final = 3.0
"""Seconds after a task's end in which its last letter may come to be seen."""
_MISSES: Final = 3  # times in a row that the scheduler does not know a task, before that counts as its end
_STILLBORN: Final = (3, 30)  # tasks in a row that ended before they said a word: where none ever has, and where some did
_IDLE: Final = 1.2  # seconds for which a task without jobs surely reads what is sent to it
_SPARE: Final = 0.6  # seconds after which one that others wait for is told to end
_ENDS: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)
_TOLD_TO_END: Final = -1

Shape = tuple[Requirements, bool]
"""What jobs need, and whether they are services: only those of one shape share a task."""
Waiting = dict[Shape, deque[BatchJob]]


class Crew:
    """Waves of tasks, and the jobs in them."""

    def __init__(self, scheduler: str, office: Office, task_seconds: float, clock: Clock, replaced: Callable[[], bool]) -> None:
        """Start with no task; ``scheduler`` is named in messages, ``replaced`` tells whether another leader has come."""
        self.waves: dict[str, Wave] = {}
        self.unwanted: list[Part] = []  # tasks to be canceled
        self.news: list[BatchUpdate] = []
        self.times = Times()
        self.error: BatchSystemError | None = None
        self._scheduler = scheduler
        self._office = office
        self._seconds = task_seconds
        self._clock = clock
        self._replaced = replaced
        self._places: dict[int, tuple[Part, int]] = {}  # of jobs in tasks: the task, and the job's id there
        self._stillborn = 0
        self._spoken = False  # a task has said a word: that others can't begin lies with their hosts

    def add(self, wave: Wave) -> None:
        """Take in tasks whose jobs are in them."""
        self.waves[wave.ask.name] = wave
        for part in wave.parts:
            self._places.update({job.id: (part, local) for local, job in part.jobs.items()})

    def parts(self) -> Iterable[Part]:
        """Go through the tasks from which something may come."""
        return (part for wave in self.waves.values() for part in wave.live())

    def place(self, id: int) -> tuple[Part, int] | None:
        """Tell in which task a job is, and what it is called there."""
        return self._places.get(id)

    def running(self) -> dict[int, RunningJob]:
        """Tell which jobs run now, as far as their tasks have said so."""
        return {part.jobs[local].id: job for part in self.parts() for local, job in part.begun.items() if local in part.jobs}

    def write(self, part: Part, frame: bytes) -> None:
        """Write to a task; one to which somebody else has written is given up, and its jobs come back.

        Raises:
            IntegrityError: it was the leader that has come.
        """
        if part.spoiled:
            return
        part.written += 1
        try:
            self._office.write(part.wave.ask.name, part.number, part.written, frame)
        except IntegrityError as error:
            if self._replaced():
                raise
            logger.warning("task %s is given up: %s", part.shown(), error)  # a leader that was replaced could not know it yet
            part.spoiled, part.leaving = True, _TOLD_TO_END
            self.unwanted.append(part)

    def cancel(self, id: int) -> Part | None:
        """Take note that a job in a task is to be stopped; give the task, unless that was noted before."""
        part, local = self._places.get(id, (None, 0))
        if part is None or local in part.canceled:
            return None
        part.canceled.add(local)
        return part

    # ── what tasks say ───────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, letter: Letter, now: float) -> None:
        """Act on a letter of a task."""
        wave = self.waves.get(letter.wave)
        if wave is None or letter.task >= len(wave.parts):
            return
        part = wave.parts[letter.task]
        for kind, id, number, payload in FrameReader().feed(letter.data):
            if kind == framing.HELLO:
                part.host, part.since, self._stillborn, self._spoken = wire.unpack_hello(payload).host, now, 0, True
                part.seen = part.seen._replace(state=TaskState.RUNNING)
            elif kind == framing.UPDATES:
                for update in wire.unpack_updates(payload, part.host):
                    self._told(part, update)
            elif kind == framing.RUNNING:
                part.running(wire.unpack_running(payload, part.host))
            elif kind == framing.CANNOT_START:
                self.error = BatchSystemError(f"the workers can't start on {part.host}: {payload.decode(errors='replace')}")
            elif kind == framing.BYE:
                self._left(part, id, number)
        part.idle = None if part.jobs or part.over else part.idle or now

    def _told(self, part: Part, update: BatchUpdate) -> None:
        local, job = update.id, part.jobs.get(update.id)
        if job is None or (part.wave.canceled and update.state is BatchState.MESSAGE):  # a service that was up then is not now
            return
        if update.state in _ENDS:
            if update.seconds is not None:
                self.times.learn(job.name, job.requirements, update.seconds)
            elif update.state is BatchState.RETURNED:  # the task has found it too much
                self.times.guess(job.name, job.requirements, self._seconds)
            part.pop(local)
            self._places.pop(job.id, None)
        elif update.state is BatchState.RUNNING:
            part.running({local: RunningJob(part.host, update.pid, self._clock.time())})
        self.news.append(msgspec.structs.replace(update, id=job.id))

    def _left(self, part: Part, signal: int, read: int) -> None:
        """Take leave of a task: of what it did not read, or gave back, nothing was begun."""
        part.leaving = signal
        if signal and part.begun:  # the scheduler says why
            return
        logger.debug("task %s left, having read %d of %d letters", part.shown(), read, part.written)
        self.strike(part, list(part.remainder(Seen(TaskState.ENDED))))

    # ── what the scheduler says ──────────────────────────────────────────────────────────────────────────────────────

    def saw(self, part: Part, seen: Seen | None, now: float) -> bool:
        """Take in what the scheduler says of a task, None if it does not know it; tell whether that may soon be something new."""
        if part.over or part.ended is not None:
            return False
        if seen is None:
            part.missed += 1
            if part.missed < _MISSES:
                return True
            seen = Seen(TaskState.ENDED, Reason.LOST, message="the scheduler does not know it any more")
        else:
            part.missed = 0
        new = seen.state is not part.seen.state
        part.seen = seen
        if seen.state is TaskState.ENDED:
            part.ended = now
        return new

    def bury(self, now: float) -> list[str]:
        """Say what becomes of the jobs of tasks that have ended, once all their letters have come; name the waves that are over."""
        over = []
        for name, wave in list(self.waves.items()):
            for part in wave.live():
                if part.ended is not None and now >= part.ended + GRACE:
                    self._end(part)
            if wave.over:
                del self.waves[name]
                over.append(name)
        return over

    def _end(self, part: Part) -> None:
        if part.since:
            self._stillborn = 0
        elif part.seen.reason not in {Reason.CANCELED, Reason.PREEMPTED} and not part.canceled and not part.wave.canceled:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN[self._spoken]:
                self.error = BatchSystemError(adopting.stillborn(self._scheduler, part))
        self.strike(part, list(part.remainder(part.seen)))

    def refuse(self, name: str, text: str) -> None:
        """Fail the jobs of a wave that the scheduler will not take."""
        for part in self.waves.pop(name).parts:
            failed = (BatchUpdate(job.id, BatchState.ENDED, reason=Reason.FAILED, message=text) for job in part.jobs.values())
            self.strike(part, list(failed))

    def strike(self, part: Part, news: list[BatchUpdate]) -> None:
        """End a task here, with this news of its jobs."""
        part.over = True
        part.jobs.clear()
        for update in news:
            self._places.pop(update.id, None)
        self.news += news

    # ── tasks without jobs ───────────────────────────────────────────────────────────────────────────────────────────

    def use_idle(self, waiting: Waiting, now: float) -> None:
        """Let tasks that have no job go on with what fits them: successors run where their predecessors ran, and save a start.

        Args:
            waiting: the jobs that are in no task yet; what is used is taken out.
            now: the time.
        """
        if self._seconds <= 0:
            return
        able = (part for part in self.parts() if not part.leaving and part.ended is None)
        idle = [part for part in able if part.idle is not None and now < part.idle + _IDLE]
        for number, part in enumerate(idle):
            jobs = self._fitting(part, waiting, len(idle) - number, now) or self._steal(part, len(idle) - number, now)
            if jobs:
                self._give(part, jobs)
            elif part.idle is not None and now > part.idle + _SPARE and any(not other.since for other in self.parts()):
                part.leaving = _TOLD_TO_END  # it holds a place that others wait for
                self.write(part, framing.pack(framing.STOP))

    def _fitting(self, part: Part, waiting: Waiting, shares: int, now: float) -> list[BatchJob]:
        """Take a share of the jobs that are in no task yet."""
        for (requirements, service), jobs in waiting.items():
            if jobs and not service and fits(requirements, part, now):
                many = self._share(jobs[0], len(jobs), shares)
                return [jobs.popleft() for _ in range(min(many, len(jobs)))]
        return []

    def _steal(self, part: Part, shares: int, now: float) -> list[BatchJob]:
        """Take jobs out of tasks that still wait in the scheduler's queue: now it is known how long such jobs take."""
        queued = [other for other in self.parts() if not other.since and other.ended is None and other.jobs and not other.wave.service]
        able = [other for other in queued if all(fits(job.requirements, part, now) for job in other.jobs.values())]
        if not able:
            return []
        many = self._share(next(iter(able[0].jobs.values())), sum(len(other.jobs) for other in able), shares)
        taken: list[BatchJob] = []
        for other in reversed(able):
            if len(taken) + len(other.jobs) > many and taken:
                break
            if self._office.claim(other.wave.ask.name, other.number):
                taken += [job for local, job in other.jobs.items() if local not in other.canceled]
                self.strike(other, [canceled(other.jobs[local].id) for local in other.canceled])
                self.unwanted.append(other)
            else:  # it begins just now
                other.since = now
        return taken

    def _share(self, job: BatchJob, jobs: int, shares: int) -> int:
        expected = self.times.expected(job.name, job.requirements)
        return jobs_a_task(-(-jobs // shares), expected, self._seconds)

    def _give(self, part: Part, jobs: list[BatchJob]) -> None:
        given = {part.add(job): job for job in jobs}
        self._places.update({job.id: (part, local) for local, job in given.items()})
        part.idle = None
        self.write(part, framing.pack(framing.SUBMIT, payload=packed(given)))


def packed(jobs: Mapping[int, BatchJob]) -> bytes:
    """Write jobs under the ids by which their task knows them."""
    return wire.pack_jobs([msgspec.structs.replace(job, id=local) for local, job in jobs.items()])


def canceled(id: int) -> BatchUpdate:
    """Say that a job was canceled."""
    return BatchUpdate(id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled")
