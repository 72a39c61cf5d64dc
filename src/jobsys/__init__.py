"""jobsys runs workflows written as ordinary Python scripts, from a laptop to a cluster."""

import importlib
from typing import TYPE_CHECKING, Any, Final

from jobsys.collecting import uncollected

with uncollected():  # what modules are made of stays
    from jobsys.function import job  # at once: the module of that name must not take its place
    from jobsys.uncaught import tell_uncaught_errors_plainly

if TYPE_CHECKING:
    from jobsys.config import Config, argument_parser
    from jobsys.context import Context, current
    from jobsys.errors import (
        CanceledError,
        DeadlockError,
        FailedJobsError,
        GraphError,
        JobFailure,
        JobStoreError,
        JobsysError,
        PicklingError,
        PromiseError,
        RequirementError,
        StorageError,
        UsageError,
        WorkflowError,
    )
    from jobsys.function import JobFunction
    from jobsys.job import FunctionJob, Job, PromisedRequirement, Service
    from jobsys.jobstores import FileId
    from jobsys.promise import Promise
    from jobsys.requirements import Requirements
    from jobsys.start import run

__all__ = [
    "CanceledError",
    "Config",
    "Context",
    "DeadlockError",
    "FailedJobsError",
    "FileId",
    "FunctionJob",
    "GraphError",
    "Job",
    "JobFailure",
    "JobFunction",
    "JobStoreError",
    "JobsysError",
    "PicklingError",
    "Promise",
    "PromiseError",
    "PromisedRequirement",
    "RequirementError",
    "Requirements",
    "Service",
    "StorageError",
    "UsageError",
    "WorkflowError",
    "argument_parser",
    "current",
    "job",
    "run",
]

_HOMES: Final = {
    "CanceledError": "jobsys.errors",
    "Config": "jobsys.config",
    "Context": "jobsys.context",
    "DeadlockError": "jobsys.errors",
    "FailedJobsError": "jobsys.errors",
    "FileId": "jobsys.jobstores",
    "FunctionJob": "jobsys.job",
    "GraphError": "jobsys.errors",
    "Job": "jobsys.job",
    "JobFailure": "jobsys.errors",
    "JobFunction": "jobsys.function",
    "JobStoreError": "jobsys.errors",
    "JobsysError": "jobsys.errors",
    "PicklingError": "jobsys.errors",
    "Promise": "jobsys.promise",
    "PromiseError": "jobsys.errors",
    "PromisedRequirement": "jobsys.job",
    "RequirementError": "jobsys.errors",
    "Requirements": "jobsys.requirements",
    "Service": "jobsys.job",
    "StorageError": "jobsys.errors",
    "UsageError": "jobsys.errors",
    "WorkflowError": "jobsys.errors",
    "argument_parser": "jobsys.config",
    "current": "jobsys.context",
    "run": "jobsys.start",
}

tell_uncaught_errors_plainly()  # a script's first mistake may stand in its first decorator


def __getattr__(name: str) -> Any:
    """Load what is asked for: a worker needs no leader, and starts in half the time without it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jobsys' has no attribute {name!r}")
    with uncollected():
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
