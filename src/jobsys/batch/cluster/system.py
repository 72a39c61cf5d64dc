"""The batch system of clusters: joins the tasks (crew) to the scheduler (desk) and to what lies in the store (mail)."""

import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from jobsys import framing
from jobsys.batch.base import BatchJob, BatchSystem, BatchUpdate, RunningJob
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Part, Wave, by_native, choices
from jobsys.batch.cluster.clerk import Clerk
from jobsys.batch.cluster.crew import Crew, Waiting, canceled, packed
from jobsys.batch.cluster.desk import Answer, Broken, Desk, Looked, Refused, Submitted
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import Ask, PassingError, Scheduler, TaskId, TaskState
from jobsys.batch.cluster.sizing import MOST, jobs_a_task
from jobsys.clock import SYSTEM, Clock
from jobsys.errors import BatchSystemError, IntegrityError, RequirementError, StorageError
from jobsys.requirements import Requirements

T = TypeVar("T")

logger = logging.getLogger(__name__)

GATHER: Final = (0.05, 0.5)
"""Seconds without new jobs after which tasks are asked for, and at most; none where no job is out and the leader waits."""
MAIL: Final = (0.1, 2.0)
"""Seconds between two looks into the store: while there is news, and at most."""
POLL: Final = (1.0, 10.0)
"""Seconds between two questions to the scheduler."""
_SLOWER: Final = 1.2
_COST: Final = 10.0  # the scheduler is busy with us for a tenth of the time at most
_END: Final = 60.0  # seconds for all tasks to end when the run does
_PAUSE: Final = 0.2
_LEFT: Final = 50  # waves of which tasks that have said goodbye may not quite have ended


def _random() -> str:
    return secrets.token_hex(8)


class Tasks(NamedTuple):
    """How tasks are made: ``script`` writes the program of a wave's tasks, given its name and what one of their jobs needs."""

    script: Callable[[str, Requirements], str]
    seconds: float = 60.0  # that a task should run; 0 gives each job a task of its own
    log: str = ""  # a directory for what tasks print
    adoptable: bool = True  # whether tasks of an earlier leader can still reach the store
    options: tuple[str, ...] = ()  # with which the scheduler was made
    replaced: Callable[[], bool] = lambda: False  # tells whether another leader has come


