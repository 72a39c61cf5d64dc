"""Show how a run is going: how many jobs are done, what runs where, what failed, and whether its leader lives.

Examples:
  jobsys status file:my-store
  jobsys status file:my-store --watch
  jobsys status file:my-store --jobs 'align*'
  jobsys status file:my-store --json | jq .counts
  jobsys status file:my-store --fail-if-unfinished && ./next-step

Exit status: 0 as long as the run is on its way or has its result; 1 if it failed, was stopped, or its leader died.
"""

import argparse
import sys
import time
from typing import Any, Final

from jobsys.cli.find import find_jobs
from jobsys.cli.output import print_json, view
from jobsys.cli.parser import add_jobs, add_json, add_locator
from jobsys.cli.standing import Standing, look
from jobsys.errors import UsageError
from jobsys.history import JobHistory, read_history
from jobsys.jobstores import JobStore, open_store
from jobsys.status import RunningStatus

EVERY: Final = 1.0
"""Seconds between two looks of ``--watch``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("--watch", action="store_true", help="show it again every second until the run ends, or Ctrl-C")
    add_jobs(parser)
    parser.add_argument("--jobs", dest="list", action="store_true", help="list all jobs with state and time; with JOB, only those")
    parser.add_argument("--fail-if-unfinished", action="store_true", help="exit with status 1 unless the run has its result")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show it."""
    listed = arguments.list or arguments.jobs
    if arguments.watch and listed:
        raise UsageError("--watch and --jobs can't be used together: --jobs reads the whole journal")
    store = open_store(arguments.locator)
    standing = look(store)
    if arguments.watch:
        standing = _watch(store, standing, arguments.json)
    elif listed:
        _list(store, standing, arguments.jobs, arguments.json)
    elif arguments.json:
        print_json(standing)
    else:
        view("status").show(standing)
    fine = standing.state == "done" if arguments.fail_if_unfinished else standing.fine
    return 0 if fine else 1


def _watch(store: JobStore, standing: Standing, as_json: bool) -> Standing:
    """Look again and again: as JSON, one object whenever something has changed."""
    if not as_json:
        latest: Standing = view("status").watch(standing, lambda: look(store), EVERY)
        return latest
    print_json(standing)
    while not standing.ended:
        sys.stdout.flush()
        time.sleep(EVERY)
        before, standing = standing, look(store)
        if (standing.state, standing.updated) != (before.state, before.updated):
            print_json(standing)
    return standing


def _list(store: JobStore, standing: Standing, wanted: list[str], as_json: bool) -> None:
    running = {job.job: job for job in standing.running}
    history = read_history(store)
    jobs = find_jobs(history, wanted) if wanted else [job for job in history.jobs.values() if not job.superseded]
    shown = [_line(job, running.get(job.number)) for job in jobs]
    if as_json:
        print_json(shown)
    else:
        view("jobs").show(shown)


def _line(job: JobHistory, running: RunningStatus | None) -> dict[str, Any]:
    last = job.attempts[-1] if job.attempts else None
    return {
        "job": job.number,
        "name": job.name,
        "state": "running" if running is not None else str(job.state),
        "attempts": len(job.attempts) + (running is not None),
        "failed_attempts": job.failures,
        "host": running.host if running is not None else last.host if last else "",
        "task": running.native if running is not None else "",
        "queue": running.queue if running is not None else "",
        "seconds": last.seconds if last else None,
        "memory": last.memory if last else None,
        "requirements": str(job.requirements),
    }
