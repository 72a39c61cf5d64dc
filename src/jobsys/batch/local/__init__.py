"""Runs batch jobs in warm processes on this machine."""

from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine, this_machine

__all__ = ["LocalBatchSystem", "Machine", "this_machine"]
