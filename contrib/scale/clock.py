"""The simulated time: it passes only where somebody waits, or where it is told to."""

from jobsys.clock import Clock

BEGIN = 1e9
"""Seconds since the epoch at which every simulation begins."""


class SimulatedClock(Clock):
    """Seconds that pass at no cost."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return BEGIN + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
