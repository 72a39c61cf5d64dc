"""What the tests of the leader share."""

import pytest

from jobsys.jobstores import JobStore
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.storage.memory import MemoryStorage


@pytest.fixture
def store():
    made = JobStore("memory:test", MemoryStorage())
    made.create(StoreInfo(FORMAT, 0.0, "test"))
    return made
