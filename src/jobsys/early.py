"""A worker host of this machine, started before it is known what code there is: it loads itself while the leader does the same."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jobsys.batch.local.hosts import Begun
from jobsys.config import Config
from jobsys.errors import BatchSystemError, UsageError
from jobsys.shipping import surroundings
from jobsys.storage.s3.options import Options

HOST: Final = ("-P", "-m", "jobsys.worker", "--wait")  # -P: the working directory must not come before what was shipped


@contextmanager
def started(config: Config) -> Iterator[Begun | None]:
    """Start a worker host, and leave nothing of it that nobody took; None where none will be needed, or that is not known yet.

    Raises:
        UsageError: an option makes no sense.
    """
    begun = None
    if config.batch_system == "local" and not config.restart and not config.job_store.startswith("memory:"):
        begun = _begin(config)
    try:
        yield begun
    finally:
        if begun is not None:
            begun.discard()


def _begin(config: Config) -> Begun | None:
    variables, parent = environment(config), work_dir(config)
    try:
        return Begun(command(config), variables, parent)
    except (BatchSystemError, OSError):  # the batch system meets the same, and tells it once the job store is there
        return None


def command(config: Config) -> list[str]:
    """Give the command of a worker host on this machine, which waits until it is told by what it loads the code."""
    return [sys.executable, *surroundings.interpreter_options(), *HOST, "--job-store", _absolute(config.job_store)]


def _absolute(locator: str) -> str:
    """Name a job store for people who look at processes."""
    return locator if "://" in locator else f"file:{os.path.abspath(locator.removeprefix('file:'))}"


def environment(config: Config) -> dict[str, str]:
    """Give the variables that workers get beside those of this process.

    Raises:
        UsageError: one can't be given.
    """
    s3 = s3_options(config)
    if s3 is None:  # what jobs import and export may lie in S3 all the same
        s3 = Options(endpoint_url=(config.s3_endpoint_url or "").rstrip("/"), requester_pays=config.s3_requester_pays)
        s3.check()
    return surroundings.asked_for(config.env, os.environ) | s3.environment()


def s3_options(config: Config) -> Options | None:
    """Say how the run's bucket is used; None if its store lies in none.

    Raises:
        UsageError: an option makes no sense.
    """
    return Options.chosen(config, os.environ) if config.job_store.lower().startswith("s3:") else None


def work_dir(config: Config) -> str | None:
    """Give the work directory as it is named from anywhere: jobs change directories.

    Raises:
        UsageError: it can't be used.
    """
    if config.work_dir is None:
        return None
    if not os.path.isdir(config.work_dir):
        raise UsageError(f"--work-dir {config.work_dir} is no directory: make it first, or name another one")
    if not os.access(config.work_dir, os.W_OK | os.X_OK):
        raise UsageError(f"--work-dir {config.work_dir} can't be written: allow it, or name another one")
    return os.path.abspath(config.work_dir)
