"""The contract of a job store over every storage of ours."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsys.jobstores import file
from jobsys.storage.base import Storage
from jobsys.storage.memory import MemoryStorage
from jobsys.testing.jobstore import RULES, check_job_store


@pytest.fixture(params=["file", "file-durable", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    if request.param == "memory":
        return MemoryStorage
    return lambda: file.storage(str(tmp_path / uuid.uuid4().hex), durable=request.param == "file-durable")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Callable[[], Storage]], None], make: Callable[[], Storage]) -> None:
    rule(make)


def test_a_store_that_writes_over_is_found_out() -> None:
    class Broken(MemoryStorage):
        def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
            return super().put(key, data)

    with pytest.raises(AssertionError):
        check_job_store(Broken)
    check_job_store(MemoryStorage)
