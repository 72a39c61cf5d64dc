"""Every exception of jobsys.

JobsysError
├── UsageError                 what was asked for makes no sense (exit status 2)
│   ├── LocatorError           the text is no locator of a job store
│   ├── RequirementError       a requirement that can't be read, or that no machine has
│   ├── GraphError             the workflow's graph can't be run (a cycle, a job used twice)
│   ├── PromiseError           a promise was used before it has a value
│   └── PicklingError          something that must travel can't be pickled; names the culprit
├── StorageError               the storage below a job store failed (full, read-only, gone)
│   ├── NotFoundError          there is nothing under that key or URL
│   ├── IntegrityError         what was read is not what was written
│   └── TransferError          a transfer broke off; another try may succeed
├── JobStoreError
│   ├── NoSuchJobStoreError    there is no job store at that locator
│   ├── JobStoreExistsError    there is one already
│   ├── FormatError            it was written in a format this version does not know
│   ├── RunKeyError            the key of its run is not here, or can't be used
│   ├── LeaderRunningError     another leader holds the run
│   └── LeaseLostError         this leader was replaced by another one
├── BatchSystemError           a batch system can't do its work
│   └── ScriptError            workers can't import the script as it is written (a UsageError, too)
├── JobFailure                 inside a job: fail this attempt with a reason
└── WorkflowError              the run ended without its result
    ├── FailedJobsError        jobs failed; lists each with host, reason, status, traceback, log
    ├── DeadlockError          nothing runs and nothing can start
    └── CanceledError          the run was stopped by a person or a signal
"""

from collections.abc import Sequence
from typing import Any


class JobsysError(Exception):
    """Base of all errors that jobsys raises on purpose."""


class UsageError(JobsysError):
    """What was asked for makes no sense; asking again will not help."""


class LocatorError(UsageError):
    """The text is no locator of a job store."""


class RequirementError(UsageError):
    """A requirement can't be read, or no machine has it."""


class GraphError(UsageError):
    """The workflow's graph can't be run."""


class PromiseError(UsageError):
    """A promise was used before it has a value."""


class PicklingError(UsageError):
    """Something that must travel can't be pickled."""


class StorageError(JobsysError):
    """The storage failed: full, read-only, unreachable."""


class NotFoundError(StorageError):
    """There is nothing under that key or URL."""


class IntegrityError(StorageError):
    """What was read is not what was written."""


class TransferError(StorageError):
    """A transfer broke off; another try may succeed."""


class JobStoreError(JobsysError):
    """A job store can't be used."""


class NoSuchJobStoreError(JobStoreError):
    """There is no job store at that locator."""


class JobStoreExistsError(JobStoreError):
    """There is a job store at that locator already."""


class FormatError(JobStoreError):
    """The job store was written in a format that this version does not know."""


class RunKeyError(JobStoreError):
    """The key of a run is not here, or can't be used."""


class LeaderRunningError(JobStoreError):
    """Another leader holds the run."""


class LeaseLostError(JobStoreError):
    """This leader was replaced by another one and may write no more."""


class BatchSystemError(JobsysError):
    """A batch system can't do its work."""


class ScriptError(BatchSystemError, UsageError):
    """Workers can't import the script as it is written."""


class JobFailure(JobsysError):
    """Raised inside a job: fail this attempt without a traceback of jobsys' own frames."""


class WorkflowError(JobsysError):
    """The run ended without its result."""


class FailedJobsError(WorkflowError):
    """Jobs failed for good; the message lists each of them, and ``failures`` holds them as data (``jobsys.status.FailureStatus``)."""

    def __init__(self, message: str, failures: Sequence[Any] = ()) -> None:
        """Tell about ``failures``."""
        super().__init__(message)
        self.failures = list(failures)


class DeadlockError(WorkflowError):
    """Nothing runs and nothing can start."""


class CanceledError(WorkflowError):
    """The run was stopped by a person or a signal."""
