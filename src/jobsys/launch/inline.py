"""Jobs in the leader's own process: nothing is shipped."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jobsys import early
from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.launch.base import Launch
from jobsys.storage.s3.options import VARIABLES
from jobsys.worker.execute import JobExecutor


def make(launch: Launch) -> BatchSystem:
    """Make the batch system."""
    asked = early.environment(launch.config)
    launch.stack.enter_context(_variables({name: asked[name] for name in VARIABLES if name in asked}))  # for what jobs import and export
    return InlineBatchSystem(JobExecutor(launch.store, launch.config.max_log_size).run)


@contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """Have environment variables as long as the run."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
