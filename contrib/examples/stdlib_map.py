"""Map the Python standard library: measure every module in a job of its own, merge, and write tables and a plot.

python stdlib_map.py file:my-store --output my-map

The jobs, in the order in which they run:

    survey ─┬─ measure (one a module) ─── merge (16 at a time, again and again) ─┬─ tabulate ─┐
            │                                                                    └─ plot ─────┤
            └───────────────────────────── Publish, a follow-on ◀─────────────────────────────┘
"""

import functools
import importlib.util
import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stdlib_report  # modules beside the script travel with it to wherever its jobs run
import stdlib_source
from stdlib_source import Figures, Source

import jobsys

FAN_IN = 16


def noted(function: Callable) -> Callable:
    """Have a job write one line when it starts, where STDLIB_MAP_STARTS says so. The demo counts these: it trusts no journal."""

    @functools.wraps(function)
    def note_and_call(*args, **kwargs):
        if path := os.environ.get("STDLIB_MAP_STARTS"):
            context = jobsys.current()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(descriptor, f"{context.job_id} {context.attempt} {context.name}\n".encode())
            os.close(descriptor)
        return function(*args, **kwargs)

    return note_and_call


@jobsys.job(memory="200M")
@noted
def survey(output: str, limit: int | None) -> None:
    """Find the modules, and say what is to be done with them: every call of a job below makes a job of its own."""
    sources = stdlib_source.find_sources()[:limit]
    jobsys.current().log(f"{len(sources)} modules to measure")

    # With the functions alone: a call gives a promise, and whoever gets the promise waits for the value.
    level = [measure(source) for source in sources]
    while len(level) > 1:
        level = [merge(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
    files = [tabulate(level[0]), plot(level[0])]

    # With the graph: a follow-on starts when all of the above is done.
    jobsys.current().job.add_follow_on(Publish(files, output))


@jobsys.job(memory="100M")
@noted
def measure(source: Source) -> dict[str, Figures]:
    """Measure one module."""
    figures = stdlib_source.measure(source)
    if figures.problem:
        jobsys.current().log(f"{source.name} is not valid for this version of Python", logging.WARNING)
    return {figures.name: figures}


@jobsys.job(memory="100M")
@noted
def merge(parts: list[dict[str, Figures]]) -> dict[str, Figures]:
    """Join what was measured; the list holds promises where it is made, and values here."""
    return {name: figures for part in parts for name, figures in part.items()}


@jobsys.job(memory="200M")
@noted
def tabulate(modules: dict[str, Figures]) -> list[jobsys.FileId]:
    """Write the tables as global files: they are kept in the job store, and any job that is given their ids can read them."""
    context = jobsys.current()
    cycles = stdlib_report.find_cycles(stdlib_report.resolve(modules))
    stdlib_report.write_csv(context.temp_dir / "modules.csv", modules, cycles)
    (context.temp_dir / "summary.txt").write_text(stdlib_report.summary(modules, cycles))
    return [context.write_file(context.temp_dir / name) for name in ("modules.csv", "summary.txt")]


@jobsys.job(memory="300M")
@noted
def plot(modules: dict[str, Figures]) -> list[jobsys.FileId]:
    """Draw the plot; only this job imports matplotlib."""
    context = jobsys.current()
    stdlib_report.draw(context.temp_dir / "stdlib.png", modules)
    return [context.write_file(context.temp_dir / "stdlib.png")]


class Publish(jobsys.Job):
    """Copy the finished files to where the user wants them. A job may also be a class; promises in its attributes become values."""

    def __init__(self, files: list[Any], output: str) -> None:
        super().__init__(memory="200M")
        self.files = files  # promises here; in run, the lists of ids
        self.output = output

    @noted
    def run(self, context: jobsys.Context) -> None:
        for file in itertools.chain.from_iterable(self.files):
            context.export_file(file, os.path.join(self.output, file.name))
            context.log(f"wrote {os.path.join(self.output, file.name)} ({file.size:,} bytes)")


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--output", default="stdlib-map", help="directory for the tables and the plot (default: stdlib-map)")
    parser.add_argument("--limit", type=int, metavar="N", help="measure only the first N modules")
    args = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("the plot needs matplotlib: pip install matplotlib")
    output = Path(args.output).absolute()  # a job runs in another directory than the script
    output.mkdir(parents=True, exist_ok=True)
    jobsys.run(survey(str(output), args.limit), args)
    print((output / "summary.txt").read_text())
