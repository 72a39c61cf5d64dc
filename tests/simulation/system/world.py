"""A world in one thread: processes that give way to each other, a clock that jumps from event to event, and a seed that decides.

A process is a greenlet. It gives way where a real one would wait for the outside: in a call of the storage, in a wait, in a sleep.
Who goes on next is whoever is due first; how long something takes is drawn from the seed, and so is what goes wrong.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any

import greenlet  # type: ignore[import-untyped]

LANDS = 5.0
"""Seconds within which what a dead process has asked for may still happen."""


class Crash(BaseException):
    """The process that meets this is dead; like SIGKILL, nothing may catch it."""


class Violation(AssertionError):
    """Something happened that must never happen."""


@dataclass
class Host:
    """A machine: its wall clock may be set, its monotonic one not."""

    name: str
    offset: float = 0.0
    pids: Any = field(default_factory=lambda: itertools.count(100))


class Process:
    """Runs ``body`` until it ends, is killed, or raises; as a thread ``of`` another it dies, and stands still, with that."""

    def __init__(self, world: "World", name: str, host: Host, body: Callable[[], Any], of: "Process | None" = None) -> None:
        self.world, self.name, self.host, self.body = world, name, host, body
        self.threads: list[Process] = []
        self.whole = of or self
        if of is not None:
            of.threads.append(self)
            of.at_end.append(lambda: self._die("the process has ended"))
        self.pid = next(host.pids)
        self.began = world.now
        self.killed = self.ended = False
        self.ended_at = float("inf")
        self.frozen_until = self.troubled_until = 0.0
        self.turn = 0
        self.in_flight: Callable[[], None] | None = None  # what it has asked for and may happen although it dies
        self.result: Any = None
        self.error: BaseException | None = None
        self.at_end: list[Callable[[], None]] = []
        self.reason = ""  # why it was killed
        self._greenlet = greenlet.greenlet(self._run, parent=world.hub)
        world.processes.append(self)
        world.push(world.now, self)

    @property
    def alive(self) -> bool:
        return not (self.killed or self.ended)

    def pause(self, seconds: float) -> None:
        """Give way for so long."""
        self._check()
        self.turn += 1
        self.world.push(self.world.now + seconds, self)
        self._give_way()

    def wait(self, until: Callable[[], bool], timeout: float | None) -> bool:
        """Give way until something is so, which somebody who calls ``wake`` has changed, or the time is over."""
        deadline = float("inf") if timeout is None else self.world.now + timeout
        while not until():
            if self.world.now >= deadline:
                return False
            self._check()
            self.turn += 1
            if timeout is not None:
                self.world.push(deadline, self)
            self._give_way()
        return True

    def wake(self) -> None:
        """Look again at what is waited for."""
        if self.alive:
            self.world.push(self.world.now, self)

    def kill(self, reason: str = "") -> None:
        """End it between two operations; what is on its way may still arrive."""
        for each in (self.whole, *self.whole.threads):
            each._die(reason)

    def _die(self, reason: str) -> None:
        if not self.alive:
            return
        self.killed, self.reason = True, reason
        effect, self.in_flight = self.in_flight, None
        if effect is not None and self.world.random.random() < 0.5:
            self.world.later(self.world.random.uniform(0.0, LANDS), effect)
        self.turn += 1
        self.world.push(self.world.now, self)

    def freeze(self, seconds: float) -> None:
        """Stop it, as SIGSTOP does, for so long."""
        for each in (self.whole, *self.whole.threads):
            each.frozen_until = max(each.frozen_until, self.world.now + seconds)
            each.troubled(seconds)

    def troubled(self, seconds: float) -> None:
        """Note that until then nobody can expect a sign of life."""
        self.troubled_until = max(self.troubled_until, self.world.now + seconds)

    def go(self) -> None:
        """Let it run until it gives way."""
        self._greenlet.switch()

    def _check(self) -> None:
        if self.killed:
            raise Crash(self.name)

    def _give_way(self) -> None:
        if greenlet.getcurrent() is not self._greenlet:
            raise Violation(f"{self.name} gives way in the name of another")
        self.world.hub.switch()
        self._check()

    def _run(self) -> None:
        try:
            self._check()
            self.result = self.body()
        except Crash:
            pass
        except BaseException as error:
            self.error = error
        self.ended, self.ended_at = True, self.world.now
        for act in self.at_end:
            act()


class World:
    """Time, processes, and what goes wrong."""

    LIMIT = 400_000  # turns

    def __init__(self, seed: int, odds: dict[str, float], only: Collection[int] | None = None) -> None:
        """Begin at time 0; ``only`` these strikes happen, by their numbers: that is how a failing seed is made small."""
        self.hub = greenlet.getcurrent()
        self.random = Random(seed)
        self.odds = odds
        self.only = only
        self.struck: list[str] = []
        self.calm = False
        self.now = 0.0
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.history: list[tuple[Any, ...]] = []
        self.points: Counter[str] = Counter()  # where processes died
        self.turns = 0
        self.broken: Violation | None = None
        self._queue: list[tuple[float, int, Process | None, Any]] = []
        self._serial = itertools.count()

    def push(self, when: float, process: Process) -> None:
        """Let a process go on at a time, unless it has gone on before."""
        heapq.heappush(self._queue, (when, next(self._serial), process, process.turn))

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something at a later time, in nobody's name."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._serial), None, act))

    def strikes(self, what: str) -> bool:
        """Tell whether this goes wrong here and now."""
        if self.calm or self.random.random() >= self.odds.get(what, 0.0):
            return False
        self.struck.append(what)
        if self.only is not None and len(self.struck) - 1 not in self.only:
            return False
        self.note("strike", what)
        return True

    def point(self, where: str) -> None:
        """Perhaps die here."""
        process = self.me()
        if self.strikes("kill"):
            self.points[where] += 1
            process.kill("killed")
        if not process.alive:
            raise Crash(process.name)

    def violate(self, what: str) -> None:
        """Note that something happened which must not; whatever catches the exception, the world ends."""
        self.broken = self.broken or Violation(what)
        raise self.broken

    def me(self) -> Process:
        """Give the process that runs."""
        if self.current is None:
            raise Violation("nobody runs")
        return self.current

    def note(self, *what: Any) -> None:
        """Add to the history."""
        self.history.append((round(self.now, 6), self.current.name if self.current else "-", *what))

    def close(self) -> None:
        """End whoever has not ended, so that nothing of this world reaches into the next."""
        self.calm = True
        for process in self.processes:
            while not process.ended:
                process.killed = True
                self.current = process
                process.go()
        self.current = None

    def run(self, done: Callable[[], bool]) -> None:
        """Let everybody go on until it is done."""
        while not done():
            if not self._queue:
                raise Violation("nobody has anything to do, and the run has not ended")
            when, _, process, ticket = heapq.heappop(self._queue)
            if process is None:
                self.now = max(self.now, when)
                ticket()
                continue
            if process.ended or ticket != process.turn:
                continue
            if process.frozen_until > when and not process.killed:
                self.push(process.frozen_until, process)
                continue
            self.now = max(self.now, when)
            self.turns += 1
            if self.turns > self.LIMIT:
                raise Violation("no end in sight")
            self.current = process
            process.go()
            self.current = None
            if self.broken is not None:
                raise self.broken
