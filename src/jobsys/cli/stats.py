"""Show where a run's time and memory went, function by function; works while the run goes on, too.

Examples:
  jobsys stats file:my-store
  jobsys stats file:my-store --sort memory
  jobsys stats file:my-store --json

TIME is that of all attempts; MEAN, MEDIAN, P95 and MAX are those of attempts that were committed. WAIT is how long, on
average, a job could have run and did not. EFFICIENCY compares the cores in use on average with those at the busiest moment.
"""

import argparse

from jobsys.cli.output import print_json, view
from jobsys.cli.parser import add_json, add_locator
from jobsys.cli.summary import SORTS, summarize
from jobsys.history import read_history
from jobsys.jobstores import open_store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("--sort", choices=tuple(SORTS), default="time", help="what comes first (default: time, in all)")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show it."""
    store = open_store(arguments.locator)
    summary = summarize(store.locator, read_history(store), arguments.sort)
    if arguments.json:
        print_json(summary)
    else:
        view("stats").show(summary)
    return 0
