"""The time and the host as a simulated process sees them."""

from jobsys.clock import Clock
from jobsys.jobstores import Lease
from jobsys.leader.lease import Here
from simulation.system.world import Process, World  # type: ignore[import-not-found]


class SimulatedClock(Clock):
    """The clocks of the host on which the calling process runs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        return 1e9 + self._world.now + (self._world.current.host.offset if self._world.current else 0.0)

    def monotonic(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.me().pause(seconds)


class SimulatedHere(Here):
    """One process that wants to lead."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self.host, self.held = process.host.name, set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _others(self, pid: int) -> list[Process]:
        return [each for each in self._world.processes if each.host is self._process.host and each.pid == pid and each.alive]

    def started(self, pid: int) -> float:
        return next((each.began + 1.0 for each in self._others(pid)), 0.0)

    def owner(self) -> str:
        return f"{self._world.random.getrandbits(128):032x}"

    def lives(self, lease: Lease) -> bool:
        return bool(self._others(lease.pid)) and self.started(lease.pid) == lease.process_started
