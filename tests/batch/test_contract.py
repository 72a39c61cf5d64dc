"""The contract of a batch system, over every one there is."""

import sys

import pytest

from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.batch.local import LocalBatchSystem, Machine
from jobsys.testing.batch import CHECKS, check_batch_system
from jobsys.testing.orders import run_order

COMMAND = [sys.executable, "-m", "jobsys.worker", "--executor", "jobsys.testing.orders:prepare"]
TWO = Machine(cores=2, memory=8_000_000_000, disk=10_000_000_000)
SYSTEMS = {
    "warm": (lambda: LocalBatchSystem(COMMAND, machine=TWO), {"limits", "processes"}),
    "process": (lambda: LocalBatchSystem(COMMAND, machine=TWO, isolation="process"), {"limits", "processes"}),
    "inline": (lambda: InlineBatchSystem(run_order), set()),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SYSTEMS)
def test_contract(name: str, check):
    make, abilities = SYSTEMS[name]
    missing = CHECKS[check] - abilities
    if missing:
        pytest.skip(f"the {name} batch system has no {', '.join(missing)}")
    check(make)


def test_the_suite_names_what_it_leaves_out():
    left_out = check_batch_system(lambda: InlineBatchSystem(run_order), abilities=())
    assert left_out == [check.__name__ for check, needed in CHECKS.items() if needed]


def test_every_check_notices_a_system_that_does_nothing():
    class Nothing(BatchSystem):
        def check(self, requirements): ...
        def submit(self, jobs): ...
        def updates(self, timeout):
            raise AssertionError("nothing comes")

        def cancel(self, ids): ...
        def tell(self, id, message): ...
        def running(self):
            return {}

        def shutdown(self): ...

    for check in CHECKS:
        if check.__name__ != "check_shutdown":
            with pytest.raises(AssertionError):
                check(Nothing)
