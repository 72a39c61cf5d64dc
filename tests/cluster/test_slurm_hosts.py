"""Slurm over machines that share no directory, of which one loses its power and another its cable in the middle of a run."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from cluster.slurm_server import find_scripts, missing  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FLOW: Final = Path(__file__).with_name("flow.py")
STORE: Final = "file:/persist/store"
PATIENCE: Final = 100.0


class Hosts:
    """A head, and three nodes with a slurmd each."""

    def __init__(self, state: Path, scripts: Path) -> None:
        self.state, self._scripts = state, scripts

    def script(self, name: str, *words: str, **settings: str) -> str:
        """Run one of the scripts; what it prints goes to a file, since what stays up would hold a pipe open."""
        log = self.state.parent / "script.log"
        with log.open("w") as stream:
            command = [str(self._scripts / name), str(self.state), *words]
            done = subprocess.run(
                command, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=90
            )
        assert done.returncode == 0, log.read_text()
        return log.read_text()

    def lead(self, *more: str) -> "subprocess.Popen[str]":
        """Start a leader on the head; its store is on the head's own disk."""
        words = [sys.executable, str(FLOW), STORE, "naps", "--where", "/tmp", "--batch-system", "slurm", "--file-workers", "leader"]
        words += ["--ship-env", "never", "--worker-python", sys.executable, "--progress", "plain", "--task-seconds", "0", *more]
        command = [str(self._scripts / "hosts.sh"), str(self.state), "run", "head", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def nodes(self) -> list[str]:
        """Name the nodes on which tasks run."""
        return self.script("hosts.sh", "run", "head", "squeue", "-h", "-t", "R", "-o", "%N").split()

    def begun(self) -> int:
        """Count the tasks that have claimed their orders, and of which the leader still waits for something."""
        return len(self.script("hosts.sh", "run", "head", "find", "/persist/store/tasks", "-path", "*/begun/*", "-type", "f").split())


@pytest.fixture
def machines(isolated_session: None) -> Iterator[Hosts]:
    lacking = missing(accounts=False)
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Slurm: {lacking}")
    scripts = find_scripts()
    assert scripts is not None
    folder = Path(tempfile.mkdtemp(prefix="slurm-hosts-"))
    made = Hosts(folder / "S", scripts)
    seen = " ".join(dict.fromkeys(path for path in (str(REPOSITORY), sys.prefix) if path.startswith("/tmp/")))
    try:
        made.script("slurm-hosts.sh", "up", SHARED="", SEE=seen, CPUS="2", NET="10.93.0")
        yield made
    finally:
        switch = made.state / "run" / "switch.pid"
        waiting = psutil.Process(int(switch.read_text())).children() if switch.exists() else []
        made.script("hosts.sh", "down")
        for process in waiting:  # it has no process namespace that would take them along
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.unsteady  # beside all other tests, its tasks did not begin in two of two runs; alone they do
def test_a_plug_is_pulled_and_a_cable_cut(machines: Hosts) -> None:
    leader = machines.lead("--count", "6", "--seconds", "15")
    deadline = time.monotonic() + PATIENCE
    while set(machines.nodes()) != {"n1", "n2", "n3"} or machines.begun() < 6:
        assert time.monotonic() < deadline, leader.communicate()
        time.sleep(0.2)
    time.sleep(2)  # for their jobs to begin
    machines.script("hosts.sh", "off", "n2")
    machines.script("hosts.sh", "cut", "n3")
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == str([f"nap{number}" for number in range(6)])
    assert "(lost) on n2" in errors, errors
    assert "NODE_FAIL" in errors, errors
    machines.script("hosts.sh", "join", "n3")
