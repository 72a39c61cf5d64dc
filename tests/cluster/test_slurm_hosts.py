"""Slurm over machines that share no directory, of which one loses its power and another its cable in the middle of a run."""

import contextlib
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
NODES: Final = ("n1", "n2", "n3")
PATIENCE: Final = 150.0


class Hosts:
    """A head, and three nodes with a slurmd each."""

    def __init__(self, state: Path, scripts: Path) -> None:
        self.state, self._scripts = state, scripts
        self._leader: subprocess.Popen[str] | None = None

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
        words += ["--env", "JOBSYS_CACHE=/tmp/cache"]  # a host's own: this machine's, which lies below it, changes meanwhile
        command = [str(self._scripts / "hosts.sh"), str(self.state), "run", "head", *words]
        pipe = subprocess.PIPE
        self._leader = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        return self._leader

    def down(self) -> None:
        """End all; where the leader was still at work, show what it and Slurm had to say."""
        left = self._leader if self._leader is not None and self._leader.returncode is None else None
        if left is not None:
            print(self.script("hosts.sh", "run", "head", "sh", "-c", "squeue; sinfo -N; cat /var/log/slurm/slurmctld.log"))
        switch = self.state / "run" / "switch.pid"
        waiting = psutil.Process(int(switch.read_text())).children() if switch.exists() else []
        self.script("hosts.sh", "down")
        for process in waiting:  # it has no process namespace that would take them along
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if left is not None:
            print("the leader:", *left.communicate(), sep="\n")

    def begun(self, host: str) -> set[str]:
        """Name the jobs that have begun on a host."""
        found = self.script("hosts.sh", "run", host, "find", "/tmp", "-maxdepth", "1", "-name", "nap*", "-printf", "%f\\n")
        return {line.partition("-")[0] for line in found.splitlines()}


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
        spread = "SelectTypeParameters=CR_Core_Memory,CR_LLN"  # else one node after the other is filled up
        made.script("slurm-hosts.sh", "up", SHARED="", SEE=seen, CPUS="2", NET="10.93.0", EXTRA=spread)
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(3 * PATIENCE)
def test_a_plug_is_pulled_and_a_cable_cut(machines: Hosts) -> None:
    leader = machines.lead("--count", "4", "--seconds", "300")
    deadline = time.monotonic() + PATIENCE
    while not all((found := [machines.begun(host) for host in NODES])[1:]) or len(set().union(*found)) < 4:
        assert time.monotonic() < deadline, f"only these jobs have begun: {found}"
        assert leader.poll() is None, leader.communicate()
        time.sleep(0.2)
    machines.script("hosts.sh", "off", "n2")
    machines.script("hosts.sh", "cut", "n3")
    machines.script("hosts.sh", "run", "n1", "touch", "/tmp/enough")
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == str([f"nap{number}" for number in range(4)])
    assert "(lost) on n2" in errors, errors
    assert "(lost) on n3" in errors, errors
    assert "NODE_FAIL" in errors, errors
    machines.script("hosts.sh", "join", "n3")
