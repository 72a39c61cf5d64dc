"""A real Dask cluster for tests: a scheduler and workers, processes that can't import jobsys."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

PATIENCE: Final = 60.0
THREADS: Final = 2
WITHOUT_JOBSYS: Final = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "jobsys":
            raise ModuleNotFoundError(f"there is no {name} here", name=name)

sys.meta_path.insert(0, Absent())
"""


class Cluster:
    """A scheduler and its workers, for one session or one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        (folder / "path").mkdir(parents=True)
        (folder / "path" / "sitecustomize.py").write_text(WITHOUT_JOBSYS)

    def start(self, program: str, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        """Start one of Dask's programs."""
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments],
                cwd=self.folder,
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self.folder),
                    "TMPDIR": str(self.folder),
                    "PYTHONPATH": str(self.folder / "path"),
                    **more,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def scheduler(self) -> "subprocess.Popen[bytes]":
        """Start the scheduler on free ports, and wait until it can be asked."""
        process = self.start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file))
        deadline = time.monotonic() + PATIENCE
        while not (self.file.exists() and self.file.read_text().endswith("}")):
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "Dask's scheduler does not start"
            time.sleep(0.02)
        return process

    def worker(self, name: str, *arguments: str, threads: int = THREADS) -> "subprocess.Popen[bytes]":
        """Start a worker; nobody waits for it."""
        place = ("--host", "127.0.0.1", "--scheduler-file", str(self.file), "--local-directory", str(self.folder))
        return self.start(
            "dask_worker", *place, "--no-nanny", "--nthreads", str(threads), "--name", name, "--death-timeout", "60", *arguments
        )

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def stop(self) -> None:
        """End all of it, by pid: the workers, then their scheduler."""
        for first in (False, True):
            ending = [process for number, process in enumerate(self.processes) if (number == 0) == first]
            for process in ending:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            for process in ending:
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Give a cluster of one scheduler, which is up, and no workers."""
    made = Cluster(folder)
    try:
        made.scheduler()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def dask_cluster(isolated_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a cluster with two workers of two threads; one of them has an accelerator."""
    with cluster(tmp_path_factory.mktemp("dask")) as made:
        made.worker("plain")
        made.worker("mighty", "--resources", "GPU=1")
        yield made
