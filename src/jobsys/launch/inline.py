"""Jobs in the leader's own process: nothing is shipped."""

from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.launch.base import Launch
from jobsys.worker.execute import JobExecutor


def make(launch: Launch) -> BatchSystem:
    """Make the batch system."""
    return InlineBatchSystem(JobExecutor(launch.store, launch.config.max_log_size).run)
