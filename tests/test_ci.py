"""What continuous integration installs: whatever a server of the tests asks for, so that none lacks on a new machine."""

import re
from pathlib import Path

import pytest

from cluster import condor_server, grid_engine_server, kubernetes_server, slurm_server  # type: ignore[import-not-found]
from nfs import hosts as nfs  # type: ignore[import-not-found]
from s3 import servers as s3  # type: ignore[import-not-found]

ROOT = Path(__file__).parent.parent
TABLES = {
    "Grid Engine": grid_engine_server.PROGRAMS,
    "HTCondor": condor_server.PROGRAMS,
    "Kubernetes": kubernetes_server.PACKAGES,
    "NFS": nfs.PROGRAMS,
    "Slurm": slurm_server.PROGRAMS,
    **s3.PROGRAMS,
}
"""For each server, which package has a program that it needs; none: it comes with ``make dev``."""


@pytest.mark.parametrize("server", TABLES)
def test_what_servers_need_is_installed(server: str) -> None:
    words = set(re.findall(r"[\w.-]+", (ROOT / ".ci/run").read_text()))
    assert set(TABLES[server].values()) - {""} - words == set()
