"""Runs the commands of a scheduler's text functions: with a limit of time, in the C locale, what they print decoded whatever it is."""

import os
import subprocess
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final, TypeVar

from jobsys.batch.cluster.scheduler import Ask, Command, Output, PassingError, Scheduler, Seen, Steps, TaskId, TextScheduler
from jobsys.errors import BatchSystemError
from jobsys.requirements import Requirements

T = TypeVar("T")

SECONDS: Final = 120.0
"""After which a command is ended that does not answer."""


def run(command: Command, seconds: float = SECONDS) -> Output:
    """Run a command and wait for its end.

    Raises:
        PassingError: it does not end in time.
        BatchSystemError: there is no such program.
    """
    own = {name: value for name, value in os.environ.items() if any(fnmatchcase(name, pattern) for pattern in command.inherits)}
    changed = {**own, "LC_ALL": "C.UTF-8", **command.environment}
    environment = {name: value for name, value in changed.items() if value is not None}
    try:
        done = subprocess.run(
            list(command.argv),
            input=command.input.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=seconds,
            env=environment,
            check=False,
            start_new_session=True,  # a Ctrl-C is for the leader, which cancels what there is
        )
    except subprocess.TimeoutExpired as error:
        raise PassingError(f"{command.argv[0]} did not end within {seconds:g} s") from error
    except FileNotFoundError as error:
        way = "run the script on a host from which jobs can be submitted, or choose another --batch-system"
        raise BatchSystemError(f"there is no program {command.argv[0]!r} on this machine: {way}") from error
    except OSError as error:  # E2BIG too: what is large must go through the input
        raise BatchSystemError(f"{command.argv[0]} can't be started: {error.strerror}") from error
    return Output(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def drive(steps: Steps[T], run: Callable[[Command], Output] = run) -> T:
    """Go through a text function: run what it yields, tell it what came back, and return what it makes of that."""
    try:
        command = next(steps)
        while True:
            command = steps.send(run(command))
    except StopIteration as end:
        found: T = end.value
        return found


class CommandScheduler(Scheduler):
    """A scheduler whose text functions are driven with real commands."""

    def __init__(self, text: TextScheduler, run: Callable[[Command], Output] = run) -> None:
        """Take the text functions."""
        self.text = text
        self.name, self.settings, self.most, self.enforces = text.name, text.settings, text.most, text.enforces
        self.index, self.first = text.index, text.first
        self._run = run

    def learn(self) -> None:
        """Ask the cluster what it allows."""
        drive(self.text.learn(), self._run)
        self.most = self.text.most

    def check(self, requirements: Requirements) -> str:
        """Say why no host of this cluster can ever run such a task."""
        return drive(self.text.check(requirements), self._run)

    def submit(self, ask: Ask) -> str:
        """Ask for tasks."""
        return drive(self.text.submit(ask), self._run)

    def find(self, name: str) -> str | None:
        """Find tasks by name."""
        return drive(self.text.find(name), self._run)

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Look at tasks."""
        return drive(self.text.look(tasks), self._run) if tasks else {}

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks."""
        if tasks:
            drive(self.text.cancel(tasks), self._run)

    def close(self) -> None:
        """Let go of what was kept for tasks that have ended."""
        drive(self.text.close(), self._run)
