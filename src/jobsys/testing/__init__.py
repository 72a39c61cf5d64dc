"""Contracts of the seams, as plain functions: for our own back ends and for other people's."""

from jobsys.testing.batch import check_batch_system as check_batch_system
from jobsys.testing.jobstore import check_job_store as check_job_store
from jobsys.testing.scheduler import check_scheduler as check_scheduler
from jobsys.testing.storage import check_storage as check_storage
