"""A locator names a job store: ``file:/path``, a plain path, ``s3://bucket/prefix``, ``http://host:port`` or ``memory:name``."""

from jobsys.jobstores.aside import Aside
from jobsys.jobstores.base import JobStore, Lease
from jobsys.jobstores.files import FileId
from jobsys.jobstores.locators import create, locate, open_store

__all__ = ["Aside", "FileId", "JobStore", "Lease", "create", "locate", "open_store"]
