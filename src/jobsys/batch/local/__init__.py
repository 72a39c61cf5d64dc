"""Runs batch jobs in warm processes on this machine."""

from jobsys.batch.local.machine import Machine
from jobsys.batch.local.system import LocalBatchSystem

__all__ = ["LocalBatchSystem", "Machine"]
