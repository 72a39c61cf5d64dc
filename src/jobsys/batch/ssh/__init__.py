"""Runs batch jobs on other hosts, through an agent on each that is reached by ssh or a program like it."""

from jobsys.batch.ssh.connection import Start
from jobsys.batch.ssh.system import SSH, SshBatchSystem

__all__ = ["SSH", "SshBatchSystem", "Start"]
