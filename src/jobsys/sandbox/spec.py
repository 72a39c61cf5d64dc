"""What a sandbox is told, and what it tells: both ends of the format. A `Task` is read from a document of TES 1.1 as it is."""

from typing import Final, Literal

import msgspec

TAIL: Final = 10_000
"""Bytes of an executor's output that its log shows, from its end."""


class Input(msgspec.Struct, frozen=True):
    """A file or directory that is there before the first executor starts."""

    path: str
    url: str = ""
    content: str | None = None
    type: Literal["FILE", "DIRECTORY"] = "FILE"


class Output(msgspec.Struct, frozen=True):
    """A file or directory, or all that a pattern matches, and where it goes."""

    path: str
    url: str
    path_prefix: str = ""
    type: Literal["FILE", "DIRECTORY"] = "FILE"


class Executor(msgspec.Struct, frozen=True):
    """A command in an image."""

    image: str
    command: list[str]
    workdir: str = ""
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    env: dict[str, str] = {}
    ignore_error: bool = False


class Task(msgspec.Struct, frozen=True):
    """What runs, one executor after the other."""

    executors: list[Executor]
    inputs: list[Input] = []
    outputs: list[Output] = []
    volumes: list[str] = []


class Limits(msgspec.Struct, frozen=True):
    """What a task may use; None: as much as it likes."""

    cores: float = 1.0
    memory: int | None = None  # bytes, of all its processes together
    disk: int | None = None  # bytes, of all that it writes
    seconds: float | None = None
    accelerators: list[str] = []  # what the batch system has given it


class Site(msgspec.Struct, frozen=True):
    """What the people who run the service have decided."""

    runtime: str = "auto"
    images: str = ""  # a directory of unpacked images, for runtimes without a store of their own
    host_image: bool = True  # whether the host's own files stand in, read-only, for an image that is nowhere
    allowed: list[str] = []  # directories from which and into which ``file:`` URLs may lead
    tail: int = TAIL
    shell: bool = True  # a command of one word that is no program goes through the shell, as Funnel does it
    keep: bool = False  # leave the files of a task, for people to look at


class Order(msgspec.Struct, frozen=True):
    """One attempt at a task."""

    id: str
    attempt: int
    task: Task
    limits: Limits = Limits()
    site: Site = Site()
    logs: str = ""  # where whole logs go: a prefix of keys in the job store


class Staging(msgspec.Struct, frozen=True, tag="staging"):
    """A worker has the task, and brings its inputs."""

    time: float
    host: str


class Running(msgspec.Struct, frozen=True, tag="running"):
    """Inputs are there; the first executor starts."""

    time: float


class Started(msgspec.Struct, frozen=True, tag="started"):
    """An executor was started."""

    number: int
    time: float


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """What an executor has printed so far, from the end."""

    number: int
    stdout: str
    stderr: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """An executor ended."""

    number: int
    time: float
    exit_code: int
    stdout: str
    stderr: str


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """Something that people should know; a system log."""

    text: str


Said = Staging | Running | Started | Printed | Ended | Noted


class Stored(msgspec.Struct, frozen=True):
    """An output that was stored."""

    url: str
    path: str
    size_bytes: str


class Result(msgspec.Struct, frozen=True):
    """How an attempt ended."""

    state: Literal["COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR"]
    time: float
    reason: str = ""
    outputs: list[Stored] = []
    metadata: dict[str, str] = {}


encode: Final = msgspec.json.Encoder().encode
decode_order: Final = msgspec.json.Decoder(Order).decode
decode_said: Final = msgspec.json.Decoder(Said).decode
decode_result: Final = msgspec.json.Decoder(Result).decode
