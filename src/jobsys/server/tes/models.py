"""The wire models of TES 1.1.0, as strict as its OpenAPI document and the rules in its prose.

Source: https://github.com/ga4gh/task-execution-schemas, tag v1.1. What a client may not set (``id``, ``state``, ``logs``,
``creation_time``) is no field of a request: it is ignored there.
"""

import posixpath
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, model_validator

from jobsys.server.states import RunState

WILDCARDS: Final = frozenset("*?[")
"""Characters that make a path a pattern, by POSIX 2.13.1."""


class TesView(StrEnum):
    """How much of a task is shown."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


TesState = RunState


class TesFileType(StrEnum):
    """What an input or output is."""

    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


def _printable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return _text(text)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not hold half of a character (a lone surrogate)") from error
    return text


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    if ".." in path.split("/"):
        raise ValueError("must not hold '..'")
    return path


def _beneath_root(path: str) -> str:
    if posixpath.normpath(path) in {"/", "//"}:
        raise ValueError("must not be the root directory")
    return path


def _without_null(tags: Any) -> Any:
    """Drop keys without a value: clients send them."""
    return {key: value for key, value in tags.items() if value is not None} if isinstance(tags, dict) else tags


Text = Annotated[str, AfterValidator(_printable)]
Named = Annotated[Text, StringConstraints(min_length=1)]
AbsolutePath = Annotated[Text, AfterValidator(_absolute)]
FilePath = Annotated[AbsolutePath, AfterValidator(_beneath_root)]
Variable = Annotated[Text, StringConstraints(min_length=1, pattern=r"^[^=]+$")]
TagKey = Annotated[Text, StringConstraints(max_length=255)]
Tags = Annotated[dict[TagKey, Text], BeforeValidator(_without_null)]
FileType = Annotated[TesFileType, Field(strict=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Cores = Annotated[Amount, PlainSerializer(lambda number: int(number) if number == int(number) else number, return_type=int | float)]


class _Model(BaseModel):
    """Takes no number for a text, and no text for a number; what it does not know it leaves out."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TesInput(_Model):
    """A file or directory that is there before the first executor starts."""

    name: Text | None = None
    description: Text | None = None
    url: Text | None = None
    path: FilePath
    type: FileType = TesFileType.FILE
    content: Annotated[str, AfterValidator(_text)] | None = None
    streamable: bool | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> "TesInput":
        if not self.url and self.content is None:
            raise ValueError("needs a url or content")
        if self.content is not None and self.type is TesFileType.DIRECTORY:
            raise ValueError("content makes a FILE, not a DIRECTORY")
        if self.type is TesFileType.FILE and self.path.endswith("/"):
            raise ValueError("the path of a FILE must not end with '/'")
        return self


class TesOutput(_Model):
    """A file or directory, or all that a pattern matches, that is stored at a URL behind the last executor."""

    name: Text | None = None
    description: Text | None = None
    url: Named
    path: FilePath
    path_prefix: AbsolutePath | None = None
    type: FileType = TesFileType.FILE

    @model_validator(mode="after")
    def _has_a_prefix(self) -> "TesOutput":
        pattern = not WILDCARDS.isdisjoint(self.path)
        if pattern and not self.path_prefix:
            raise ValueError("a path with wildcards needs a path_prefix")
        if pattern and not self.path.startswith(self.path_prefix or ""):
            raise ValueError("path_prefix is no prefix of the path")
        if self.type is TesFileType.FILE and self.path.endswith("/"):
            raise ValueError("the path of a FILE must not end with '/'")
        return self


class TesResources(_Model):
    """What a task needs; cores may be fractions, as in the coming version 1.2."""

    cpu_cores: Cores | None = None
    preemptible: bool | None = None
    ram_gb: Amount | None = None
    disk_gb: Amount | None = None
    zones: list[Text] | None = None
    backend_parameters: dict[Text, Text] | None = None
    backend_parameters_strict: bool | None = None


class TesExecutor(_Model):
    """A command in an image."""

    image: Named
    command: Annotated[list[Text], Field(min_length=1)]
    workdir: AbsolutePath | None = None
    stdin: FilePath | None = None
    stdout: FilePath | None = None
    stderr: FilePath | None = None
    env: dict[Variable, Text] | None = None
    ignore_error: bool | None = None


class TesExecutorLog(_Model):
    """What became of an executor that was started."""

    start_time: str | None = None
    end_time: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int


class TesOutputFileLog(_Model):
    """A file that was stored; the size is a text, by the specification."""

    url: str
    path: str
    size_bytes: str


class TesTaskLog(_Model):
    """An attempt to run a task."""

    logs: list[TesExecutorLog] = []
    metadata: dict[str, str] | None = None
    start_time: str | None = None
    end_time: str | None = None
    outputs: list[TesOutputFileLog] = []
    system_logs: list[str] | None = None


class TesTaskRequest(_Model):
    """A task as a client describes it."""

    name: Text | None = None
    description: Text | None = None
    inputs: list[TesInput] | None = None
    outputs: list[TesOutput] | None = None
    resources: TesResources | None = None
    executors: Annotated[list[TesExecutor], Field(min_length=1)]
    volumes: list[FilePath] | None = None
    tags: Tags | None = None


class TesTask(_Model):
    """A task as it is shown. In the view MINIMAL there is its id and state only."""

    id: str
    state: Annotated[RunState, Field(strict=False)]
    name: str | None = None
    description: str | None = None
    inputs: list[dict[str, Any]] | None = None
    outputs: list[TesOutput] | None = None
    resources: TesResources | None = None
    executors: list[TesExecutor] | None = None
    volumes: list[str] | None = None
    tags: dict[str, str] | None = None
    logs: list[TesTaskLog] | None = None
    creation_time: str | None = None


class MinimalTesTask(BaseModel):
    """A task in the view MINIMAL."""

    model_config = ConfigDict()

    id: str
    state: str


class TesListTasksFilter(BaseModel):
    """Which tasks are listed, and how much of each."""

    model_config = ConfigDict()

    name_prefix: str | None = None
    state: RunState | None = None
    tag_key: list[str] | None = None
    tag_value: list[str] | None = None
    view: TesView = TesView.MINIMAL


class TesListTasksResponse(_Model):
    """A page of tasks; without a token it is the last one."""

    tasks: list[TesTask]
    next_page_token: str | None = None


class TesCreateTaskResponse(_Model):
    """The id of a task that was accepted, and is kept whatever happens from now on."""

    id: str


class TesCancelTaskResponse(_Model):
    """Nothing."""


class ServiceType(_Model):
    """What kind of service this is."""

    group: Literal["org.ga4gh"] = "org.ga4gh"
    artifact: Literal["tes"] = "tes"
    version: str


class Organization(_Model):
    """Who runs the service."""

    name: str
    url: str


class TesServiceInfo(_Model):
    """What the service is and can do, by GA4GH service-info 1.0.0 and TES 1.1."""

    id: str
    name: str
    type: ServiceType
    description: str | None = None
    organization: Organization
    contactUrl: str | None = None
    documentationUrl: str | None = None
    createdAt: str | None = None
    updatedAt: str | None = None
    environment: str | None = None
    version: str
    storage: list[str] | None = None
    tesResources_backend_parameters: list[str] | None = None