class ClusterBatchSystem(BatchSystem):
    """Runs batch jobs in tasks of a scheduler, as many in each as take some time together."""

    window = 20_000
    shared = True

    def __init__(
        self, scheduler: Scheduler, office: Office, tasks: Tasks, clock: Clock = SYSTEM, clerk: Clerk[Answer] | None = None
    ) -> None:
        """Take the scheduler and the store; nothing is asked for before the first job.

        Args:
            scheduler: what runs tasks.
            office: where orders and letters lie.
            tasks: how tasks are made.
            clock: tells the seconds that pass.
            clerk: speaks to the scheduler; a thread if not given.
        """
        self.enforces = frozenset({"memory", "walltime"}) | scheduler.enforces
        self._scheduler = scheduler
        self._office = office
        self._tasks = tasks
        self._clock = clock
        self._clerk = clerk or Clerk()
        self._desk = Desk(scheduler, self._clerk, clock)
        self._crew = Crew(scheduler.name, office, tasks.seconds, clock, tasks.replaced)
        self._waiting: Waiting = {}
        self._longest: dict[Requirements, float] = {}  # by what jobs need: the most walltime for which a task of them was found possible
        self._natives: dict[str, str] = {}  # by wave; written by the desk
        self._asked: set[str] = set()  # waves of which the desk has not yet said what became of them
        self._read: list[str] = []  # letters of which the leader was told, and has not yet come back
        self._done: list[str] = []  # those of which it has: they are not needed any more
        self._over: list[str] = []  # waves that are over, and of whose letters the same holds
        self._spent: set[str] = set()  # those of which nothing is needed any more
        self._left: deque[str] = deque(maxlen=_LEFT)  # native ids of waves that were over lately
        self._gather: tuple[float, float] | None = None
        self._mail_at, self._mail_every = 0.0, MAIL[0]
        self._poll_at, self._poll_every = 0.0, POLL[0]
        self._looking = False
        self._error: BatchSystemError | StorageError | None = None
        self._closed = False

    # ── what the leader asks ─────────────────────────────────────────────────────────────────────────────────────────

    def check(self, requirements: Requirements) -> None:
        """Raise RequirementError if the scheduler says that no host can ever meet the requirements."""
        problem = ""
        for _, need in choices(requirements, MOST, self._tasks.seconds):
            try:
                problem = self._scheduler.check(need)
            except PassingError as error:
                logger.info("%s can't tell whether a job can run: %s", self._scheduler.name, error)
                return
            if not problem:
                self._longest[requirements] = need.walltime or 0.0
                return
        raise RequirementError(problem)

    def adopt(self) -> list[BatchJob]:
        """Take over the tasks that an earlier leader has left in queues and on hosts."""
        found = []
        for wave in adopting.left(self._office, self._scheduler, self._tasks.adoptable, self._clock):
            self._crew.add(wave)
            if wave.native:
                self._natives[wave.ask.name] = wave.native
                self._stop([part for part in wave.parts if part.over])  # as somebody meant to who took their jobs out
            found += [job for part in wave.parts for job in part.jobs.values()]
        return found

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; tasks are asked for once no more come for a moment."""
        if self._closed:
            raise BatchSystemError(f"the batch system {self._scheduler.name} is shut down")
        for job in jobs:
            self._waiting.setdefault((job.requirements, job.service), deque()).append(job)
        now = self._clock.monotonic()
        self._gather = (now + GATHER[0], min(now + GATHER[1], self._gather[1]) if self._gather else now + GATHER[1])

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Collect news in order; wait up to ``timeout`` seconds for the first (None: for ever).

        Whoever calls it has kept what it gave before: only then is that deleted from the store.

        Raises:
            BatchSystemError: the scheduler can't be reached for long, or tasks can't start.
            StorageError: the store can't be reached for long.
        """
        self._acknowledge()
        if timeout != 0 and self._gather is not None and not self._crew.waves:
            self._gather = (self._clock.monotonic(),) * 2  # who waits has no more jobs, and none is out that could make more
        end = None if timeout is None else self._clock.monotonic() + timeout
        while True:
            self._turn()
            if self._crew.news:
                news, self._crew.news = self._crew.news, []
                return news
            if (error := self._error or self._crew.error) is not None:
                raise error
            now = self._clock.monotonic()
            if end is not None and now >= end:
                return []
            self._wait(min(self._due(), now + 60.0 if end is None else end) - now)

    def cancel(self, ids: Collection[int]) -> None:
        """Stop jobs, in tasks or not; each gives one update ENDED, CANCELED."""
        wanted = set(ids)
        for shape, waiting in self._waiting.items():
            gone = [job for job in waiting if job.id in wanted]
            if gone:
                self._waiting[shape] = deque(job for job in waiting if job.id not in wanted)
                self._crew.news += [canceled(job.id) for job in gone]
        touched = {part: None for id in sorted(wanted) if (part := self._crew.cancel(id)) is not None}
        for part in touched:
            self._crew.write(part, framing.pack(framing.CANCEL, payload=framing.pack_ids(part.canceled)))
        self._stop([part for part in touched if part.canceled >= part.jobs.keys()])
        self._poll_at, self._poll_every = self._clock.monotonic(), POLL[0]

    def tell(self, id: int, message: bytes) -> None:
        """Send a message to the worker of a running job; ignored where the job has ended."""
        if (place := self._crew.place(id)) is not None:
            self._crew.write(place[0], framing.pack(framing.TELL, place[1], 0, message))

    def running(self) -> Mapping[int, RunningJob]:
        """Tell which jobs run now, as far as their tasks have said so."""
        return self._crew.running()

    def shutdown(self, *, leave: bool = False) -> None:
        """Cancel all tasks; when it returns none is in a queue or runs, or a warning says which may. Safe to call twice.

        With ``leave`` tasks and letters are left to the leader that has come; what it can't adopt it cancels.
        """
        if self._closed:
            return
        self._closed = True
        self._clerk.hurry()
        if leave:
            self._desk.call(self._scheduler.close)
            self._clerk.close(_END)
            return
        self._desk.call(self._end_all)
        if not self._clerk.close(2 * _END):
            names = ", ".join(sorted(self._natives.values()))
            logger.warning("%s does not answer; tasks that may be left: %s", self._scheduler.name, names)

    # ── one round ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        while (answer := self._clerk.hear()) is not None:
            self._answered(answer)
        now = self._clock.monotonic()
        if now >= self._mail_at and self._crew.waves:
            self._collect(now)
        if now >= self._poll_at and not self._looking and (tasks := by_native(self._crew.parts())):
            self._looking = True
            self._desk.look(tasks)
        self._over += self._crew.bury(now)
        self._crew.use_idle(self._waiting, now)
        unwanted, self._crew.unwanted = self._crew.unwanted, []
        self._stop(unwanted)
        if self._gather is not None and now >= min(self._gather):
            self._gather = None
            for (requirements, service), waiting in self._waiting.items():
                if waiting:
                    self._ask(requirements, service, waiting)
            self._waiting.clear()

    def _wait(self, seconds: float) -> None:
        answer = self._clerk.hear(seconds)
        if answer is not None:
            self._answered(answer)

    def _due(self) -> float:
        """Tell when something is due."""
        due = [min(self._gather)] if self._gather is not None else []
        if self._crew.waves:
            due.append(self._mail_at)
            if not self._looking:
                due.append(max(self._poll_at, self._clock.monotonic() + 0.01))
        return min(due, default=self._clock.monotonic() + 60.0)

    def _acknowledge(self) -> None:
        """Let go of what the leader has kept."""
        self._done += self._read
        self._read.clear()
        self._spent.update(self._over)
        self._over.clear()
        for name in sorted(self._spent - self._asked):  # tasks of the others may still come into a queue
            self._spent.discard(name)
            if (native := self._natives.pop(name, None)) is not None:
                self._left.append(native)
            self._desk.call(lambda name=name: self._office.close(name))  # type: ignore[misc]

    def _collect(self, now: float) -> None:
        letters = self._office.letters()
        if self._done:
            done, self._done = self._done, []
            self._office.forget(done)
        for letter in letters:
            self._crew.open(letter, now)
        self._read += [letter.key for letter in letters]
        self._mail_every = MAIL[0] if letters else min(self._mail_every * _SLOWER, MAIL[1])
        self._mail_at = now + self._mail_every

    # ── the scheduler ────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, requirements: Requirements, service: bool, waiting: deque[BatchJob]) -> None:
        """Ask for tasks for all jobs of a shape, as few times as the scheduler allows."""
        expected = self._crew.times.expected(waiting[0].name, requirements)
        many = 1 if service else jobs_a_task(len(waiting), expected, self._tasks.seconds)
        longest = self._longest.get(requirements, math.inf)
        each, need = next(one for one in choices(requirements, many, self._tasks.seconds) if (one[1].walltime or 0.0) <= longest)
        while waiting:
            count = min(self._scheduler.most, -(-len(waiting) // each))
            name = f"jobsys-{_random()}"
            wave = Wave(Ask(name, count, need, self._tasks.script(name, requirements), self._tasks.log, waiting[0].name), service)
            for part in wave.parts:
                for _ in range(min(each, len(waiting))):
                    part.add(waiting.popleft())
            self._crew.add(wave)
            self._submit(wave)

    def _submit(self, wave: Wave) -> None:
        name, orders = wave.ask.name, [packed(part.jobs) for part in wave.parts]

        def before() -> bool:
            self._office.write_orders(name, orders)
            self._office.write_record(name, self._record(wave, ""))
            if self._tasks.replaced():  # the leader that has come may have looked for records before
                self._office.close(name)
                return False
            return True

        def after(native: str) -> bool:
            self._natives[name] = native
            if not self._office.has_orders(name):  # the leader that has come has looked in the queue before
                return False
            self._office.write_record(name, self._record(wave, native))
            return True

        self._asked.add(name)
        self._desk.submit(wave.ask, before, after)

    def _record(self, wave: Wave, native: str, canceled: bool = False) -> bytes:
        return adopting.record(wave, self._scheduler.name, native, self._tasks.options, canceled)

    def _stop(self, parts: list[Part]) -> None:
        if tasks := by_native(parts):
            self._desk.cancel(tasks)

    def _answered(self, answer: Answer) -> None:
        if isinstance(answer, Submitted | Refused):
            self._asked.discard(answer.name)
        match answer:
            case Submitted(name, native) if name in self._crew.waves:
                wave = self._crew.waves[name]
                wave.native = native
                self._stop([part for part in wave.parts if part.over or part.canceled >= part.jobs.keys()])  # before this was known
                self._poll_at, self._poll_every = self._clock.monotonic() + POLL[0], POLL[0]
            case Submitted(_, native):  # its tasks were quicker than the answer, or emptied
                self._desk.cancel({native: None})
            case Refused(name, text) if name in self._crew.waves:
                self._crew.refuse(name, text)
                self._over.append(name)
            case Looked():
                self._looked(answer)
            case Broken(error):
                self._error = error

    def _looked(self, answer: Looked) -> None:
        now = self._clock.monotonic()
        self._looking = stirred = False
        waves = {wave.native: wave for wave in self._crew.waves.values()}
        if answer.seen is not None:
            for native, numbers in answer.asked.items():
                for number in numbers if native in waves else ():
                    stirred = self._crew.saw(waves[native].parts[number], answer.seen.get(TaskId(native, number)), now) or stirred
        if stirred:
            self._mail_at, self._mail_every = now, MAIL[0]
        self._poll_every = POLL[0] if stirred else min(self._poll_every * _SLOWER, POLL[1])
        self._poll_at = now + max(self._poll_every, _COST * (now - answer.at))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end_all(self) -> None:
        """Cancel what there is, wait for it to end, and delete what is not needed any more; in the desk's thread."""
        deadline = self._clock.monotonic() + _END
        waves = self._crew.waves
        for name in sorted((self._asked | {name for name, wave in waves.items() if not wave.canceled}) - self._natives.keys()):
            if (native := self._insist(partial(self._scheduler.find, name), deadline)) is not None:
                self._natives[name] = native
        ours = {native: range(len(waves[name].parts) if name in waves else self._scheduler.most) for name, native in self._natives.items()}
        if ours:
            self._insist(lambda: self._scheduler.cancel(dict.fromkeys(ours)), deadline)
        kept = self._keep()
        self._await_ends({**dict.fromkeys(self._left, range(self._scheduler.most)), **ours}, deadline)
        self._natives.clear()
        try:
            self._office.forget(self._done)
            for name in dict.fromkeys([*waves, *sorted(self._asked)]):
                if name not in kept and name not in self._over:
                    self._office.close(name)
        except (StorageError, IntegrityError) as error:
            logger.info("what tasks have left was not removed: %s", error)
        self._scheduler.close()

    def _keep(self) -> set[str]:
        """Note for the next leader where it finds what was finished, and that nobody else ended the rest; name these waves."""
        unread = {key.rpartition("/")[2].partition(".")[0] for key in self._read}
        kept = {name: wave for name, wave in self._crew.waves.items() if name in unread or any(part.jobs for part in wave.parts)}
        try:
            for name, wave in kept.items():
                self._office.write_record(name, self._record(wave, self._natives.get(name, ""), canceled=True))
        except StorageError as error:
            logger.warning("that tasks were canceled could not be written down, the next leader takes their jobs for killed: %s", error)
        return set(kept)

    def _await_ends(self, live: Mapping[str, Collection[int]], deadline: float) -> None:
        while live and self._clock.monotonic() < deadline:
            seen = self._insist(partial(self._scheduler.look, live), deadline)
            there = {task.native for task, what in seen.items() if what.state is not TaskState.ENDED}
            live = {native: numbers for native, numbers in live.items() if native in there}
            if live:
                self._clock.sleep(_PAUSE)
        if live:
            logger.warning("%s: tasks that were canceled and have not ended yet: %s", self._scheduler.name, ", ".join(live))

    def _insist(self, ask: Callable[[], T], deadline: float) -> T:
        """Ask a scheduler that is out of order again, for some time: what is left in a queue nobody looks after any more."""
        while True:
            try:
                return ask()
            except PassingError:
                if self._clock.monotonic() > deadline:
                    raise
                self._clock.sleep(_PAUSE)
