"""Whole workflows on Grid Engine; they take minutes, and are no part of all tests: ``make test-grid-engine``."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]

CHECKS = [value for name, value in vars(check).items() if name.startswith("check_")]


def queued() -> list[str]:
    """Give the jobs that wait or run."""
    printed = subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"^\s*(\d+) ", printed, re.MULTILINE)))


def cancel(native: str) -> None:
    subprocess.run(["qdel", native], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check_one", CHECKS, ids=lambda value: value.__name__)
def test_workflows(check_one: Callable[[Site], None], grid_engine: dict[str, str], tmp_path: Path) -> None:
    check_one(Site("grid-engine", {}, queued, cancel, folder=tmp_path))
