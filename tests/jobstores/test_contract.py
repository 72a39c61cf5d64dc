"""The contract of a job store over every storage of ours."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsys.jobstores import file, s3
from jobsys.jobstores.serving import StoreServer
from jobsys.storage.base import Storage
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.served import ServedStorage
from jobsys.testing.jobstore import RULES, check_job_store


@pytest.fixture(params=["file", "file-durable", "memory", "served", "ceph", "moto"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    if request.param == "memory":
        return MemoryStorage
    if request.param == "served":
        return lambda: served(request, tmp_path / uuid.uuid4().hex)
    if request.param in {"ceph", "moto"}:
        server, place = request.getfixturevalue(request.param), request.getfixturevalue("s3_place")
        return lambda: s3.storage(place(server))
    return lambda: file.storage(str(tmp_path / uuid.uuid4().hex), durable=request.param == "file-durable")


def served(request: pytest.FixtureRequest, root: Path) -> ServedStorage:
    server = StoreServer(root, address="127.0.0.1", listen="127.0.0.1:0", durable=False)
    storage = ServedStorage(server.url, server.token)
    request.addfinalizer(server.close)
    request.addfinalizer(storage.close)
    return storage


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
