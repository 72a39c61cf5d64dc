"""Which jobs a person means."""

import importlib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from jobsys.errors import JobStoreError
from jobsys.history import History, JobHistory


def find_jobs(history: History, wanted: Iterable[str]) -> list[JobHistory]:
    """Find jobs by number, name or pattern.

    Raises:
        JobStoreError: there is none for one of them; names those that are near.
    """
    return list({job.number: job for text in wanted for job in _find(history, text)}.values())


def _find(history: History, wanted: str) -> list[JobHistory]:
    if wanted.isdigit():
        if job := history.jobs.get(int(wanted)):
            return [job]
    elif found := [job for job in history.jobs.values() if job.name == wanted or fnmatchcase(job.name, wanted)]:
        return found
    raise JobStoreError(_unknown(history, wanted))


def _unknown(history: History, wanted: str) -> str:
    count = len(history.jobs)
    if not count:
        return f"there is no job {wanted!r}: no job has been made yet"
    if wanted.isdigit():
        return f"there is no job {wanted}: jobs are numbered from 1 to {max(history.jobs):,}"
    names = sorted({job.name for job in history.jobs.values()})
    lowered = {name.lower(): name for name in names}
    difflib = importlib.import_module("difflib")  # loaded on use
    near = [lowered[name] for name in difflib.get_close_matches(wanted.lower(), lowered, n=5, cutoff=0.5)]
    near += [name for name in names if wanted.lower() in name.lower() and name not in near]
    if near:
        return f"there is no job {wanted!r}; do you mean {' or '.join(repr(name) for name in near[:5])}?"
    return f"there is no job {wanted!r}; there are {', '.join(repr(name) for name in names[:10])}{' …' if len(names) > 10 else ''}"
