"""Show what jobs printed in each attempt, and why attempts failed, with traceback.

Examples:
  jobsys logs file:my-store --failed           every job that failed for good
  jobsys logs file:my-store 17                 one job, by its number
  jobsys logs file:my-store 'align*'           all jobs whose name matches
  jobsys logs file:my-store 17 --attempt 1     its first attempt only

Without JOB and --failed: every job that printed something or failed an attempt.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from jobsys.cli.find import find_jobs
from jobsys.cli.output import print_json
from jobsys.cli.parser import add_jobs, add_json, add_locator
from jobsys.cli.standing import look
from jobsys.display.words import duration, many, moment
from jobsys.errors import JobStoreError
from jobsys.harmless import for_stream
from jobsys.history import DONE, Attempt, History, JobHistory, read_history, read_log
from jobsys.jobstores import JobStore, open_store
from jobsys.progress import State
from jobsys.requirements import format_bytes
from jobsys.status import RunningStatus, exit_text


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    add_jobs(parser)
    parser.add_argument("--failed", action="store_true", help="only jobs that failed for good")
    parser.add_argument("--attempt", metavar="N", type=int, help="only the N-th attempt; -1 is the last one")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show them."""
    store = open_store(arguments.locator)
    history = read_history(store)
    jobs = _chosen(history, arguments.jobs, arguments.failed)
    running = {job.job: job for job in look(store).running}
    shown = [(job, _attempts(job, arguments.attempt), running.get(job.number)) for job in jobs]
    if arguments.attempt is not None:
        _check_attempt(shown, arguments.attempt)
    if arguments.json:
        print_json([_as_dict(store, *found) for found in shown])
        return 0
    for number, found in enumerate(shown):
        if number and found[1]:
            sys.stdout.write("\n")
        for piece in _tell(store, *found):
            sys.stdout.write(for_stream(piece, sys.stdout))
    if not shown:
        print("no job failed" if arguments.failed else "no job printed anything, and no attempt failed", file=sys.stderr)
    return 0


def _chosen(history: History, wanted: list[str], failed: bool) -> list[JobHistory]:
    if wanted:
        jobs = find_jobs(history, wanted)
    else:
        jobs = [job for job in history.jobs.values() if failed or any(try_.log or try_.outcome != DONE for try_ in job.attempts)]
    return [job for job in jobs if job.state is State.FAILED] if failed else jobs


def _attempts(job: JobHistory, number: int | None) -> list[Attempt]:
    if number is None:
        return job.attempts
    wanted = len(job.attempts) + 1 + number if number < 0 else number
    return [attempt for attempt in job.attempts if attempt.number == wanted]


def _check_attempt(shown: list[tuple[JobHistory, list[Attempt], RunningStatus | None]], number: int) -> None:
    if shown and not any(attempts for _, attempts, _ in shown):
        most = max(len(job.attempts) for job, _, _ in shown)
        there = f"there {'was' if most == 1 else 'were'} {many(most, 'attempt')}" if most else "none has ended yet"
        raise JobStoreError(f"there is no attempt {number} of {_title(shown[0][0]) if len(shown) == 1 else 'these jobs'}: {there}")


def _title(job: JobHistory) -> str:
    return f"job {job.number} ({job.name})"


def _tell(store: JobStore, job: JobHistory, attempts: list[Attempt], running: RunningStatus | None) -> Iterator[str]:
    for attempt in attempts:
        yield f"==> {_title(job)}, attempt {attempt.number}: {_outcome(attempt)}\n"
        log = read_log(store, attempt)
        if log:
            yield log if log.endswith("\n") else log + "\n"
        yield from _reason(attempt)
    if running is not None:
        where = f"on {running.place}" + (f" (process {running.pid})" if running.pid else "")
        since = duration(max(0.0, time.time() - running.since))
        number = len(job.attempts) + 1  # a leader numbers from 1 again
        yield f"==> {_title(job)}, attempt {number}: running {where} for {since}; what it prints is kept when it ends\n"
    elif not job.attempts:
        yield f"==> {_title(job)}: {_why_nothing(job)}\n"


def _why_nothing(job: JobHistory) -> str:
    if job.knot:
        return "runs no code, so there is no log"
    return {State.READY: "has not started yet", State.UP: "is a service that runs"}.get(job.state, "waits for other jobs")


def _outcome(attempt: Attempt) -> str:
    parts = [f"on {attempt.host}"] if attempt.host else []
    parts.append(f"ended {moment(attempt.ended)}")
    if attempt.seconds:
        parts.append(f"took {duration(attempt.seconds)}")
    if attempt.memory is not None:
        parts.append(f"used {format_bytes(attempt.memory)}")
    if attempt.exit_status is not None:
        parts.append(exit_text(attempt.exit_status))
    result = attempt.outcome if attempt.outcome in (DONE, "failed") else f"failed ({attempt.outcome})"
    return f"{result}, {', '.join(parts)}" + (", was tried again" if attempt.retry else "")


def _reason(attempt: Attempt) -> Iterator[str]:
    if attempt.traceback:
        yield attempt.traceback.rstrip("\n") + "\n"
    if attempt.message and attempt.message.strip() not in attempt.traceback:
        yield attempt.message.rstrip("\n") + "\n"


def _as_dict(store: JobStore, job: JobHistory, attempts: list[Attempt], running: RunningStatus | None) -> dict[str, Any]:
    told = [
        {**msgspec.to_builtins(attempt), "started": attempt.started, "waited": attempt.waited, "log": read_log(store, attempt) or ""}
        for attempt in attempts
    ]
    return {"job": job.number, "name": job.name, "state": str(job.state), "attempts": told, "running": running}
