"""The statistics of a run, for people."""

from collections.abc import Iterator

from rich.text import Text

from jobsys.cli.summary import FunctionStats, Summary
from jobsys.cli.views.console import make_console, make_table
from jobsys.display.words import duration, many, number
from jobsys.requirements import format_bytes

_COLUMNS = ("FUNCTION", "JOBS", "FAILED", "TIME", "MEAN", "MEDIAN", "P95", "MAX", "CPU", "MEMORY", "ASKED", "WAIT")


def show(summary: Summary) -> None:
    """Print them."""
    console = make_console()
    table = make_table(*_COLUMNS, right=_COLUMNS[1:])
    for function in summary.functions:
        table.add_row(*_row(function))
    console.print(table)
    console.print()
    for line in _totals(summary):
        console.print(line, soft_wrap=True)
    hints = [function for function in summary.functions if function.hint]
    if hints:
        console.print()
    for function in hints:
        console.print(Text.assemble((function.name, "bold"), f": {function.hint}"), soft_wrap=True)


def _row(function: FunctionStats) -> Iterator[Text | str]:
    ran = function.attempts > function.failed_attempts
    yield function.name
    yield f"{function.jobs:,}" if function.done == function.jobs else f"{function.done:,}/{function.jobs:,}"
    yield Text(f"{function.failed_attempts:,}" if function.failed_attempts else "", style="red")
    yield duration(function.seconds)
    for value in (function.mean, function.median, function.p95, function.max):
        yield duration(value) if ran else ""
    yield "" if function.cpu_share is None else f"{100 * function.cpu_share:.0f} %"
    yield "" if function.memory_max is None else format_bytes(function.memory_max)
    yield "" if function.memory_asked is None else format_bytes(function.memory_asked)
    yield duration(function.wait_mean) if function.attempts else ""


def _totals(summary: Summary) -> Iterator[str]:
    failed = f", {summary.failed:,} failed for good" if summary.failed else ""
    tries = f"{many(summary.attempts, 'attempt')}, {summary.failed_attempts:,} of them failed"
    yield f"{summary.done:,} of {many(summary.jobs, 'job')} done{failed}; {tries}"
    starts = f" by {summary.leaders} leaders, one after the other" if summary.leaders > 1 else ""
    yield f"elapsed {duration(summary.elapsed)}{starts}; jobs took {duration(summary.seconds)}, {duration(summary.cpu)} of CPU"
    if summary.wasted:
        yield f"{duration(summary.wasted)} of it went into attempts that failed"
    if summary.efficiency is not None:
        yield (
            f"cores in use: {number(summary.cores_mean)} on average, {number(summary.cores_peak)} at the busiest moment; "
            f"parallel efficiency {100 * summary.efficiency:.0f} %"
        )
    if len(summary.hosts) > 1:
        shown = sorted(summary.hosts.items(), key=lambda item: -item[1])
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        yield f"hosts: {', '.join(f'{host} ({count:,})' for host, count in shown[:8])}{more}"
