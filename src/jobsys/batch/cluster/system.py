"""The batch system of clusters: joins what is known of tasks (book) to the scheduler (desk) and to what lies in the store (mail)."""

import logging
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, Reason, RunningJob
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Part, Wave, by_native, fits, of_task
from jobsys.batch.cluster.desk import Broken, Desk, Looked, Refused, Submitted
from jobsys.batch.cluster.mail import Letter, Office
from jobsys.batch.cluster.scheduler import Ask, PassingError, Scheduler, Seen, TaskId, TaskState
from jobsys.batch.cluster.sizing import Times, jobs_a_task
from jobsys.errors import BatchSystemError, IntegrityError, RequirementError, StorageError
from jobsys.framing import FrameReader
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

_GATHER: Final = (0.05, 0.5)  # seconds without new jobs after which tasks are asked for, and at most
_MAIL: Final = (0.1, 2.0)  # seconds between two looks into the store
_POLL: Final = (1.0, 10.0)  # seconds between two questions to the scheduler
_SLOWER: Final = 1.2
_COST: Final = 10.0  # the scheduler is busy with us for a tenth of the time at most
_GRACE: Final = 3.0  # seconds after a task's end in which its last letter may come to be seen
_MISSES: Final = 3  # times in a row that the scheduler does not know a task, before that counts as its end
_STILLBORN: Final = 3  # tasks in a row that ended before they said a word
_END: Final = 60.0  # seconds for all tasks to end when the run does
_SPARE: Final = 0.6  # seconds after which one that others wait for is told to end
_IDLE: Final = 1.2  # seconds for which a task without jobs surely reads what is sent to it
_ENDS: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)
_Shape = tuple[Requirements, bool]


class Tasks(NamedTuple):
    """How tasks are made: ``script`` writes the program of a wave's tasks, given its name and what one of their jobs needs."""

    script: Callable[[str, Requirements], str]
    seconds: float = 60.0  # that a task should run; 0 gives each job a task of its own
    log: str = ""  # a directory for what tasks print
    adoptable: bool = True  # whether tasks of an earlier leader can still reach the store


