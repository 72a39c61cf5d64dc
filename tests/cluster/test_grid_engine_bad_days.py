"""Whole workflows on a real Grid Engine where an operator interferes, a host loses its power, qmaster is away."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.grid_engine_server import SEARCHED  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]
from cluster.sites import grid_engine_site  # type: ignore[import-not-found]


class Daemons:
    """Those of a Grid Engine: they can be killed, and started again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._pids = Path(environment["SGE_ROOT"]).parent / "run"

    def kill(self, name: str) -> None:
        """Kill a daemon and all that it has started."""
        daemon = psutil.Process(int((self._pids / f"{name}.pid").read_text()))
        assert daemon.name() == f"sge_{name}"
        for process in [daemon, *daemon.children(recursive=True)]:
            process.send_signal(signal.SIGKILL)
        daemon.wait(10)

    def start(self, name: str) -> None:
        """Start a daemon again."""
        file = {f"SGE_{name.upper()}_PIDFILE": str(self._pids / f"{name}.pid")}
        environment = {**os.environ, **self._environment, **file, "PATH": f"{self._environment['PATH']}:{SEARCHED}"}
        subprocess.run([f"sge_{name}"], env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)

    def call(self, *words: str) -> str:
        """Run a tool as an operator."""
        environment = {**os.environ, **self._environment}
        return subprocess.run(words, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    def tasks(self) -> list[str]:
        """Name the tasks that wait or run."""
        rows = [line.split() for line in self.call("qstat", "-u", "*").splitlines()[2:]]
        return [f"{row[0]}.{row[-1]}" for row in rows]


@pytest.fixture
def daemons(grid_engine: dict[str, str]) -> Daemons:
    return Daemons(grid_engine)


@pytest.fixture
def site(grid_engine: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    with grid_engine_site(grid_engine, tmp_path) as used:
        yield used
        used.end()


def test_an_operator_starts_a_task_again_and_its_host_loses_its_power(site: Site, daemons: Daemons) -> None:
    def interfere() -> None:
        first, *_ = daemons.tasks()
        daemons.call("qmod", "-f", "-rj", first)
        daemons.kill("execd")
        daemons.start("execd")

    site.until(lambda: not daemons.tasks(), "tasks of earlier tests do not end")
    told = check.check_runs_again(site, interfere, "lost")
    assert any("before writing exit_status" in message for message in told), told


def test_qmaster_dies_and_comes_back(site: Site, daemons: Daemons) -> None:
    check.check_scheduler_is_away(site, lambda: daemons.kill("qmaster"), lambda: daemons.start("qmaster"), 3.0)
