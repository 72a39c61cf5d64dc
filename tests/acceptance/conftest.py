"""Workflows run as a user runs them: a script file, a process, a job store."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

GUARD = """
if __name__ == "__main__":
    parser = jobsys.argument_parser()
    args = parser.parse_args()
    print(jobsys.run(main(), args))
"""


@dataclass
class Workflow:
    """A script in a directory of its own."""

    directory: Path
    script: Path
    store: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *options: str, store: str | None = None, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.script), store or str(self.store), "--progress", "off", *options]
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
        )
        self.started.append(process)
        return process

    def run(self, *options: str, store: str | None = None, timeout: float = 90, **environment: str) -> tuple[int, str, str]:
        process = self.start(*options, store=store, **environment)
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err

    def side(self, name: str = "side") -> list[str]:
        """Read the lines that jobs left outside of the store."""
        path = self.directory / name
        return path.read_text().split() if path.exists() else []

    def processes(self) -> list[psutil.Process]:
        """Find every process that belongs to this workflow: they all carry the directory's name."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.directory) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    @staticmethod
    def wait_until(condition: Callable[[], object], timeout: float = 30) -> None:
        """Wait for something that must happen."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    def wait_for_no_process(self, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {[process.cmdline() for process in left]}"
            time.sleep(0.05)


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Callable[..., Workflow]]:
    made: list[Workflow] = []

    def write(source: str, name: str = "flow.py", guard: str = GUARD) -> Workflow:
        script = tmp_path / name
        script.write_text("import jobsys, os, time, sys\n" + source + guard)
        made.append(Workflow(tmp_path, script, tmp_path / "store"))
        return made[-1]

    yield write
    for each in made:
        for process in each.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        each.wait_for_no_process()
