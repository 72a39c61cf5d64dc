"""The batch system of this machine, made before the code is known: its worker host loads itself while the leader does the same."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jobsys.batch.local import LocalBatchSystem
from jobsys.batch.machine import this_machine
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.shipping import surroundings

HOST: Final = ("-P", "-m", "jobsys.worker", "--wait")  # -P: the working directory must not come before what was shipped


@contextmanager
def started(config: Config) -> Iterator[LocalBatchSystem | None]:
    """Start a worker host, and leave nothing of it; None where none will be needed, or that is not known yet.

    Raises:
        UsageError: an option makes no sense.
    """
    if config.batch_system != "local" or config.restart or config.job_store.startswith("memory:"):
        yield None
        return
    system = make(config)
    try:
        system.start_early()
        yield system
    finally:
        system.shutdown()


def make(config: Config) -> LocalBatchSystem:
    """Make the batch system by a run's options; its hosts wait for ``prepare``.

    Raises:
        UsageError: an option makes no sense here.
    """
    command = [sys.executable, *surroundings.interpreter_options(), *HOST]
    work_dir = _work_dir(config)
    machine = this_machine(cores=config.max_cores, memory=config.max_memory, disk=config.max_disk, work_dir=work_dir)
    isolation: Final = "process" if config.isolation == "process" else "warm"
    system = LocalBatchSystem(command, machine=machine, isolation=isolation, directory=work_dir)
    system.environment = surroundings.asked_for(config.env, os.environ)
    return system


def _work_dir(config: Config) -> str | None:
    """Give the work directory as it is named from anywhere: jobs change directories."""
    if config.work_dir is None:
        return None
    if not os.path.isdir(config.work_dir):
        raise UsageError(f"--work-dir {config.work_dir} is no directory: make it first, or name another one")
    if not os.access(config.work_dir, os.W_OK | os.X_OK):
        raise UsageError(f"--work-dir {config.work_dir} can't be written: allow it, or name another one")
    return os.path.abspath(config.work_dir)
