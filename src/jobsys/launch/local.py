"""Jobs on this machine: own code is shipped, the environment is the leader's."""

from jobsys import early
from jobsys.batch.base import BatchSystem
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
    if launch.config.ship_env == "always":
        launch.say("--ship-env always: workers on this machine run in this very environment, none of it is sent")
    _, data = ship(launch)
    system = launch.local or early.make(launch.config)
    system.prepare(launch.arguments(launch.store.locator, sha256(data)))
    return system
