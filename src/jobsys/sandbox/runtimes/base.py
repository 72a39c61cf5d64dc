"""The seam between a sandbox and what makes one: a container runtime of the host, or bubblewrap."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobsys.sandbox.layout import Bind
from jobsys.sandbox.spec import Limits


class ImageError(Exception):
    """An image can't be had; the text says why, and what can be done."""


class Start(NamedTuple):
    """An executor that is to be started."""

    name: str  # of the sandbox, unique on the host
    image: str
    command: Sequence[str]
    workdir: str  # empty: the image's
    env: Mapping[str, str]
    binds: Sequence[Bind]
    tree: str  # the directory on the host below which all that is bound lies
    limits: Limits
    shell: bool  # a command of one word that is no program goes through the shell


class Command(NamedTuple):
    """What to run on the host, or the exit status of a program that can't be run."""

    argv: Sequence[str]
    status: int = 0
    message: str = ""


class Runtime(ABC):
    """Runs commands in images. Called by one thread of one worker process."""

    name: str

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Say what keeps it from working on this host; an empty text if it works."""

    @abstractmethod
    def prepare(self, image: str) -> str:
        """Have an image here; give what people should know of it, or an empty text.

        Raises:
            ImageError: it can't be had.
        """

    @abstractmethod
    def command(self, start: Start) -> Command:
        """Say how an executor is started: its streams, its exit status and its death are those of that process."""

    def stop(self, name: str) -> None:  # noqa: B027 - with its process all is gone, where it is one
        """End what is left of an executor behind its process."""
