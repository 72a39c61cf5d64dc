"""A real Slurm on this machine for tests: one without accounting, one with, each with ports and a directory of its own.

Over the scripts in ``infra/schedulers``, which are found by TEST_SCHEDULERS or in ``shared/`` beside the repository.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from jobsys.batch.cluster.commands import CommandScheduler, run
from jobsys.batch.cluster.scheduler import Command, Output
from jobsys.batch.cluster.slurm import Slurm
from s3.servers import SEARCHED, free_ports  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = "infra/schedulers"
PROGRAMS: Final = {"sbatch": "slurm-client", "slurmctld": "slurm-wlm", "munged": "munge"}
ACCOUNTING: Final = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
STARTING: Final = 100  # seconds
ENDING: Final = 60.0  # seconds, on a machine that is busy
CONFIGURATION: Final = """\
MessageTimeout=3
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
"""


def find_scripts() -> Path | None:
    """Find the directory of the scripts by the environment variable, or below a ``shared`` beside the repository or one of its parents."""
    if named := os.environ.get("TEST_SCHEDULERS"):
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPTS).is_dir()), None)


def missing(accounts: bool) -> str | None:
    """Say what is missing, with the way out; None if Slurm can be started."""
    scripts = find_scripts()
    if scripts is None or not scripts.is_dir():
        return f"there is no {SCRIPTS} in a directory shared/ beside the repository: set TEST_SCHEDULERS to its path"
    if os.geteuid() != 0:
        return "its daemons need root"
    needed = PROGRAMS | (ACCOUNTING if accounts else {})
    lacking = sorted({package for program, package in needed.items() if shutil.which(program, path=SEARCHED) is None})
    return f"apt-get install -y --no-install-recommends {' '.join(lacking)}" if lacking else None


@dataclass(frozen=True)
class Cluster:
    """A Slurm that runs."""

    state: Path
    folder: Path  # for files of its tasks

    @property
    def environment(self) -> dict[str, str]:
        """Give the variables with which Slurm's programs find it."""
        return {"SLURM_CONF": f"{self.state}/etc/slurm.conf", "MYSQL_UNIX_PORT": f"{self.state}/run/mysql.sock", "PATH": SEARCHED}

    def scheduler(self, **more: str) -> CommandScheduler:
        """Give a scheduler that has learnt what the cluster allows; ``more`` variables may be in its environment."""

        def here(command: Command) -> Output:
            return run(command._replace(environment={**self.environment, **more, **command.environment}))

        made = CommandScheduler(Slurm(), here)
        made.learn()
        return made

    def call(self, *argv: str) -> str:
        """Run one of Slurm's programs and give what it prints."""
        done = run(Command(argv, "", self.environment))
        assert done.status == 0, f"{argv} ended with {done.status}: {done.stderr}"
        return done.stdout

    def signal(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal to a daemon; where that ends it, wait for that."""
        pid = int((self.state / "run" / f"{daemon}.pid").read_text())
        assert Path(f"/proc/{pid}/comm").read_text().strip() == daemon
        os.kill(pid, number)
        if number in (signal.SIGTERM, signal.SIGKILL):
            wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def start(self, daemon: str, *arguments: str) -> None:
        """Start a daemon again, and wait until it answers."""
        subprocess.run([daemon, *arguments], env={**os.environ, **self.environment}, check=True, stdin=subprocess.DEVNULL, timeout=STARTING)
        asked = ("sacctmgr", "-n", "show", "cluster") if daemon == "slurmdbd" else ("scontrol", "ping")
        wait_until(lambda: run(Command(asked, "", self.environment)).status == 0)

    def restart_without_memory(self) -> None:
        """Start the controller as after the loss of what it knew: no task is known to it any more."""
        self.signal("slurmctld", signal.SIGTERM)
        self.start("slurmctld", "-c")


def wait_until(so: Callable[[], bool]) -> None:
    """Wait for something; fail after a while."""
    deadline = time.monotonic() + ENDING
    while not so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextlib.contextmanager
def started(state: Path, accounts: bool, more: str = "", nodes: int = 3) -> Iterator[Cluster]:
    """Start a Slurm by its script, with more lines in its configuration, and stop it at the end."""
    scripts, port = find_scripts(), free_ports(20)
    assert scripts is not None
    state.mkdir()
    (state / "tasks").mkdir()
    settings = {"PORT": str(port), "ACCT": str(int(accounts)), "EXTRA": CONFIGURATION + more, "NODES": str(nodes)}
    try:
        _script(scripts / "slurm-up.sh", state, **settings)
        yield Cluster(state, state / "tasks")
    finally:
        _script(scripts / "slurm-down.sh", state)


def _script(script: Path, state: Path, **settings: str) -> None:
    log = state / f"{script.stem}.out"
    with log.open("w") as stream:  # a daemon would hold a pipe open
        done = subprocess.run(
            [str(script), str(state)],
            env={**os.environ, "PATH": SEARCHED, "SLURM_CONF": f"{state}/etc/slurm.conf", **settings},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=STARTING,
            check=False,
        )
    assert done.returncode == 0, f"{script.name} ended with {done.returncode}:\n{log.read_text()}"


@contextlib.contextmanager
def cluster(name: str, accounts: bool = False, more: str = "", nodes: int = 3) -> Iterator[Cluster]:
    """Start a Slurm in a directory of its own, or skip the test where it can't be."""
    lacking = missing(accounts)
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Slurm: {lacking}")
    beside = Path(tempfile.gettempdir()).parents[1]  # munged wants directories that everybody may enter, and the session's are its own
    with tempfile.TemporaryDirectory(prefix="jl-", dir=beside, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        with started(Path(folder) / name, accounts, more, nodes) as made:
            yield made


@pytest.fixture(scope="session")
def slurm(isolated_session: None) -> Iterator[Cluster]:
    """Give a Slurm without accounting, whose finished jobs are noted in a file."""
    with cluster("plain") as made:
        yield made


@pytest.fixture(scope="session")
def slurm_accounts(isolated_session: None) -> Iterator[Cluster]:
    """Give a Slurm with accounting."""
    with cluster("accounts", accounts=True) as made:
        yield made
