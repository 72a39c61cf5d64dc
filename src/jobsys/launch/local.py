"""Jobs on this machine: own code is shipped, the environment is the leader's."""

import os
import sys
from typing import Final

from jobsys.batch.base import BatchSystem
from jobsys.batch.local import LocalBatchSystem
from jobsys.batch.machine import this_machine
from jobsys.config import Config
from jobsys.digest import sha256
from jobsys.errors import UsageError
from jobsys.launch.base import Launch
from jobsys.launch.code import ship
from jobsys.shipping import surroundings


def make(launch: Launch) -> BatchSystem:
    """Ship the own code, and make the batch system of this machine.

    Raises:
        UsageError: an option makes no sense here.
        ResourceException: the code can't be shipped.
    """
    launch.check_seen()
    config = launch.config
    if config.ship_env == "always":
        launch.say("--ship-env always: workers on this machine run in this very environment, none of it is sent")
    _, data = ship(launch)
    command = [
        sys.executable,
        *surroundings.interpreter_options(),
        "-P",  # the working directory must not come before what was shipped
        "-m",
        "jobsys.worker",
        *launch.arguments(launch.store.locator, sha256(data)),
    ]
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
