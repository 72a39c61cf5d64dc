"""Runs batch jobs in warm processes on this machine."""

from jobsys.batch.local.machine import Machine, this_machine
from jobsys.batch.local.system import LocalBatchSystem

__all__ = ["LocalBatchSystem", "Machine", "this_machine"]
