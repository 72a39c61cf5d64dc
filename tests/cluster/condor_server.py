"""A real HTCondor of one machine for tests: Debian 13's, in a tree of its own, since Debian 12 has none.

Over the scripts in ``infra/schedulers``, which are found by TEST_SCHEDULERS or in ``shared/`` beside the repository. The tree is that which
TEST_TRIXIE names, or one in the cache, where it is made once. HTCondor takes no jobs of root: the tools run as a user of their own.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from cluster.kernel import refused  # type: ignore[import-not-found]
from s3.servers import free_ports  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = "infra/schedulers"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobsys-tests" / "trixie"
"""Of whoever runs the tests: read before the session has a home of its own."""
PROGRAMS: Final = {"mmdebstrap": "mmdebstrap"}
CORES: Final = 4
QUICK: Final = {
    "_CONDOR_NEGOTIATOR_INTERVAL": "1",
    "_CONDOR_NEGOTIATOR_MIN_INTERVAL": "1",
    "_CONDOR_NEGOTIATOR_CYCLE_DELAY": "0",
    "_CONDOR_SCHEDD_INTERVAL": "1",
    "_CONDOR_SCHEDD_MIN_INTERVAL": "1",
    "_CONDOR_PERIODIC_EXPR_INTERVAL": "2",
    "_CONDOR_RUNBENCHMARKS": "False",  # a startd that is measuring its host does not end when it is told to
}
"""Mostly seconds between what a schedd and a negotiator do again and again: those of a pool for people are a minute."""
MAKING: Final = 600  # seconds
STARTING: Final = 60


@dataclass(frozen=True)
class Condor:
    """A pool that runs."""

    tools: Path  # a program that runs HTCondor's tools, as the user whose jobs they are
    home: Path  # of that user

    def run(self, *words: str) -> str:
        """Run one of the tools, without a line of ours."""
        return subprocess.run([str(self.tools), *words], check=True, capture_output=True, text=True, timeout=STARTING).stdout


def find_scripts() -> Path | None:
    """Find the directory of the scripts by the environment variable, or below a ``shared`` beside the repository or one of its parents."""
    named = os.environ.get("TEST_SCHEDULERS")
    if named:
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPTS).is_dir()), None)


def missing() -> str:
    """Say what is missing, with the way out; empty if it can be started."""
    scripts = find_scripts()
    if scripts is None or not scripts.is_dir():
        return f"there is no {SCRIPTS} in a directory shared/ beside the repository: set TEST_SCHEDULERS to its path"
    if os.geteuid() != 0:
        return "only root can start it: it runs in a tree of its own"
    lacking = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if lacking and not _has_condor(_tree()):
        return f"what makes its tree is not installed: apt-get install -y --no-install-recommends {' '.join(lacking)}"
    return str(refused(["mount namespaces"]))


def _tree() -> Path:
    return Path(os.environ.get("TEST_TRIXIE") or CACHE)


def _has_condor(tree: Path) -> bool:
    return (tree / "usr/sbin/condor_master").exists()


def _make_tree(scripts: Path) -> Path:
    """Make the tree if nobody has; a second session waits for the first."""
    tree = _tree()
    tree.parent.mkdir(parents=True, exist_ok=True)
    with open(tree.parent / f"{tree.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_condor(tree):
            _run(MAKING, str(scripts / "trixie-root.sh"), str(tree), "make", "condor")
    return tree


def _run(seconds: float, *words: str, **more: str) -> None:
    """Run one of the scripts; what it prints goes to a file, since what stays up would hold a pipe open."""
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(words, env={**os.environ, **more}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=seconds)
        log.seek(0)
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{log.read()}"


@contextlib.contextmanager
def pool(state: Path) -> Iterator[Condor]:
    """Run a pool with its state in this directory, which other users must be able to reach."""
    scripts = find_scripts()
    assert scripts is not None
    tree, up = _make_tree(scripts), str(scripts / "condor-up.sh")
    try:
        _run(STARTING, up, str(state), str(tree), CPUS=str(CORES), PORT=str(free_ports(1)), **QUICK)
        yield Condor(state / "condor", state / "home")
    finally:
        _run(STARTING, up, str(state), str(tree), "down")


@pytest.fixture(scope="session")
def condor(isolated_session: None) -> Iterator[Condor]:
    lacking = missing()
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no HTCondor: {lacking}")
    state = Path(tempfile.mkdtemp(prefix="jc-"))  # a short path, for there are sockets in it
    for folder in (state.parent, state.parent.parent):  # those of the session; jobs are another user's
        folder.chmod(folder.stat().st_mode | 0o011)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIND", str(state.parent))
        with pool(state) as made:
            yield made
    shutil.rmtree(state, ignore_errors=True)
