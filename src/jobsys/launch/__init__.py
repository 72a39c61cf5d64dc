"""From options to a batch system that is ready for jobs: its code has been shipped, and what it needs beside it runs."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jobsys.batch.base import BatchSystem
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.jobstores import keys
from jobsys.launch.base import Launch

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

MAKERS: Final = {"inline": "jobsys.launch.inline", "local": "jobsys.launch.local", "ssh": "jobsys.launch.ssh"}
"""Name -> the module whose ``make`` makes that batch system; loaded on use."""
ENTRY_POINTS: Final = "jobsys.batch_systems"
"""The group of entry points by which other distributions add to them: each leads to a ``make``."""
_CLUSTER: Final = "jobsys.launch.cluster"

Make = Callable[[Launch], BatchSystem]


def launch(what: Launch) -> BatchSystem:
    """Make the batch system that was asked for.

    Raises:
        UsageError: there is no such batch system, or its options make no sense.
        ResourceException: the code can't be shipped.
    """
    config = what.config
    make, of_scheduler = _maker(config.batch_system)
    _check(config, of_scheduler=of_scheduler)
    if config.restart and not of_scheduler and next(what.store.storage.list(keys.WAVES), None) is not None:
        cluster = importlib.import_module(_CLUSTER)  # loaded on use: few runs need it
        cluster.cancel_others(what.store, what.say)
        cluster.keep_finished(what.store)
    return make(what)


def _maker(name: str) -> tuple[Make, bool]:
    """Give what makes a batch system, and whether it is that of a cluster's scheduler."""
    if name in MAKERS:
        return importlib.import_module(MAKERS[name]).make, False
    others = _others()
    if name in others.names:
        return others[name].load(), False
    cluster = importlib.import_module(_CLUSTER)  # loaded on use: few runs need it
    schedulers = cluster.known()
    if name not in schedulers:
        there = sorted({*MAKERS, *others.names, *schedulers})
        raise UsageError(f"there is no batch system {name!r}: there are {', '.join(map(repr, there))}")
    return cluster.make, True


def _others() -> "EntryPoints":
    found: EntryPoints = importlib.import_module("importlib.metadata").entry_points(group=ENTRY_POINTS)  # loaded on use, which is slow
    return found


def _check(config: Config, *, of_scheduler: bool) -> None:
    if config.batch_option and not of_scheduler:
        raise UsageError(f"--batch-option goes with a cluster's scheduler, which --batch-system {config.batch_system} is not: leave it out")
    if config.same_code and not config.restart:
        raise UsageError("--same-code goes with --restart: a new run has no other code than what is there now")
    if config.s3_workers != "leader" and config.batch_system in {"local", "inline"}:
        raise UsageError(f"--s3-workers {config.s3_workers} goes with workers on other hosts: those on this machine use the bucket anyway")
