"""Whole workflows on real clusters, as a user runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.site import PATIENCE, Site  # type: ignore[import-not-found]
from cluster.sites import SITES  # type: ignore[import-not-found]

CHECKS: Final = (
    check.check_workflow,
    check.check_leader_dies,
    check.check_leader_dies_with_its_server,
    check.check_kill_after_death,
    check.check_interrupt,
    check.check_somebody_cancels,
    check.check_node_dies,
)
SERVED: Final = ("htcondor", "kubernetes")
LEFT_OUT: Final = {
    **{(name, check.check_leader_dies): "tasks read the store through the leader, and can't outlive it" for name in SERVED},
    **{(name, check.check_leader_dies_with_its_server): "tasks read the store themselves" for name in SITES if name not in SERVED},
    ("dask", check.check_node_dies): "for time, as it is in every run of the tests; test_dask.py kills workers and what they run",
}
"""Which checks are not made where, and why."""
MARKS: Final = {
    "htcondor": [pytest.mark.htcondor],
    "kubernetes": [
        pytest.mark.kubernetes,
        pytest.mark.filterwarnings("ignore:Unverified HTTPS"),  # as the kubeconfig of our own says
    ],
}
CASES: Final = [
    pytest.param(name, what, marks=MARKS.get(name, ()), id=f"{name}-{what.__name__}")
    for name in SITES
    for what in CHECKS
    if (name, what) not in LEFT_OUT
]


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Give the cluster of that name; its server starts with the first test that asks for it."""
    server, use = SITES[request.param]
    with use(request.getfixturevalue(server), tmp_path) as used:
        yield used
        used.end()


@pytest.mark.timeout(3 * PATIENCE, func_only=True)
@pytest.mark.parametrize(("site", "what"), CASES, indirect=["site"])
def test_workflow(site: Site, what: Callable[[Site], None]) -> None:
    what(site)
