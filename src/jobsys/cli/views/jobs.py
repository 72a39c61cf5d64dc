"""A list of jobs, for people."""

from collections.abc import Sequence
from typing import Any

from jobsys.cli.views.console import make_console, make_table, state_text
from jobsys.display.words import duration, many
from jobsys.requirements import format_bytes


def show(jobs: Sequence[dict[str, Any]]) -> None:
    """Print one line for each job."""
    table = make_table("JOB", "NAME", "STATE", "ATTEMPTS", "TIME", "MEMORY", "HOST", right=("JOB", "ATTEMPTS", "TIME", "MEMORY"))
    for job in jobs:
        table.add_row(
            str(job["job"]),
            job["name"],
            state_text(job["state"]),
            str(job["attempts"]),
            "" if job["seconds"] is None else duration(job["seconds"]),
            "" if job["memory"] is None else format_bytes(job["memory"]),
            f"{job['host']} (task {job['task']}{' in ' + job['queue'] if job['queue'] else ''})" if job["task"] else job["host"],
        )
    console = make_console()
    console.print(table if jobs else "no job has been made yet")
    if jobs:
        console.print(many(len(jobs), "job"), style="dim")
