"""What every display needs: a stream that can't hurt the leader, news kept until there is time to show them, and the pace."""

import logging
import sys
from collections import deque
from typing import Final

from jobsys.display.words import duration, last_line, many, pace
from jobsys.events import AttemptFailed, Event
from jobsys.leader.listener import Listener
from jobsys.status import RunStatus, exit_text

MOST_NEWS: Final = 20
"""Lines of failures and messages that are shown at a time; of the rest only the number."""
_LONGEST: Final = 300  # characters of a line of news
_WINDOW: Final = 30.0  # seconds over which the pace is measured
_STABLE: Final = 5.0  # seconds without new jobs, after which the total counts as known


class Stream:
    """Standard error; what can't be written there any more is dropped, for a run must not end because nobody looks on."""

    encoding = "utf-8"

    def __init__(self) -> None:
        """Write to what is standard error now."""
        self._stream = sys.stderr
        self.encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self.broken = False

    def write(self, text: str) -> int:
        """Write, unless it failed before."""
        if not self.broken:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self.broken = True
        return len(text)

    def flush(self) -> None:
        """Flush, unless it failed before."""
        if not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.broken = True

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return not self.broken and self._stream.isatty()

    def fileno(self) -> int:
        """Give the descriptor, from which the size of a terminal is read."""
        return self._stream.fileno()


class News:
    """One line of news."""

    __slots__ = ("level", "text")

    def __init__(self, text: str, level: int) -> None:
        """Keep a line and how serious it is."""
        self.text = text
        self.level = level


class Tally(Listener):
    """Keeps what happened until it is shown. Hearing of an event costs a comparison."""

    def __init__(self) -> None:
        """Begin before the first status."""
        self.status: RunStatus | None = None
        self.failed_attempts = 0
        self._news: list[AttemptFailed | News] = []
        self._names: dict[int, str] = {}
        self._omitted = 0
        self._done: deque[tuple[float, int]] = deque()
        self._total_since = (0, 0.0)

    def on_event(self, event: Event, name: str) -> None:
        """Keep failures; everything else is counted in the next status."""
        if type(event) is AttemptFailed:
            self.failed_attempts += 1
            if self._keep(event):
                self._names[event.job] = name
                self.hurry()

    def on_log(self, job: int, name: str, level: int, text: str) -> None:
        """Keep a message of a job."""
        if level >= logging.INFO and self._keep(News(f"{name} (job {job}): {_short(text)}", level)):
            self.hurry()

    def on_status(self, status: RunStatus) -> None:
        """Measure the pace."""
        self.status = status
        self._done.append((status.updated, status.counts.done))
        while len(self._done) > 2 and self._done[0][0] < status.updated - _WINDOW:
            self._done.popleft()
        if status.counts.total != self._total_since[0]:
            self._total_since = (status.counts.total, status.updated)

    def hurry(self) -> None:
        """There is news that should not wait for the next status."""

    def take_news(self) -> list[News]:
        """Take the lines that were not shown yet."""
        news = [_failure(item, self._names.get(item.job, "")) if isinstance(item, AttemptFailed) else item for item in self._news]
        if self._omitted:
            news.append(News(f"… and {self._omitted:,} more failed attempts and messages", logging.INFO))
        self._news, self._omitted = [], 0
        self._names.clear()
        return news

    @property
    def rate(self) -> float | None:
        """Jobs done a second, lately."""
        if len(self._done) < 2:
            return None
        (start, before), (end, after) = self._done[0], self._done[-1]
        return (after - before) / (end - start) if end - start >= 0.5 and after > before else None

    @property
    def left(self) -> float | None:
        """Seconds that are left, where the number of jobs has not grown for a while."""
        status, rate = self.status, self.rate
        if status is None or rate is None or status.updated - self._total_since[1] < _STABLE:
            return None
        return (status.counts.total - status.counts.done - status.counts.failed) / rate

    def summary(self) -> str:
        """Say how the run ended."""
        status = self.status
        if status is None:
            return "ended before it began"
        counts = status.counts
        seconds = max(0.0, status.updated - status.started)
        done = counts.done - status.done_before
        told = f"{status.state}: {counts.done:,} of {many(counts.total, 'job')} done"
        if status.done_before:
            told += f", {status.done_before:,} of them before this start"
        told += f", in {duration(seconds)}"
        if done > 1 and seconds >= 1:
            told += f" ({pace(done / seconds)})"
        if counts.failed:
            told += f"; {many(counts.failed, 'job')} failed"
        elif self.failed_attempts:
            told += f"; {many(self.failed_attempts, 'attempt')} failed and went well later"
        return told

    def _keep(self, item: AttemptFailed | News) -> bool:
        if len(self._news) < MOST_NEWS:
            self._news.append(item)
            return True
        self._omitted += 1
        return False


def _failure(failed: AttemptFailed, name: str) -> News:
    how = "failed" if failed.reason == "failed" else f"failed ({failed.reason})"
    where = f" on {failed.host}" if failed.host else ""
    status = f", {exit_text(failed.exit_status)}" if failed.exit_status is not None else ""
    why = last_line(failed.traceback) or last_line(failed.message)
    if failed.retry:
        then = "trying again" + (f" in {duration(failed.delay)}" if failed.delay >= 1 else "")
    else:
        then = "for good" + (f", after {failed.attempt} attempts" if failed.attempt > 1 else "")
    text = f"job {failed.job} ({name}) {how}{where}{status}{': ' if why else ''}{_short(why)}; {then}"
    return News(text, logging.WARNING if failed.retry else logging.ERROR)


def _short(text: str) -> str:
    text = text.rstrip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
