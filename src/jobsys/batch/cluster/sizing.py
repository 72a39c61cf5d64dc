"""How many jobs a task gets: pure figures, learnt from how long jobs of the same name and requirements ran."""

from typing import Final

from jobsys.requirements import Requirements

UNKNOWN: Final = 50
"""Jobs of a task of whose run times nothing is known: it gives back what turns out too much."""
MOST: Final = 2000
"""Jobs of a task, however short they are."""
WORTH: Final = 4.0
"""Seconds of work that pay for a task's start: so much stays together even where more tasks could share it."""
SPREAD: Final = 20
"""Tasks among which work is shared out rather than filling each: a cluster is there to do things at the same time."""
_GAIN: Final = 0.2
_NAMES: Final = 10_000


class Times:
    """Mean run times in seconds, by name and requirements."""

    def __init__(self) -> None:
        """Know nothing."""
        self._seconds: dict[tuple[str, Requirements], float] = {}
        self._guessed: set[tuple[str, Requirements]] = set()

    def learn(self, name: str, requirements: Requirements, seconds: float) -> None:
        """Take note of how long a job ran."""
        key = (name, requirements)
        known = self._seconds.get(key)
        if known is not None and key not in self._guessed:
            self._seconds[key] = known + _GAIN * (seconds - known)
        elif known is not None or len(self._seconds) < _NAMES:
            self._seconds[key] = seconds
            self._guessed.discard(key)

    def guess(self, name: str, requirements: Requirements, seconds: float) -> None:
        """Take note that such a job seems to run so long, until the first has ended; what is known already counts more."""
        key = (name, requirements)
        if key not in self._seconds and len(self._seconds) < _NAMES:
            self._seconds[key] = seconds
            self._guessed.add(key)

    def expected(self, name: str, requirements: Requirements) -> float | None:
        """Tell how long a job will probably run; None if none like it has."""
        return self._seconds.get((name, requirements))


def jobs_a_task(jobs: int, expected: float | None, task_seconds: float) -> int:
    """Tell how many of so many ready jobs go into one task.

    Args:
        jobs: that are ready, at least 1.
        expected: seconds that one runs, None if nobody knows.
        task_seconds: that a task should run; 0 gives each job a task of its own.
    """
    if task_seconds <= 0:
        return 1
    if expected is None:
        return min(UNKNOWN, jobs)
    fill = task_seconds / max(expected, 1e-6)
    share = max(WORTH / max(expected, 1e-6), jobs / SPREAD)
    return max(1, min(MOST, jobs, int(min(fill, share) + 0.5)))


def kept(elapsed: float, finished: int, running: float, waiting: int, task_seconds: float) -> int:
    """Tell how many of the jobs that wait in a task stay there.

    Args:
        elapsed: seconds since its first job began.
        finished: jobs of the task.
        running: seconds for which the one that runs has run.
        waiting: jobs that were not begun.
        task_seconds: that a task should run.
    """
    if finished == 0:
        return waiting if running < PROBE else 0
    each = max(running, (elapsed - running) / finished)
    return max(0, min(waiting, int(max(0.0, task_seconds - elapsed) / max(each, 1e-6))))


PROBE: Final = 2.0
"""Seconds after which a first job that still runs is no short one."""
