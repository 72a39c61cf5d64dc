"""A cluster as a user of it sees it, for the tests of whole workflows: how jobsys is told to use it, and what can be done to it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLOW = Path(__file__).with_name("flow.py")
PATIENCE = 120.0


@dataclass
class Site:
    """What differs from one scheduler to the other."""

    name: str  # for --batch-system
    environment: Mapping[str, str]
    queued: Callable[[], list[str]]  # native ids of tasks that wait or run
    cancel: Callable[[str], Any]  # by the scheduler's own tool, as somebody else would
    options: Sequence[str] = ()
    folder: Path = field(default_factory=Path)  # that leader and tasks share
    prefix: Sequence[str] = ()  # of the leader's command
    address: str = ""  # by which tasks reach the leader's server of the store; else they share its directory
    python: str = sys.executable  # the leader's
    nap: float = 4  # seconds: how long jobs sleep, to which something is to happen meanwhile
    _leaders: list["subprocess.Popen[str]"] = field(default_factory=list)

    def words(self, store: str, what: str, *more: str) -> list[str]:
        """Write the command line of a leader."""
        words = [*self.prefix, self.python, str(FLOW), store, what, "--where", str(self.ran), "--batch-system", self.name]
        return [*words, "--ship-env", "never", "--worker-python", self.python, "--progress", "plain", *self.options, *more]

    @property
    def ran(self) -> Path:
        """Where jobs write down that they ran."""
        path = self.folder / "ran"
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
        return path

    def is_task(self, words: Sequence[str], store: str) -> bool:
        """Tell whether a process with this command line is a task that works on a store."""
        at = f"http://{self.address}:" if self.address else store
        return "jobsys.task" in words and any(word.startswith(at) for word in words)

    def start(self, words: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a leader."""
        leader = subprocess.Popen(
            list(words), env={**os.environ, **self.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._leaders.append(leader)
        return leader

    def end(self) -> None:
        """Kill leaders that a check has left, as it failed, and show what they had to say."""
        for leader in [each for each in self._leaders if each.returncode is None]:
            leader.kill()
            print(f"a leader that was left, started as {leader.args!r}, said:", *leader.communicate(), sep="\n")

    def run(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a leader to its end."""
        return subprocess.run(
            list(words), env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def jobsys(self, *words: str) -> Any:
        """Run a command and read its JSON."""
        done = self.run([*self.prefix, self.python, "-m", "jobsys", *words, "--json"])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def times(self, name: str) -> int:
        """Tell how often a job ran."""
        return len(list(self.ran.glob(f"{name}-*")))

    def until(self, what: Callable[[], Any], message: str) -> Any:
        """Wait for something."""
        deadline = time.monotonic() + PATIENCE
        while not (found := what()):
            assert time.monotonic() < deadline, message
            time.sleep(0.1)
        return found
