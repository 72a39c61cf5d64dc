"""Ends of jobs that may be the scheduler's doing: it can signal all processes of a task, and a job dies of that before the task knows."""

from collections.abc import Iterable
from typing import Final

from jobsys.batch.base import BatchState, BatchUpdate, Reason

SECONDS: Final = {Reason.KILLED: 3.0, Reason.LOST: 3.0, Reason.FAILED: 1.0}
"""For which it is open whether the task is being ended, too: on a host that is overloaded one process is signaled long before the next."""


class Doubts:
    """News that is held back until it is clear whose doing it tells of. Knows no time of its own."""

    def __init__(self) -> None:
        """Hold none."""
        self._held: list[tuple[float, BatchUpdate]] = []

    def __bool__(self) -> bool:
        """Tell whether any is held."""
        return bool(self._held)

    @property
    def due(self) -> float | None:
        """Tell when the first can be told."""
        return min((due for due, _ in self._held), default=None)

    def sift(self, news: Iterable[BatchUpdate], now: float) -> list[BatchUpdate]:
        """Give the news that is beyond doubt, and hold the rest."""
        certain = []
        for update in news:
            if update.state is BatchState.ENDED and update.reason in SECONDS:
                self._held.append((now + SECONDS[update.reason], update))
            else:
                certain.append(update)
        return certain

    def cleared(self, now: float) -> list[BatchUpdate]:
        """Give what has been held for long enough."""
        told = [update for due, update in self._held if due <= now]
        self._held = [(due, update) for due, update in self._held if due > now]
        return told
