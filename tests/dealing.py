"""Which tests run side by side: owns the units in which ``make test`` and ``make test-all`` deal them out to processes, and their order.

A unit is what one process runs: the tests of a file, or all that share a server, so that this is started once, or one that runs last.
Nothing is started here.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

HOSTS: Final = ("tests/shipping/test_shapes.py", "tests/shipping/test_hosts.py", "tests/shipping/test_trouble", "tests/s3/test_anywhere.py")
CLUSTERS: Final = ("slurm", "grid_engine", "htcondor", "kubernetes", "dask", "tes")  # as files and cases in tests/cluster name them
SERVERS: Final = ("ceph", "moto", "swift", "rclone")  # as the cases of contracts and sweeps name them
LAST: Final = "tests/simulation/test_system.py::test_random_workflows_on_bad_days_end_as_on_good_ones"  # uses all processors by itself
LONG: Final = (
    "the pretend hosts",
    "the servers of S3",
    "kubernetes",
    "htcondor",
    "slurm",
    "grid_engine",
    "tests/nfs/test_nfs.py",
    "dask",
    "tests/acceptance/test_chaos.py",
    "tests/leader/test_every_storage_call.py",
    "tests/test_bench.py",
    "tests/model/test_model.py",
    "tests/batch/test_local.py",
    "tests/leader/test_every_system_call.py",
    "tests/batch/test_contract.py",
    "tests/acceptance/errors/test_errors.py",
    "tests/acceptance/test_trouble.py",
    "tests/leader/test_power_cuts.py",
    "tests/leader/test_every_worker_call.py",
)
"""What begins first, so that nothing long is left when all else is done."""


def unit_of(test: str) -> str:
    """Name the unit of a test, which is told by its node id."""
    if test == LAST:
        return test
    file = test.partition("::")[0]
    if file.startswith(HOSTS):
        return "the pretend hosts"
    if file.startswith("tests/cluster/"):
        return next((name for name in CLUSTERS if name in test.removeprefix("tests/cluster/test_")), file)
    case = test.partition("[")[2].lower()
    if file.startswith("tests/s3/") or any(name in case for name in SERVERS):
        return "the servers of S3"
    return file


def rank_of(unit: str) -> int:
    """Tell how early a unit begins: the long ones first, and last what uses all processors by itself."""
    return LONG.index(unit) if unit in LONG else len(LONG) + (unit == LAST)


class Dealer(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process that has nothing left the next unit."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: object) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank_of), last=False)
        super()._assign_work_unit(node)
