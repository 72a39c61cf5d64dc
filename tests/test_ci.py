"""What continuous integration installs and runs: whatever a server of the tests asks for, and all tests for which there are scripts."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import condor_server, grid_engine_server, kubernetes_server, slurm_server  # type: ignore[import-not-found]
from nfs import hosts as nfs  # type: ignore[import-not-found]
from s3 import servers as s3  # type: ignore[import-not-found]

SCRIPT = Path(__file__).parent.parent / ".ci/run"
TABLES = {
    "Grid Engine": grid_engine_server.PROGRAMS,
    "HTCondor": condor_server.PROGRAMS,
    "Kubernetes": kubernetes_server.PACKAGES,
    "NFS": nfs.PROGRAMS,
    "Slurm": slurm_server.PROGRAMS,
    **s3.PROGRAMS,
}
"""For each server, which package has a program that it needs; none: it comes with ``make dev``."""
CHANGING = ("apt-get", "chmod", "make", "rm", "sudo", "tee")
"""What the script calls that changes something: here it only tells that it was called."""
LEFT_OUT = "HTCondor, Kubernetes and NFS are left out"


@pytest.mark.parametrize("server", TABLES)
def test_what_servers_need_is_installed(server: str) -> None:
    words = set(re.findall(r"[\w.-]+", SCRIPT.read_text()))
    assert set(TABLES[server].values()) - {""} - words == set()


def run(folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run the script of a repository in a new directory."""
    shutil.copytree(SCRIPT.parent, folder / "repository/.ci")
    (folder / "bin").mkdir()
    for name in CHANGING:
        (folder / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\nexit $STATUS\n')
        (folder / "bin" / name).chmod(0o755)
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}
    environment = {**unnamed, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "STATUS": "0", **more}
    return subprocess.run([folder / "repository/.ci/run"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.parametrize("kinds", [(), ("schedulers",), ("servers",), ("schedulers", "servers")], ids=" and ".join)
def test_servers_are_left_out_in_so_many_words_where_what_starts_them_is_not_there(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        (tmp_path / "shared/infra" / kind).mkdir(parents=True)
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    whole = len(kinds) == 2
    assert done.stdout.splitlines()[-2:] == ["make check", "make test-all" if whole else "make test"]
    assert (LEFT_OUT in done.stdout) != whole


def test_scripts_may_be_elsewhere(tmp_path: Path) -> None:
    assert run(tmp_path, TEST_SCHEDULERS="/a", TEST_SERVERS="/b").stdout.splitlines()[-1] == "make test-all"


def test_what_fails_fails(tmp_path: Path) -> None:
    assert run(tmp_path, STATUS="3").returncode == 3
