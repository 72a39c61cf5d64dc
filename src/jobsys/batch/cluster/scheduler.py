"""The seam between tasks and the scheduler of a cluster: equal tasks are asked for together, looked at together, canceled together.

A scheduler of the command line is a set of text functions, each a generator: it yields a `Command`, is sent its `Output`, and returns what
that means. It starts no process, knows no time but by a clock that it is given, and can be driven by a test with outputs that were kept.
"""

import math
import shlex
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

import msgspec

from jobsys.errors import BatchSystemError, UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.spelling import do_you_mean

T = TypeVar("T")


class PassingError(BatchSystemError):
    """The scheduler is out of order, or does not answer: the same may succeed later."""


class AskRefusedError(BatchSystemError):
    """The scheduler will never take these tasks; the text says why, in its own words, and what can be done."""


class Ask(msgspec.Struct, frozen=True):
    """Some equal tasks, as handed to a scheduler."""

    name: str  # unlike that of any other ask of anybody: [a-z0-9-], begins with a letter, 40 characters at most
    count: int  # of tasks; they are told apart by a number from 0 on
    requirements: Requirements  # of each task; walltime in seconds, None: the scheduler's own default
    script: str  # a program for /bin/sh, which finds its number in the variable that `TextScheduler.index` names
    log: str = ""  # a directory of this machine for what tasks print, which their hosts may not have; empty: it is thrown away
    title: str = ""  # what jobs they run, for people who look at the queue


class TaskState(StrEnum):
    """What a scheduler can say of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Seen(NamedTuple):
    """What a scheduler says of a task.

    A reason is given where the scheduler knows it: MEMORY, TIME_LIMIT, PREEMPTED, LOST (its host failed), CANCELED (by somebody else),
    KILLED (a signal), FAILED (the program's own exit status). None with ENDED: it exited with status 0, or nobody knows.
    """

    state: TaskState
    reason: Reason | None = None
    exit_status: int | None = None  # negative: the signal's number
    message: str = ""  # in the scheduler's words: why it waits, or ended
    host: str = ""
    queue: str = ""  # or partition


class TaskId(NamedTuple):
    """A task: the native id of all that were asked for together, and its number among them, from 0 on."""

    native: str
    number: int


class Command(NamedTuple):
    """A program to be run."""

    argv: Sequence[str]
    input: str = ""
    environment: Mapping[str, str | None] = {}  # over that of this process; None: without this variable
    inherits: Sequence[str] = ("*",)  # patterns of the variables that it gets of this process


class Output(NamedTuple):
    """What a program printed, and its exit status."""

    status: int
    stdout: str = ""
    stderr: str = ""


Steps = Generator[Command, Output, T]
"""A text function: commands out, outputs in, and what they mean at the end."""


class Setting(NamedTuple):
    """An option of one scheduler, given as ``--batch-option NAME=VALUE``."""

    name: str
    help: str
    default: str = ""


class Scheduler(ABC):
    """What runs tasks. Each method may take long; they are called from one thread, which is not the leader's."""

    name: str
    settings: Sequence[Setting] = ()
    most: int = 1000
    """How many tasks can be asked for at once."""
    enforces: frozenset[str] = frozenset({"walltime"})
    """Which of ``cores memory disk accelerators walltime`` it holds a task to."""
    index: str
    """The variable in which a task finds its number, counted from ``first``."""
    first: int = 0

    def learn(self) -> None:  # noqa: B027
        """Ask the cluster what it allows, and set `most` by that; comes before all else, and may be repeated.

        Raises:
            PassingError: it can't tell now.
        """

    @abstractmethod
    def check(self, requirements: Requirements) -> str:
        """Say why no host of this cluster can ever run such a task; empty if one can, or that can't be told."""

    @abstractmethod
    def submit(self, ask: Ask) -> str:
        """Ask for tasks; return the native id of all of them, as the scheduler's users know it.

        Raises:
            PassingError: nobody knows whether they were taken: `find` tells.
            AskRefusedError: they never will be.
        """

    @abstractmethod
    def find(self, name: str) -> str | None:
        """Find tasks by the name that they were asked for with; None if there are none, and none have ended lately.

        Raises:
            PassingError: it can't tell now.
        """

    @abstractmethod
    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Look at tasks by native id and numbers, all in one query where that can be; those that it does not know are not in the answer.

        Raises:
            PassingError: it can't tell now.
        """

    @abstractmethod
    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks by native id and numbers, None meaning all; those that have ended, or were never there, are no error.

        Raises:
            PassingError: it can't now.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of connections, and of what was kept for tasks that have ended; others run on, and it may be used again."""


class TextScheduler(ABC):
    """A scheduler of the command line, as text functions; see `Scheduler` for what each is to do and raises."""

    name: str
    settings: Sequence[Setting] = ()
    most: int = 1000
    enforces: frozenset[str] = frozenset({"walltime"})
    index: str
    """The variable in which a task finds its number, counted from ``first``."""
    first: int = 0

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Take the settings that were given.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        self.options = settings_of(self.name, self.settings, options or {})

    def learn(self) -> Steps[None]:
        """Ask the cluster what it allows."""
        yield from ()

    def check(self, requirements: Requirements) -> Steps[str]:  # noqa: ARG002
        """Say why no host can ever run such a task."""
        yield from ()
        return ""

    @abstractmethod
    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks."""

    @abstractmethod
    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name."""

    @abstractmethod
    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks."""

    @abstractmethod
    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""

    def close(self) -> Steps[None]:
        """Let go of what was kept for tasks that have ended."""
        yield from ()


def settings_of(scheduler: str, settings: Sequence[Setting], given: Mapping[str, str]) -> dict[str, str]:
    """Join what was given with the defaults.

    Raises:
        UsageError: there is no such setting.
    """
    known = {setting.name: setting.default for setting in settings}
    for name in given:
        if name not in known:
            meant = do_you_mean(name, known) or f"; there are {', '.join(sorted(known)) or 'none'}"
            raise UsageError(f"--batch-option {name}: {scheduler} has no such option{meant}")
    return known | dict(given)


def words_of(options: Mapping[str, str], name: str = "args") -> list[str]:
    """Split a setting into words, as a shell would.

    Raises:
        UsageError: a quotation mark has no other end.
    """
    try:
        return shlex.split(options[name])
    except ValueError as error:
        raise UsageError(f"--batch-option {name}={options[name]}: {error}") from error


def whole_cores(requirements: Requirements) -> int:
    """Give the cores that a scheduler is asked for, which knows no fractions."""
    return max(1, math.ceil(requirements.cores))


MIB: Final = 1 << 20


def mebibytes(size: int) -> int:
    """Give a size in MiB, rounded up."""
    return -(-size // MIB)


def ranges(numbers: Collection[int], first: int = 0) -> str:
    """Write numbers as ``1-3,7``, each raised by ``first``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{low + first}" if low == high else f"{low + first}-{high + first}" for low, high in found)
