"""What lacks here for servers with hosts of their own is told before they start."""

import os

import pytest

from cluster.kernel import TRIALS, refused  # type: ignore[import-not-found]

FAKES = {"wings": "echo no feathers >&2; exit 1", "legs": 'test -d . && test -z "$(ls)"', "gills": "exit 3"}
HARMLESS = "programs in /dev/shm"
"""Which everybody may, where root may."""


def test_what_is_refused_is_named_with_its_cause() -> None:
    assert refused(["legs"], FAKES) == ""
    told = refused(["legs", "wings", "gills"], FAKES)
    assert told.endswith("does not allow wings (no feathers), gills (exit status 3)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights that can be taken away")
@pytest.mark.parametrize("need", sorted(TRIALS.keys() - {HARMLESS}))
def test_who_has_no_rights_is_refused(need: str) -> None:
    told = refused([need], prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"])
    assert need in told
