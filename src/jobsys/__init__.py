"""jobsys runs workflows written as ordinary Python scripts, from a laptop to a cluster."""

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
from jobsys.function import JobFunction, job
from jobsys.job import FunctionJob, Job, PromisedRequirement, Service
from jobsys.jobstores import FileId
from jobsys.promise import Promise
from jobsys.requirements import Requirements
from jobsys.workflow import run

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
