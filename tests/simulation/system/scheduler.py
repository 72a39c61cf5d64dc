"""The scheduler of a simulated cluster: a queue that all leaders share, and each leader's way to it, which fails as real ones do."""

import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jobsys.batch.cluster.book import OVERHEAD
from jobsys.batch.cluster.scheduler import Ask, PassingError, Scheduler, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.message import decode_order
from jobsys.requirements import Requirements
from simulation.system.cluster import MOST_MEMORY  # type: ignore[import-not-found]
from simulation.system.node import Stage  # type: ignore[import-not-found]
from simulation.system.world import Process, World  # type: ignore[import-not-found]

T = TypeVar("T")

KILLS = (5.0, 20.0)  # seconds between the signal to a task that is canceled and its death
MISSED = 2  # times in a row that a living task may not be listed
DIES_OF = (Reason.LOST, Reason.KILLED, Reason.FAILED, None)


@dataclass
class Entry:
    """A task in the queue."""

    id: TaskId
    ask: Ask
    state: TaskState = TaskState.QUEUED
    reason: Reason | None = None
    process: Process | None = None
    stage: Stage | None = None
    doomed: bool = False  # whatever it still does, others may do again
    forgotten: bool = False
    missed: int = 0


class Queue:
    """What a cluster's controller knows."""

    def __init__(self, run: Any, slots: int) -> None:
        """Start with no task, and room for so many at a time."""
        self._run, self._world, self._slots = run, run.world, slots
        self.entries: dict[TaskId, Entry] = {}
        self.names: dict[str, str] = {}
        self._running: dict[int, list[tuple[Process, Entry]]] = {}  # by job, who runs it

    def submit(self, ask: Ask) -> str:
        """Take tasks."""
        native = str(len(self.names) + 1)
        self.names[ask.name] = native
        self._world.note("queued", native, ask.count, ask.name)
        for number in range(ask.count):
            self.entries[TaskId(native, number)] = Entry(TaskId(native, number), ask)
        self._later()
        return native

    def find(self, name: str) -> str | None:
        """Find tasks by name."""
        native = self.names.get(name)
        return native if any(not entry.forgotten for entry in self.entries.values() if entry.id.native == native) else None

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """List tasks; one or the other may be missing."""
        found = {}
        for native, numbers in tasks.items():
            for number in numbers:
                entry = self.entries.get(TaskId(native, number))
                if entry is not None and not entry.forgotten and not self._overlooks(entry):
                    found[entry.id] = Seen(entry.state, entry.reason)
        return found

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks."""
        for entry in list(self.entries.values()):
            if entry.id.native in tasks and ((numbers := tasks[entry.id.native]) is None or entry.id.number in numbers):
                self._end(entry, Reason.CANCELED)

    def left(self) -> list[Entry]:
        """Give the tasks that have not ended."""
        return [entry for entry in self.entries.values() if entry.state is not TaskState.ENDED]

    # -- what happens to a task --------------------------------------------------------------------------------

    def _later(self) -> None:
        self._world.later(self._world.random.choice((0.1, 1.0, 5.0)), self._begin_some)

    def _begin_some(self) -> None:
        for entry in self.left():
            running = sum(each.state is TaskState.RUNNING for each in self.entries.values())
            if entry.state is TaskState.QUEUED and running < self._slots:
                self._begin(entry)

    def _begin(self, entry: Entry) -> None:
        world = self._world
        entry.state = TaskState.RUNNING
        entry.process = self._start(entry)
        entry.process.at_end.append(lambda: self._ended(entry))
        if world.strikes("started twice"):
            world.later(world.random.choice((0.0, 1.0, 20.0)), lambda: self._start_again(entry))
        for what, act in (("preempted", self._preempt), ("node lost", self._lose), ("canceled outside", self._cancel_outside)):
            if world.strikes(what):
                world.later(world.random.choice((0.01, 1.0, 10.0)), lambda act=act: act(entry))

    def _start_again(self, entry: Entry) -> None:
        """Start a task a second time; the scheduler ends both."""
        if entry.state is TaskState.RUNNING and entry.process is not None:
            twin, soon = self._start(entry), self._world.random.choice((0.0, 1.0, 20.0))
            entry.process.at_end.append(lambda: self._world.later(soon, lambda: twin.kill("it ended for its scheduler")))

    def _start(self, entry: Entry) -> Process:
        stage = Stage(self._run, entry.ask.script, entry.id.number, lambda process, order: self._job_begins(entry, process, order))
        process = Process(self._world, f"task {entry.id.native}_{entry.id.number}", self._world.random.choice(self._run.hosts), stage.play)
        process.at_end.append(lambda: self._check(process))
        entry.stage = entry.stage or stage
        return process

    def _check(self, process: Process) -> None:
        if process.error is not None:
            self._world.broken = self._world.broken or process.error

    def _job_begins(self, entry: Entry, process: Process, order: bytes) -> None:
        """Let no job begin that runs in another task which nobody has reason to believe dead."""
        job = decode_order(order).job
        others = [each for each in self._running.get(job, ()) if each[0].alive]
        for other, where in others:
            if not where.doomed:
                self._world.violate(f"{process.name} begins in task {entry.id}, and {other.name} runs in task {where.id}, which lives")
        self._running[job] = [*others, (process, entry)]

    def _ended(self, entry: Entry) -> None:
        process = entry.process
        if entry.state is TaskState.ENDED or process is None:
            return
        self._world.note("task ended", entry.id.native, entry.id.number, process.reason)
        entry.state, entry.doomed = TaskState.ENDED, True
        if process.killed and entry.reason is None:
            entry.reason = self._world.random.choice(DIES_OF)
        if entry.stage is not None and entry.stage.status:
            entry.reason = entry.reason or Reason.FAILED
        if self._world.strikes("forgotten"):
            self._world.later(self._world.random.choice((0.0, 2.0, 30.0)), lambda: setattr(entry, "forgotten", True))
        self._later()

    def _end(self, entry: Entry, reason: Reason) -> None:
        """End a task with a signal, and kill it when it takes long."""
        if entry.state is TaskState.ENDED:
            return
        entry.doomed, entry.reason = True, entry.reason or reason
        process = entry.process
        if process is None or entry.stage is None:
            entry.state = TaskState.ENDED
            return
        entry.stage.stop(process, signal.SIGTERM)
        self._world.later(self._world.random.choice(KILLS), lambda: process.kill("it takes long to end"))

    def _preempt(self, entry: Entry) -> None:
        self._end(entry, Reason.PREEMPTED)

    def _cancel_outside(self, entry: Entry) -> None:
        self._end(entry, Reason.CANCELED)

    def _lose(self, entry: Entry) -> None:
        """Give a node up for lost, whose processes may come back."""
        if entry.state is TaskState.RUNNING and entry.process is not None:
            away, process = self._world.random.choice((1.0, 30.0, 100.0)), entry.process
            process.freeze(away)
            entry.state, entry.reason, entry.doomed = TaskState.ENDED, Reason.LOST, True
            self._world.later(away + self._world.random.choice((1.0, 10.0, 60.0)), lambda: process.kill("it ended for its scheduler"))
            self._later()

    def _overlooks(self, entry: Entry) -> bool:
        living = entry.state is not TaskState.ENDED
        entry.missed = entry.missed + 1 if self._world.strikes("overlooked") and (entry.missed < MISSED or not living) else 0
        return entry.missed > 0


class SimulatedScheduler(Scheduler):
    """A leader's way to the queue."""

    name = "tasks"
    most = 3
    index = "NUMBER"

    def __init__(self, world: World, queue: Queue) -> None:
        self._world, self._queue = world, queue

    def check(self, requirements: Requirements) -> str:
        return f"{MOST_MEMORY} bytes at most" if (requirements.memory or 0) > MOST_MEMORY + OVERHEAD else ""

    def submit(self, ask: Ask) -> str:
        return self._call("submit", lambda: self._queue.submit(ask), lands=True)

    def find(self, name: str) -> str | None:
        return self._call("find", lambda: self._queue.find(name))

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        return self._call("look", lambda: self._queue.look(tasks))

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        self._call("cancel", lambda: self._queue.cancel(tasks), lands=True)

    def _call(self, what: str, effect: Callable[[], T], lands: bool = False) -> T:
        """Have the controller do something some time between the call and its return, or not, with or without an answer."""
        world, process = self._world, self._world.me()
        world.point(f"before {what} of tasks")
        process.in_flight = effect if lands else None
        process.pause(self._latency())
        process.in_flight = None
        if world.strikes("scheduler down"):
            raise PassingError(f"{what}: the controller does not answer")
        result = effect()
        process.pause(self._latency())
        if lands and world.strikes("answer lost"):
            raise PassingError(f"{what}: the answer is lost")
        world.point(f"after {what} of tasks")
        return result

    def _latency(self) -> float:
        random = self._world.random
        if self._world.strikes("scheduler slow"):
            slow: float = random.uniform(1.0, 60.0)
            self._world.me().troubled(slow)
            return slow
        return random.uniform(0.01, 0.1)
