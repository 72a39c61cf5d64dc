"""The contract of a batch system, over every one there is."""

import sys

import pytest

from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.testing.batch import CHECKS, check_batch_system
from jobsys.testing.orders import run_order

COMMAND = [sys.executable, "-m", "jobsys.worker", "--executor", "jobsys.testing.orders:prepare"]
TWO = Machine(cores=2, memory=8_000_000_000, disk=10_000_000_000)
LIMITS = ["--max-cores", "2", "--max-memory", "8000000000"]
AGENT = [sys.executable, "-m", "jobsys.batch.agent", *LIMITS, "--", "--executor", "jobsys.testing.orders:prepare"]
SSH = ["sh", "-c", 'shift; exec sh -c "$1"', "ssh"]  # what ssh does with a host and a command, on this host
SYSTEMS = {
    "warm": (lambda: LocalBatchSystem(COMMAND, machine=TWO), {"limits", "processes"}),
    "process": (lambda: LocalBatchSystem(COMMAND, machine=TWO, isolation="process"), {"limits", "processes"}),
    "ssh": (lambda: SshBatchSystem(["one", "two"], Start(AGENT), ssh=SSH), {"limits", "processes"}),
    "inline": (lambda: InlineBatchSystem(run_order), set()),
}


CASES = [(name, check) for name, (_, abilities) in SYSTEMS.items() for check, needed in CHECKS.items() if needed <= abilities]


@pytest.mark.parametrize(("name", "check"), CASES, ids=[f"{name}-{check.__name__}" for name, check in CASES])
def test_contract(name: str, check):
    check(SYSTEMS[name][0])


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

        def shutdown(self, *, leave=False): ...

    for check in CHECKS:
        if check.__name__ != "check_shutdown":
            with pytest.raises(AssertionError):
                check(Nothing)
