"""The clerk of a leader as a thread of a simulated process."""

from collections import deque
from collections.abc import Callable
from typing import Any

from jobsys.batch.cluster.clerk import Clerk
from simulation.system.world import Process, World  # type: ignore[import-not-found]


class SimulatedClerk(Clerk[Any]):
    """Works for the process that makes it, and dies with that."""

    def __init__(self, world: World) -> None:
        self._world, self._leader = world, world.me()
        self._tray: deque[Any] = deque()
        self._given: deque[Callable[[], None] | None] = deque()
        self._process: Process | None = None
        self._in_a_hurry = False

    def give(self, work: Callable[[], None]) -> None:
        if self._process is None:
            leader = self._leader
            self._process = Process(self._world, f"clerk of {leader.name}", leader.host, self._serve, leader)
            self._process.at_end.append(leader.wake)
        self._given.append(work)
        self._process.wake()

    def hear(self, seconds: float = 0.0) -> Any:
        self._leader.wait(lambda: bool(self._tray), max(0.0, seconds))
        return self._tray.popleft() if self._tray else None

    def hurry(self) -> None:
        self._in_a_hurry = True
        if self._process is not None:
            self._process.wake()

    @property
    def hurried(self) -> bool:
        return self._in_a_hurry

    def close(self, seconds: float) -> bool:
        self.hurry()
        process = self._process
        self._given.append(None)
        self._leader.troubled(seconds)  # who waits for tasks to end gives no sign of life
        return process is None or self._leader.wait(lambda: process.ended, seconds)

    def answer(self, answer: Any) -> None:
        self._tray.append(answer)
        self._leader.wake()

    def rest(self, seconds: float) -> None:
        self._world.me().wait(lambda: self._in_a_hurry, seconds)

    def _serve(self) -> None:
        while True:
            self._world.me().wait(lambda: bool(self._given), None)
            work = self._given.popleft()
            if work is None:
                return
            work()