class ClusterBatchSystem(BatchSystem):
    """Runs batch jobs in tasks of a scheduler, as many in each as take some time together."""

    window = 20_000

    def __init__(
        self,
        scheduler: Scheduler,
        office: Office,
        tasks: Tasks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the scheduler and the store; nothing is asked for before the first job.

        Args:
            scheduler: what runs tasks.
            office: where orders and letters lie.
            tasks: how tasks are made.
            clock: tells the seconds that pass.
        """
        self.enforces = frozenset({"memory", "walltime"}) | scheduler.enforces
        self._scheduler = scheduler
        self._office = office
        self._tasks = tasks
        self._clock = clock
        self._desk = Desk(scheduler, clock)
        self._times = Times()
        self._waiting: dict[_Shape, deque[BatchJob]] = {}
        self._places: dict[int, tuple[Part, int]] = {}  # of jobs in tasks: the task, and the job's id there
        self._waves: dict[str, Wave] = {}
        self._natives: dict[str, str] = {}  # by wave; written by the desk
        self._news: list[BatchUpdate] = []
        self._read: list[str] = []  # letters of which the leader was told, and has not yet come back
        self._done: list[str] = []  # those of which it has: they are not needed any more
        self._gather: tuple[float, float] | None = None
        self._mail_at, self._mail_every = 0.0, _MAIL[0]
        self._poll_at, self._poll_every = 0.0, _POLL[0]
        self._looking = False
        self._stillborn = 0
        self._error: Exception | None = None
        self._closed = False

    # ── what the leader asks ─────────────────────────────────────────────────────────────────────────────────────────

    def check(self, requirements: Requirements) -> None:
        """Raise RequirementError if the scheduler says that no host can ever meet the requirements."""
        try:
            problem = self._scheduler.check(of_task(requirements, 1, self._tasks.seconds))
        except PassingError as error:
            logger.info("%s can't tell whether a job can run: %s", self._scheduler.name, error)
            return
        if problem:
            raise RequirementError(problem)

    def adopt(self) -> list[BatchJob]:
        """Take over the tasks that an earlier leader has left in queues and on hosts."""
        left = adopting.left(self._office, self._scheduler, self._tasks.adoptable)
        found = []
        for wave in left:
            self._waves[wave.ask.name] = wave
            self._natives[wave.ask.name] = wave.native
            wave.asked = self._clock()
            for part in wave.parts:
                for local, job in part.jobs.items():
                    self._places[job.id] = (part, local)
                    found.append(job)
        return found

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; tasks are asked for once no more come for a moment."""
        if self._closed:
            raise BatchSystemError(f"the batch system {self._scheduler.name} is shut down")
        for job in jobs:
            self._waiting.setdefault((job.requirements, job.service), deque()).append(job)
        now = self._clock()
        self._gather = (now + _GATHER[0], min(now + _GATHER[1], self._gather[1]) if self._gather else now + _GATHER[1])

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Collect news in order; wait up to ``timeout`` seconds for the first (None: for ever).

        Raises:
            BatchSystemError: the scheduler can't be reached for long, or tasks can't start.
            StorageError: the store can't be reached for long.
        """
        self._done += self._read  # what was told of them is in the journal now
        self._read.clear()
        end = None if timeout is None else self._clock() + timeout
        while True:
            self._turn()
            if self._news:
                news, self._news = self._news, []
                return news
            if self._error is not None:
                raise self._error
            now = self._clock()
            if end is not None and now >= end:
                return []
            self._wait(min(self._due(), now + 60.0 if end is None else end) - now)

    def cancel(self, ids: Collection[int]) -> None:
        """Stop jobs, in tasks or not; each gives one update ENDED, CANCELED."""
        wanted = set(ids)
        for waiting in self._waiting.values():
            for job in [job for job in waiting if job.id in wanted]:
                waiting.remove(job)
                self._news.append(_canceled(job.id))
        touched: dict[Part, list[int]] = {}
        for id in wanted & self._places.keys():
            part, local = self._places[id]
            if local not in part.canceled:
                part.canceled.add(local)
                touched.setdefault(part, []).append(local)
        whole = [part for part in touched if part.canceled >= part.jobs.keys()]
        for part, locals in touched.items():
            self._write(part, framing.pack(framing.CANCEL, payload=framing.pack_ids(locals)))
        if stopping := by_native(whole):
            self._desk.cancel(stopping)
        self._poll_at, self._poll_every = self._clock(), _POLL[0]

    def tell(self, id: int, message: bytes) -> None:
        """Send a message to the worker of a running job; ignored where the job has ended."""
        if (place := self._places.get(id)) is not None:
            self._write(place[0], framing.pack(framing.TELL, place[1], 0, message))

    def running(self) -> Mapping[int, RunningJob]:
        """Tell which jobs run now, as far as their tasks have said so."""
        parts = (part for wave in self._waves.values() for part in wave.live())
        return {part.jobs[local].id: job for part in parts for local, job in part.begun.items() if local in part.jobs}

    def shutdown(self) -> None:
        """Cancel all tasks; when it returns none is in a queue or runs, or a warning says which may. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._desk.hurry()
        self._desk.call(self._end_all)
        if not self._desk.close(2 * _END):
            names = ", ".join(sorted(self._natives.values()))
            logger.warning("%s does not answer; tasks that may be left: %s", self._scheduler.name, names)

    # ── one round ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        self._hear()
        now = self._clock()
        if now >= self._mail_at and self._waves:
            self._collect(now)
        if now >= self._poll_at and not self._looking and (tasks := by_native(self._parts())):
            self._looking = True
            self._desk.look(tasks)
        self._bury(now)
        self._use_idle(now)
        if self._gather is not None and now >= min(self._gather):
            self._gather = None
            for (requirements, service), waiting in self._waiting.items():
                if waiting:
                    self._ask(requirements, service, waiting)
            self._waiting = {shape: waiting for shape, waiting in self._waiting.items() if waiting}

    def _wait(self, seconds: float) -> None:
        try:
            answer = self._desk.answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return
        self._answered(answer)

    def _due(self) -> float:
        """Tell when something is due."""
        due = [min(self._gather)] if self._gather is not None else []
        if self._waves:
            due.append(self._mail_at)
            if not self._looking:
                due.append(max(self._poll_at, self._clock() + 0.01))
        return min(due, default=self._clock() + 60.0)

    def _parts(self) -> Iterable[Part]:
        return (part for wave in self._waves.values() for part in wave.live())

    # ── the scheduler ────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, requirements: Requirements, service: bool, waiting: deque[BatchJob]) -> None:
        """Ask for tasks for all jobs of a shape, as few times as the scheduler allows."""
        expected = self._times.expected(waiting[0].name, requirements)
        each = 1 if service else jobs_a_task(len(waiting), expected, self._tasks.seconds)
        while waiting:
            count = min(self._scheduler.most, -(-len(waiting) // each))
            name = f"jobsys-{secrets.token_hex(8)}"
            need = of_task(requirements, each, self._tasks.seconds)
            title = waiting[0].name
            wave = Wave(Ask(name, count, need, self._tasks.script(name, requirements), self._tasks.log, title), service)
            for part in wave.parts:
                for job in [waiting.popleft() for _ in range(min(each, len(waiting)))]:
                    part.jobs[job.id] = job
                    self._places[job.id] = (part, job.id)
            self._submit(wave)

    def _submit(self, wave: Wave) -> None:
        name, orders = wave.ask.name, [wire.pack_jobs(list(part.jobs.values())) for part in wave.parts]
        self._waves[name] = wave

        def before() -> None:
            self._office.write_orders(name, orders)
            self._office.write_record(name, adopting.record(wave, self._scheduler.name, ""))

        def after(native: str) -> None:
            self._natives[name] = native
            self._office.write_record(name, adopting.record(wave, self._scheduler.name, native))

        self._desk.submit(wave.ask, before, after)

    def _hear(self) -> None:
        while True:
            try:
                answer = self._desk.answers.get_nowait()
            except queue.Empty:
                return
            self._answered(answer)

    def _answered(self, answer: object) -> None:
        match answer:
            case Submitted(name, native):
                wave = self._waves[name]
                wave.native, wave.asked = native, self._clock()
                self._poll_at, self._poll_every = wave.asked + _POLL[0], _POLL[0]
            case Refused(name, text):
                wave = self._waves.pop(name)
                for part in wave.parts:
                    self._strike(
                        part, [BatchUpdate(job.id, BatchState.ENDED, reason=Reason.FAILED, message=text) for job in part.jobs.values()]
                    )
                self._desk.call(lambda: self._office.close(name))
            case Looked():
                self._looked(answer)
            case Broken(error):
                self._error = error

    def _looked(self, answer: Looked) -> None:
        now = self._clock()
        self._looking = False
        stirred = False
        waves = {wave.native: wave for wave in self._waves.values()}
        if answer.seen is not None:
            for native, numbers in answer.asked.items():
                for number in numbers if native in waves else ():
                    stirred = self._saw(waves[native].parts[number], answer.seen.get(TaskId(native, number)), now) or stirred
        self._poll_every = _POLL[0] if stirred else min(self._poll_every * _SLOWER, _POLL[1])
        self._poll_at = now + max(self._poll_every, _COST * (now - answer.at))

    def _saw(self, part: Part, seen: Seen | None, now: float) -> bool:
        """Take in what the scheduler says of a task; tell whether it is something new."""
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
            self._mail_at, self._mail_every = now, _MAIL[0]
        return new

    def _bury(self, now: float) -> None:
        """Say what becomes of the jobs of tasks that have ended, once all their letters have come."""
        for wave in list(self._waves.values()):
            for part in wave.live():
                if part.ended is not None and now >= part.ended + _GRACE:
                    self._end(part)
            if wave.over and not wave.closed:
                wave.closed = True
                del self._waves[wave.ask.name]
                self._natives.pop(wave.ask.name, None)
                self._desk.call(lambda name=wave.ask.name: self._office.close(name))  # type: ignore[misc]

    def _end(self, part: Part) -> None:
        part.over = True
        if part.since:
            self._stillborn = 0
        elif part.seen.reason not in {Reason.CANCELED, Reason.PREEMPTED} and not part.canceled:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                self._error = BatchSystemError(adopting.stillborn(self._scheduler.name, part))
        self._strike(part, list(part.remainder(part.seen)))

    def _strike(self, part: Part, news: list[BatchUpdate]) -> None:
        part.over = True
        part.jobs.clear()
        for update in news:
            self._places.pop(update.id, None)
        self._news += news

    # ── the tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _collect(self, now: float) -> None:
        letters = self._office.letters()
        if self._done:
            done, self._done = self._done, []
            self._office.forget(done)
        for letter in letters:
            self._open(letter, now)
        self._read += [letter.key for letter in letters]
        self._mail_every = _MAIL[0] if letters else min(self._mail_every * _SLOWER, _MAIL[1])
        self._mail_at = now + self._mail_every

    def _open(self, letter: Letter, now: float) -> None:
        wave = self._waves.get(letter.wave)
        if wave is None or letter.task >= len(wave.parts):
            return
        part = wave.parts[letter.task]
        for kind, id, number, payload in FrameReader().feed(letter.data):
            if kind == framing.HELLO:
                hello = wire.unpack_hello(payload)
                part.host, part.since, self._stillborn = hello.host, now, 0
                part.seen = part.seen._replace(state=TaskState.RUNNING)
            elif kind == framing.UPDATES:
                for update in wire.unpack_updates(payload, part.host):
                    self._told(part, update)
            elif kind == framing.RUNNING:
                part.running(wire.unpack_running(payload, part.host))
            elif kind == framing.CANNOT_START:
                self._error = BatchSystemError(f"the workers can't start on {part.host}: {payload.decode(errors='replace')}")
            elif kind == framing.BYE:
                self._left(part, id, number)
        part.idle = None if part.jobs or part.over else part.idle or now

    def _told(self, part: Part, update: BatchUpdate) -> None:
        local, job = update.id, part.jobs.get(update.id)
        if job is None:
            return
        if update.state in _ENDS:
            if update.seconds is not None:
                self._times.learn(job.name, job.requirements, update.seconds)
            part.pop(local)
            self._places.pop(job.id, None)
        elif update.state is BatchState.RUNNING:
            part.running({local: RunningJob(part.host, update.pid, time.time())})
        self._news.append(_for_leader(update, job.id))

    def _left(self, part: Part, signal: int, read: int) -> None:
        """Take leave of a task: of what it did not read, or gave back, nothing was begun."""
        part.leaving = signal
        if signal and part.begun:  # the scheduler says why
            return
        logger.debug("task %s left, having read %d of %d letters", part.shown(), read, part.written)
        self._strike(part, list(part.remainder(Seen(TaskState.ENDED))))

    def _use_idle(self, now: float) -> None:
        """Let tasks that have no job go on with what fits them: successors run where their predecessors ran, and save a start."""
        idle = [part for part in self._parts() if part.idle is not None and now < part.idle + _IDLE and not part.leaving]
        for number, part in enumerate(idle):
            jobs = self._fitting(part, len(idle) - number, now) or self._steal(part, len(idle) - number, now)
            if jobs:
                self._give(part, jobs)
            elif (
                part.idle is not None and now > part.idle + _SPARE and any(not other.since for other in self._parts())
            ):  # it holds a place that others wait for
                part.leaving = -1
                self._write(part, framing.pack(framing.STOP))

    def _fitting(self, part: Part, shares: int, now: float) -> list[BatchJob]:
        """Take a share of the jobs that are in no task yet."""
        for (requirements, service), waiting in self._waiting.items():
            if waiting and not service and fits(requirements, part, now):
                many = self._share(waiting[0], len(waiting), shares)
                return [waiting.popleft() for _ in range(min(many, len(waiting)))]
        return []

    def _steal(self, part: Part, shares: int, now: float) -> list[BatchJob]:
        """Take jobs out of tasks that still wait in the scheduler's queue: now it is known how long such jobs take."""
        queued = [other for other in self._parts() if other.since == 0 and other.ended is None and other.jobs and not other.wave.service]
        able = [other for other in queued if all(fits(job.requirements, part, now) for job in other.jobs.values())]
        if not able:
            return []
        many = self._share(next(iter(able[0].jobs.values())), sum(len(other.jobs) for other in able), shares)
        taken: list[BatchJob] = []
        emptied = []
        for other in reversed(able):
            if len(taken) + len(other.jobs) > many and taken:
                break
            if self._office.claim(other.wave.ask.name, other.number):
                taken += [job for local, job in other.jobs.items() if local not in other.canceled]
                self._strike(other, [_canceled(other.jobs[local].id) for local in other.canceled])
                emptied.append(other)
            else:  # it begins just now
                other.since = now
        if stopping := by_native(emptied):
            self._desk.cancel(stopping)
        return taken

    def _share(self, job: BatchJob, jobs: int, shares: int) -> int:
        expected = self._times.expected(job.name, job.requirements)
        return jobs_a_task(-(-jobs // shares), expected, self._tasks.seconds)

    def _give(self, part: Part, jobs: list[BatchJob]) -> None:
        for job in jobs:
            local = job.id
            part.jobs[local] = job
            self._places[job.id] = (part, local)
        part.idle = None
        self._write(part, framing.pack(framing.SUBMIT, payload=wire.pack_jobs(jobs)))
        self._mail_every = _MAIL[0]

    def _write(self, part: Part, frame: bytes) -> None:
        part.written += 1
        self._office.write(part.wave.ask.name, part.number, part.written, frame)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end_all(self) -> None:
        """Cancel what there is, wait for it to end, and delete what is not needed any more; in the desk's thread."""
        waves = {name: native for name in self._waves if (native := self._natives.get(name) or self._scheduler.find(name))}
        self._natives.update(waves)
        live = {native: [part.number for part in self._waves[name].parts] for name, native in waves.items()}
        if live:
            self._scheduler.cancel(dict.fromkeys(live))
        deadline = self._clock() + _END
        while live and self._clock() < deadline:
            seen = self._scheduler.look(live)
            there = {task.native for task, what in seen.items() if what.state is not TaskState.ENDED}
            live = {native: numbers for native, numbers in live.items() if native in there}
            if live:
                time.sleep(0.2)
        if live:
            logger.warning("%s: tasks that were canceled and have not ended yet: %s", self._scheduler.name, ", ".join(live))
        try:
            self._office.forget(self._done + self._read)
            for name, wave in self._waves.items():
                if not any(part.jobs for part in wave.parts):  # else the next leader finds there what was finished
                    self._office.close(name)
        except (StorageError, IntegrityError) as error:
            logger.info("what tasks have left was not removed: %s", error)
        self._natives.clear()


def _canceled(id: int) -> BatchUpdate:
    return BatchUpdate(id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled")


def _refused(job: BatchJob, text: str) -> BatchUpdate:
    return BatchUpdate(job.id, BatchState.ENDED, reason=Reason.FAILED, message=text)


def _for_leader(update: BatchUpdate, id: int) -> BatchUpdate:
    if update.id == id:
        return update
    return BatchUpdate(
        id,
        update.state,
        update.payload,
        update.host,
        update.pid,
        update.reason,
        update.exit_status,
        update.message,
        update.log,
        update.memory,
        update.limit,
        update.seconds,
    )
