"""How tests are dealt out to processes: those that share a server are together, and what is named there is there."""

from pathlib import Path

import pytest

from dealing import HOSTS, LAST, LONG, rank_of, unit_of  # type: ignore[import-not-found]

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/test_job.py::test_it", "tests/test_job.py"),
        ("tests/shipping/test_plan.py::test_it[a host]", "tests/shipping/test_plan.py"),
        ("tests/shipping/test_trouble_at_work.py::test_it", "the pretend hosts"),
        ("tests/s3/test_anywhere.py::test_it", "the pretend hosts"),
        ("tests/s3/test_files.py::test_it", "the servers of S3"),
        ("tests/storage/test_contract.py::test_rule[s3-moto-check]", "the servers of S3"),
        ("tests/leader/test_every_storage_call.py::test_it[s3, in Ceph-crash]", "the servers of S3"),
        ("tests/cluster/test_slurm.py::test_contract[check_one_task]", "slurm"),
        ("tests/cluster/test_workflows.py::test_workflow[grid_engine-check_workflow]", "grid_engine"),
        ("tests/cluster/test_workflows.py::test_workflow[dask-check_workflow]", "dask"),
        (LAST, LAST),
        ("tests/simulation/test_system.py::test_it", "tests/simulation/test_system.py"),
        ("tests/leader/test_every_storage_call.py::test_it[file-crash]", "tests/leader/test_every_storage_call.py"),
    ],
)
def test_a_test_has_a_unit(test: str, unit: str) -> None:
    assert unit_of(test) == unit


def test_long_ones_begin_first_and_what_takes_all_processors_ends() -> None:
    assert sorted([LAST, "tests/test_job.py", LONG[1], LONG[0]], key=rank_of) == [
        LONG[0],
        LONG[1],
        "tests/test_job.py",
        LAST,
    ]


def test_what_is_named_is_there() -> None:
    files = [LAST.partition("::")[0], *(unit for unit in LONG if unit.startswith("tests/"))]
    assert f"def {LAST.partition('::')[2]}(" in (ROOT / files[0]).read_text()
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert [name for name in HOSTS if not list(ROOT.glob(f"{name}*"))] == []
    units = {unit_of(f"{path.relative_to(ROOT)}::test") for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(LONG) <= units
