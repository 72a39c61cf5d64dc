"""Whose processor time it was: the leader's, by what it did, or the simulation's, which is not charged to it."""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIMULATION = "simulation"
LEADER = ("order", "take", "make", "lost", "journal", "act", "storage", "status", "snapshot", "collector", "rest")
"""What a leader does: give orders, take reports in (of jobs that make none; that make some; of attempts that were lost), write the journal,
act on it, wait for the storage, show a status, take a snapshot, collect garbage, all else."""


class Watch:
    """Adds up processor time (user and system) and wall time by kind; what is entered within another is not counted for that."""

    def __init__(self) -> None:
        self.cpu: Counter[str] = Counter()  # nanoseconds, as are the next
        self.wall: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self._kinds = ["rest"]
        self._since = (time.process_time_ns(), time.perf_counter_ns())

    def enter(self, kind: str) -> None:
        self._turn()
        self._kinds.append(kind)
        self.times[kind] += 1

    def leave(self) -> None:
        self._turn()
        self._kinds.pop()

    def inside(self, kind: str) -> bool:
        """Tell whether this is what goes on now."""
        return self._kinds[-1] == kind

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        self.enter(kind)
        try:
            yield
        finally:
            self.leave()

    def _turn(self) -> None:
        now = (time.process_time_ns(), time.perf_counter_ns())
        kind = self._kinds[-1]
        self.cpu[kind] += now[0] - self._since[0]
        self.wall[kind] += now[1] - self._since[1]
        self._since = now

    def leader(self) -> float:
        """Give the seconds of processor time that the leader has taken so far."""
        self._turn()
        return sum(self.cpu[kind] for kind in LEADER) / 1e9

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Count what the garbage collector takes as a kind of its own, where it was the leader that set it off."""

        def hear(phase: str, _: dict[str, int]) -> None:
            if phase == "start":
                self.enter("collector" if self._kinds[-1] in LEADER else self._kinds[-1])
            else:
                self.leave()

        gc.callbacks.append(hear)
        try:
            yield
        finally:
            gc.callbacks.remove(hear)


def resident() -> int:
    """Give the bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak() -> int:
    """Give the most bytes of this process that were ever in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
