"""run(): the one way in. Reads the options and starts the worker host; only then is what leads loaded: both load at the same time."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from jobsys import early
from jobsys.collecting import uncollected
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.files import occupy_standard_descriptors, working_directory
from jobsys.job import loading, made

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from jobsys.leader.listener import Listener


def run(
    workflow: Any, options: Config | argparse.Namespace | str | None = None, *, listeners: Sequence[Listener] = (), **changes: Any
) -> Any:
    """Run a workflow and return its value.

    Args:
        workflow: a promise, a Job, or anything that holds promises: what comes back is the same with values for promises.
        options: a parsed command line (see argument_parser), a Config, or a locator.
        listeners: told about the run while it goes on.
        changes: options by keyword, such as ``restart=True``; they win.

    Raises:
        UsageError: the graph, the options or a requirement make no sense; nothing was submitted.
        JobStoreError: the store exists already, is missing on restart, or another leader holds it.
        FailedJobsError: jobs failed; it lists each of them. ``restart`` tries them again.
        CanceledError: the run was stopped; ``restart`` goes on.
    """
    _check_place()
    occupy_standard_descriptors()
    working_directory()  # before anything else asks for it, and is told less
    config = Config.of(options, **changes)
    logging.getLogger("jobsys").setLevel(config.log_level.upper())
    with early.started(config) as begun:
        with uncollected():
            workflow_module = importlib.import_module("jobsys.workflow")  # which takes its time, and the host's start, too
        return workflow_module.go(workflow, config, listeners, begun)


def _check_place() -> None:
    if loading.get():
        raise UsageError(
            "jobsys.run was called while a worker imported the script: workers import it to find its jobs, so the call "
            'must stand under `if __name__ == "__main__":`'
        )
    if made.get() is not None:
        raise UsageError("jobsys.run was called inside a job: call job functions there and return their promises instead")
