"""What the tests of tasks share: a scheduler of processes, a store, and little patience."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.cluster.places import store_at  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.cluster import crew
from jobsys.batch.cluster import system as cluster
from jobsys.jobstores import JobStore


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crew, "GRACE", 0.3)
    monkeypatch.setattr(cluster, "POLL", (0.2, 1.0))


@pytest.fixture
def scheduler() -> Iterator[PretendScheduler]:
    made = PretendScheduler(2)
    yield made
    PretendScheduler.close(made)  # whatever a test has made of its own close


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return store_at(tmp_path / "store")
