"""The contract of a batch system, over tasks that are processes of this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batch.cluster.places import store_at, system_over  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.base import BatchSystem
from jobsys.testing.batch import CHECKS


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], BatchSystem]]:
    schedulers = []

    def made() -> BatchSystem:
        schedulers.append(PretendScheduler(2))
        return system_over(store_at(tmp_path / f"store{len(schedulers)}"), schedulers[-1])

    yield made
    for scheduler in schedulers:
        assert not scheduler.running()
        scheduler.close()


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_contract(make, check):
    check(make)
