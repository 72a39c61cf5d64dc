"""Jobs on this machine: own code is shipped, the environment is the leader's."""

from typing import Final

from jobsys import early
from jobsys.batch.base import BatchSystem
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import this_machine
from jobsys.digest import sha256
from jobsys.launch.base import Launch
from jobsys.launch.code import ship


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
    work_dir = early.work_dir(config)
    machine = this_machine(cores=config.max_cores, memory=config.max_memory, disk=config.max_disk, work_dir=work_dir)
    isolation: Final = "process" if config.isolation == "process" else "warm"
    command = [*early.command(config), *(["--executor", launch.executor] if launch.executor else [])]
    system = LocalBatchSystem(command, machine=machine, isolation=isolation, directory=work_dir)
    system.environment = early.environment(config)
    launch.stack.callback(system.shutdown)  # also where nothing comes to be submitted
    if launch.begun is not None:
        system.take_over(launch.begun)
    system.prepare(launch.arguments(launch.store.locator, sha256(data)))
    return system
