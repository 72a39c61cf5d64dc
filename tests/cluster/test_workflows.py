"""Whole workflows on real clusters, as a user runs them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

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


def _out(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def grid_engine_site(folder: Path) -> Site:
    """Use Grid Engine."""

    def queued() -> list[str]:
        return [line.split()[0] for line in _out("qstat", "-u", "*").splitlines()[2:]]

    return Site("grid-engine", {}, queued, lambda native: _out("qdel", native), folder=folder)


SITES: dict[str, Callable[[Path], Site]] = {"grid_engine": grid_engine_site}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    request.getfixturevalue(request.param)
    return SITES[request.param](tmp_path)


@pytest.mark.parametrize("what", CHECKS, ids=[what.__name__ for what in CHECKS])
def test_workflow(site: Site, what: Callable[[Site], None]) -> None:
    what(site)
