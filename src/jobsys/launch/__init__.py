"""From options to a batch system that is ready for jobs: its code has been shipped, and what it needs beside it runs."""

import importlib
from typing import Final

from jobsys.batch.base import BatchSystem
from jobsys.errors import UsageError
from jobsys.jobstores import keys
from jobsys.launch.base import Launch

MAKERS: Final = {"inline": "jobsys.launch.inline", "local": "jobsys.launch.local", "ssh": "jobsys.launch.ssh"}
"""Name -> the module whose ``make`` makes that batch system; loaded on use."""
_CLUSTER: Final = "jobsys.launch.cluster"


def launch(what: Launch) -> BatchSystem:
    """Make the batch system that was asked for.

    Raises:
        UsageError: there is no such batch system, or its options make no sense.
        ResourceException: the code can't be shipped.
    """
    config = what.config
    module = MAKERS.get(config.batch_system)
    if module is None:
        cluster = importlib.import_module(_CLUSTER)  # loaded on use: few runs need it
        if config.batch_system not in cluster.known():
            there = sorted([*MAKERS, *cluster.known()])
            raise UsageError(f"there is no batch system {config.batch_system!r}: there are {', '.join(map(repr, there))}")
        module = _CLUSTER
    elif config.batch_option:
        raise UsageError(f"--batch-option goes with a cluster's scheduler, which --batch-system {config.batch_system} is not: leave it out")
    if config.same_code and not config.restart:
        raise UsageError("--same-code goes with --restart: a new run has no other code than what is there now")
    if config.s3_workers != "leader" and config.batch_system in {"local", "inline"}:
        raise UsageError(f"--s3-workers {config.s3_workers} goes with workers on other hosts: those on this machine use the bucket anyway")
    if what.config.restart and module != _CLUSTER and next(what.store.storage.list(keys.WAVES), None) is not None:
        importlib.import_module(_CLUSTER).cancel_others(what.store, what.say)  # loaded on use: few runs need it
    made: BatchSystem = importlib.import_module(module).make(what)
    return made
