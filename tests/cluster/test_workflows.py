"""Whole workflows on real clusters, as a user runs them."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]

CHECKS = [
    check.check_workflow,
    check.check_leader_dies,
    check.check_kill_after_death,
    check.check_interrupt,
    check.check_somebody_cancels,
    check.check_node_dies,
]


def _call(environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def grid_engine_site(environment: dict[str, str], folder: Path) -> Site:
    """Use Grid Engine."""

    def queued() -> list[str]:
        return [line.split()[0] for line in _call(environment, "qstat", "-u", "*").splitlines()[2:]]

    return Site("grid-engine", environment, queued, lambda native: _call(environment, "qdel", native), folder=folder)


def slurm_site(cluster: Any, folder: Path) -> Site:
    """Use Slurm."""
    environment = cluster.environment

    def queued() -> list[str]:
        return _call(environment, "squeue", "-h", "-r", "-o", "%i").split()

    return Site("slurm", environment, queued, lambda native: _call(environment, "scancel", native), folder=folder)


SITES: dict[str, Callable[[Any, Path], Site]] = {"slurm": slurm_site, "grid_engine": grid_engine_site}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return SITES[request.param](request.getfixturevalue(request.param), tmp_path)


@pytest.mark.parametrize("what", CHECKS, ids=[what.__name__ for what in CHECKS])
def test_workflow(site: Site, what: Callable[[Site], None]) -> None:
    what(site)
