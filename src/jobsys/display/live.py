"""A display that is drawn anew about once a second at the foot of a terminal; news scroll by above it. Needs rich.

It has no thread of its own: the leader must stay a process that can be forked, and is never interrupted.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import IO, Final, cast

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from jobsys.display.console import HarmlessConsole
from jobsys.display.tally import News, Stream, Tally
from jobsys.display.words import duration, pace
from jobsys.status import RunStatus

_LEAST_BETWEEN: Final = 0.2  # seconds between two drawings
_STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "red"}
_SHOWN_NAMES: Final = 4


class LiveDisplay(Tally):
    """Draws a bar with counts, pace and what runs."""

    def __init__(self) -> None:
        """Begin before the first status; draw nothing yet."""
        super().__init__()
        self._stream = Stream()
        # a record of bytes written is all that rich needs of a file
        self._console = HarmlessConsole(file=cast("IO[str]", self._stream), force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._drawn = 0.0
        self._handler = _AboveTheBar(self)

    def on_status(self, status: RunStatus) -> None:
        """Draw anew."""
        super().on_status(status)
        if not self._live.is_started:
            self._live.start()
            # a leader may be killed at any moment, and would leave a terminal without a cursor
            self._console.show_cursor(True)
            self._handler.install()
        self._draw()

    def hurry(self) -> None:
        """Show news at once, unless something was drawn a moment ago."""
        if self._live.is_started and time.monotonic() - self._drawn >= _LEAST_BETWEEN:
            self._draw()

    def close(self) -> None:
        """Take the bar away and leave one line in its place."""
        self._handler.remove()
        self._print_news()
        if self._live.is_started:
            self._live.stop()
        state = self.status.state if self.status is not None else ""
        style = {"done": "green", "failed": "red", "canceled": "yellow"}.get(state, "")
        self._console.print(Text(f"jobsys: {self.summary()}", style=style), soft_wrap=True)

    def show(self, news: News) -> None:
        """Show a line above the bar."""
        self._console.print(Text(news.text, style=_STYLES.get(min(news.level, logging.ERROR), "")), soft_wrap=True)

    def _print_news(self) -> None:
        for news in self.take_news():
            self.show(news)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._print_news()
        if self.status is not None:
            self._live.update(_Picture(self, self.status), refresh=True)


class _Picture:
    """Two lines, as wide as the terminal at the moment of drawing."""

    def __init__(self, tally: Tally, status: RunStatus) -> None:
        self._tally = tally
        self._status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        numbers = self._numbers()
        width = min(40, options.max_width - len(numbers) - 2)
        first = self._bar(width).append(" ") if width >= 8 else Text()
        first.append(numbers)
        second = self._what_runs()
        for line in (first, second):
            line.truncate(options.max_width, overflow="ellipsis")
            line.no_wrap = True
            yield line

    def _bar(self, width: int) -> Text:
        counts = self._status.counts
        cells = {"done": counts.done, "failed": counts.failed}
        bar, left = Text(), width
        for state, style in (("done", "green"), ("failed", "red")):
            share = width * cells[state] // counts.total if counts.total else 0
            share = min(left, max(share, 1 if cells[state] else 0))
            bar.append("━" * share, style=style)
            left -= share
        return bar.append("━" * left, style="bright_black")

    def _numbers(self) -> str:
        status = self._status
        counts = status.counts
        parts = [f"{counts.done:,}/{counts.total:,}", f"{100 * counts.done // max(1, counts.total)} %"]
        if (rate := self._tally.rate) is not None:
            parts.append(pace(rate))
        parts.append(duration(max(0.0, status.updated - status.started)))
        if (left := self._tally.left) is not None and left > 0:
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)

    def _what_runs(self) -> Text:
        status = self._status
        counts = status.counts
        names = Counter(job.name for job in status.running)
        shown = [f"{name} ×{count:,}" if count > 1 else name for name, count in names.most_common(_SHOWN_NAMES)]
        text = Text(f"{status.running_count:,} running", style="cyan")
        if counts.failed:
            text.append(f" · {counts.failed:,} failed", style="red")
        ready = counts.ready - status.running_count
        for count, state in ((ready, "ready"), (counts.waiting, "waiting")):
            if count > 0:
                text.append(f" · {count:,} {state}", style="default")
        if shown:
            text.append(f": {', '.join(shown)}{', …' if len(names) > len(shown) else ''}", style="default")
        return text


class _AboveTheBar(logging.Handler):
    """Shows jobsys' own warnings above the bar, where nobody has said where logs go."""

    def __init__(self, display: LiveDisplay) -> None:
        super().__init__()
        self._display = display
        self._logger = logging.getLogger("jobsys")

    def install(self) -> None:
        """Begin, unless logs are taken care of."""
        if not self._logger.hasHandlers():
            self._logger.addHandler(self)

    def remove(self) -> None:
        """End."""
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._display.show(News(f"{record.levelname.lower()}: {record.getMessage()}", record.levelno))
