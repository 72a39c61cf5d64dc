"""Lines with a time stamp, for log files and pipes."""

import time
from typing import Final

from jobsys.display.tally import Stream, Tally
from jobsys.display.words import duration, many, pace
from jobsys.harmless import harmless
from jobsys.status import RunStatus

FIRST_AFTER: Final = 10.0
"""Seconds until the first line that tells how it is going; each further one comes later than the one before."""
GROWTH: Final = 1.3
LAST_AFTER: Final = 300.0


class PlainDisplay(Tally):
    """Writes a line at the start, at the end, at failures, and from time to time if something has changed."""

    def __init__(self) -> None:
        """Begin before the first status."""
        super().__init__()
        self._stream = Stream()
        self._every = FIRST_AFTER
        self._next = 0.0
        self._told: tuple[int, ...] = ()

    def on_status(self, status: RunStatus) -> None:
        """Tell how it is going, if it is time to."""
        super().on_status(status)
        self.hurry()
        counts = status.counts
        if not self._next:
            before = f", {status.done_before:,} of them done before" if status.done_before else ""
            self._say(f"running {many(counts.total, 'job')}{before}")
            self._next = status.updated + self._every
        elif status.updated >= self._next and status.state == "running":
            now = (counts.total, counts.done, counts.failed)
            if now != self._told:
                self._say(self._line(status))
                self._told = now
            self._every = min(self._every * GROWTH, LAST_AFTER)
            self._next = status.updated + self._every

    def hurry(self) -> None:
        """Show news at once: a line in a file disturbs nobody."""
        for news in self.take_news():
            self._say(news.text)

    def close(self) -> None:
        """Tell how it ended."""
        self.hurry()
        self._say(self.summary())
        self._stream.flush()

    def _line(self, status: RunStatus) -> str:
        counts = status.counts
        parts = [f"{counts.done:,} of {many(counts.total, 'job')} done ({100 * counts.done // max(1, counts.total)} %)"]
        if status.running_count:
            parts.append(f"{status.running_count:,} running")
        if counts.failed:
            parts.append(f"{counts.failed:,} failed")
        if (rate := self.rate) is not None:
            parts.append(pace(rate))
        if (left := self.left) is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _say(self, text: str) -> None:
        self._stream.write(f"{time.strftime('%H:%M:%S')} jobsys: {harmless(text)}\n")
        self._stream.flush()
