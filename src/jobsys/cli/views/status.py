"""The status of a run, for people."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.text import Text

from jobsys.cli.standing import LeaderStanding, Standing
from jobsys.cli.views.console import STYLES, make_console, make_table
from jobsys.display.words import duration, last_line, many, pace
from jobsys.requirements import format_bytes
from jobsys.status import FailureStatus, exit_text

MOST_RUNNING: Final = 20
MOST_FAILURES: Final = 10
_CELLS: Final = {"done": "━", "failed": "╳", "running": "╍", "": "─"}


def show(standing: Standing) -> None:
    """Print a status once."""
    make_console().print(_whole(standing, MOST_RUNNING))


def watch(standing: Standing, look: Callable[[], Standing], every: float) -> Standing:
    """Show a status again and again until the run ends; on what is no terminal, one after the other."""
    console = make_console()
    if not console.is_terminal:
        console.print(_line(standing))
        while not standing.ended:
            time.sleep(every)
            before, standing = standing, look()
            if (standing.counts, standing.state) != (before.counts, before.state):
                console.print(_line(standing))
        return standing
    with Live(_fitting(standing, console), console=console, auto_refresh=False) as live:
        while not standing.ended:
            time.sleep(every)
            standing = look()
            live.update(_fitting(standing, console), refresh=True)
        live.update(_whole(standing, MOST_RUNNING), refresh=True)
    return standing


def _fitting(standing: Standing, console: Console) -> RenderableType:
    """Leave out running jobs that would not fit on the screen."""
    return _whole(standing, max(3, min(MOST_RUNNING, console.size.height - 14)))


def _line(standing: Standing) -> str:
    counts = standing.counts
    return (
        f"{time.strftime('%H:%M:%S')} {standing.state}: {counts.done:,} of {counts.total:,} done, "
        f"{standing.running_count:,} running, {counts.failed:,} failed"
    )


def _whole(standing: Standing, most_running: int) -> Group:
    head = Text.assemble(standing.locator, "  ", (standing.state.upper(), STYLES.get(standing.state, "")))
    parts: list[RenderableType] = [head, _Bar(standing), _counts(standing), *_leader(standing), *_advice(standing)]
    if standing.running:
        parts += ["", _running(standing, most_running)]
    if standing.failures:
        parts += ["", *_failures(standing)]
    return Group(*parts)


class _Bar:
    """As wide as the console: done, failed, running, the rest."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        counts = self._standing.counts
        share = f" {100 * counts.done // counts.total if counts.total else 0:3d} %"
        width = max(10, min(options.max_width, 80) - len(share))
        bar, left = Text(), width
        for state, count in (("done", counts.done), ("failed", counts.failed), ("running", self._standing.running_count)):
            cells = min(left, max(1, width * count // counts.total)) if count and counts.total else 0
            bar.append(_CELLS[state] * cells, style=STYLES[state])
            left -= cells
        bar.append(_CELLS[""] * left, style="bright_black")
        yield bar.append(share)


def _counts(standing: Standing) -> Text:
    counts = standing.counts
    ready = max(0, counts.ready - standing.running_count)
    text = Text(f"{counts.done:,} of {many(counts.total, 'job')} done")
    for state, count in (("running", standing.running_count), ("ready", ready), ("waiting", counts.waiting), ("failed", counts.failed)):
        if count:
            text.append(" · ").append(f"{count:,} {state}", style=STYLES[state])
    return text


def _leader(standing: Standing) -> Iterator[Text]:
    leader = standing.leader
    if leader is None:
        yield Text("no leader has begun this run")
        return
    who = f"leader: process {leader.pid} on {leader.host}"
    if leader.epoch > 1:
        who += f", start number {leader.epoch}"
    if standing.ended:
        yield Text(f"{who}, {_end(leader)}", style="" if leader.left else "yellow")
        return
    age = f", last sign of life {duration(leader.heartbeat_age)} ago" if leader.heartbeat_age is not None else ""
    yield Text(f"{who}, at work for {duration(max(0.0, time.time() - leader.started))}{age}")
    yield from _pace(standing, leader)


def _end(leader: LeaderStanding) -> str:
    ago = f"{duration(leader.heartbeat_age)} ago" if leader.heartbeat_age is not None else "at once"
    if leader.left:
        return f"left {ago}"
    if leader.alive is None:
        return f"gave its last sign of life {ago} by this host's clock: it may have died"
    return f"died without a word; its last sign of life was {ago}"


def _pace(standing: Standing, leader: LeaderStanding) -> Iterator[Text]:
    done = standing.counts.done - standing.done_before
    seconds = standing.updated - leader.started
    if done < 1 or seconds < 1:
        return
    rate = done / seconds
    left = (standing.counts.total - standing.counts.done - standing.counts.failed) / rate
    yield Text(f"{pace(rate)}, about {duration(left)} left for the jobs known so far")


def _advice(standing: Standing) -> Iterator[Text]:
    if standing.source == "journal" and standing.ended:
        yield Text("(counted anew from the journal, since no leader is at work)", style="dim")
    if standing.state in ("failed", "canceled", "interrupted"):
        yield Text(f"resume it with: jobsys restart {standing.locator}")


def _running(standing: Standing, most: int) -> RenderableType:
    table = make_table("JOB", "RUNNING", "ATTEMPT", "FOR", "MEMORY", "HOST", right=("JOB", "ATTEMPT", "FOR", "MEMORY"))
    now = time.time()
    # those that have run longest first: it is they that may hang
    for job in sorted(standing.running, key=lambda job: job.since)[:most]:
        table.add_row(
            str(job.job),
            job.name + (" (service)" if job.service else ""),
            str(job.attempt),
            duration(max(0.0, now - job.since)),
            "" if job.memory is None else format_bytes(job.memory),
            job.host,
        )
    more = standing.running_count - min(most, len(standing.running))
    return Group(table, Text(f"… and {more:,} more", style="dim")) if more > 0 else table


def _failures(standing: Standing) -> Iterator[RenderableType]:
    for failure in standing.failures[:MOST_FAILURES]:
        yield Text.assemble((f"job {failure.job} ({failure.name}) failed", STYLES["failed"]), _how(failure))
        why = last_line(failure.traceback) or last_line(failure.message) or last_line(failure.log)
        if why:
            yield Text(f"  {why}")
    more = standing.counts.failed - min(MOST_FAILURES, len(standing.failures))
    if more > 0:
        yield Text(f"… and {more:,} more", style="dim")
    first = standing.failures[0].job
    which = str(first) if standing.counts.failed == 1 else "--failed"
    yield Text(f"what they printed: jobsys logs {standing.locator} {which}")


def _how(failure: FailureStatus) -> str:
    parts = [] if failure.reason == "failed" else [failure.reason]
    if failure.host:
        parts.append(f"on {failure.host}")
    if failure.exit_status is not None:
        parts.append(exit_text(failure.exit_status))
    parts.append(f"after {many(failure.attempts, 'attempt')}")
    return f": {', '.join(parts)}"
