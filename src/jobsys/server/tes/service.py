"""What the TES API does, apart from HTTP: the five operations on the database."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobsys.server import tasks
from jobsys.server.auth.base import Access, Caller, owner_filter
from jobsys.server.batching import Batcher
from jobsys.server.database import Database, page_key
from jobsys.server.paging import PageTokenError, make_token, read_token
from jobsys.server.settings import Settings
from jobsys.server.states import CANCELABLE, RunState
from jobsys.server.tasks import KeyConflictError, NewTask, Task
from jobsys.server.tes.constants import API_VERSION, PoiesisApiConstants
from jobsys.server.tes.convert import rfc3339, shown
from jobsys.server.tes.exceptions import BadRequestException, ConflictException, DBException, NotFoundException
from jobsys.server.tes.models import Organization, ServiceType, TesListTasksFilter, TesServiceInfo, TesTaskRequest, TesView
from jobsys.version import VERSION

PAGE: Final = 256
LARGEST_PAGE: Final = 2048
BACKEND_PARAMETERS: Final = ("max_retries", "max_runtime_s")
"""What ``backend_parameters`` may say, in lower case; each is a whole number."""


class TaskService:
    """The operations, for one process of a server."""

    def __init__(self, database: Database, settings: Settings, access: Access, clock: Callable[[], float] = time.time) -> None:
        """Serve the tasks of a database that was made by ``init_db``."""
        self._database = database
        self._settings = settings
        self._access = access
        self._clock = clock
        self._key = page_key(database)
        self._started = clock()
        self._submissions: Batcher[NewTask, str | KeyConflictError] = Batcher(self._submit, "submissions")

    def close(self) -> None:
        """Write what was submitted, and end."""
        self._submissions.close()

    # ── the operations ───────────────────────────────────────────────────────────────────────────────────────────────

    def service_info(self) -> TesServiceInfo:
        """Tell what this service is and can do."""
        settings = self._settings
        return TesServiceInfo(
            id=settings.name,
            name=settings.name,
            type=ServiceType(version=API_VERSION),
            description="runs commands in containers, and on whatever batch system jobsys reaches",
            organization=Organization(name=settings.organization, url=settings.organization_url),
            contactUrl=settings.contact_url or None,
            createdAt=rfc3339(self._started),
            updatedAt=rfc3339(self._started),
            version=VERSION,
            tesResources_backend_parameters=list(BACKEND_PARAMETERS),
        )

    def create(self, caller: Caller, request: TesTaskRequest, key: str = "") -> "Future[str | KeyConflictError]":
        """Keep a task; the future gives its id once it is durable, and what ``created`` makes of it.

        Raises:
            BadRequestException: the task can't be run by this service.
        """
        document = request.model_dump(mode="json", exclude_none=True)
        warnings = self._check(request, document)
        document.setdefault("name", PoiesisApiConstants.Task.NAME)
        text = tasks.encode(document)
        digest = hashlib.sha256(text).hexdigest() if key else ""
        new = NewTask(caller.name, document["name"], text, request.tags or {}, warnings, key, digest)
        return self._submissions.put(new)

    def get(self, caller: Caller, id: str, view: TesView) -> dict[str, Any]:
        """Show a task.

        Raises:
            NotFoundException: there is none, or it is not the caller's to see.
        """
        with self._database.reading() as connection:
            task = self._found(connection, caller, id)
            found = {} if view is TesView.MINIMAL else tasks.attempts(connection, [task.seq])
        return shown(task, found.get(task.seq, []), view)

    def listed(self, caller: Caller, wanted: TesListTasksFilter, page_size: int | None, page_token: str | None) -> dict[str, Any]:
        """Show a page of tasks, the newest first.

        Raises:
            BadRequestException: the filters or the token make no sense.
        """
        if page_size is not None and page_size < 1:
            raise BadRequestException("page_size must be 1 or more", [{"field": "page_size", "problem": "must be 1 or more"}])
        size = min(page_size or PAGE, LARGEST_PAGE)
        filters = tasks.Filter(owner_filter(self._access, caller), wanted.name_prefix or "", wanted.state, _tags(wanted))
        try:
            before = read_token(self._key, filters, page_token) if page_token else None
        except PageTokenError as error:
            raise BadRequestException(str(error), [{"field": "page_token", "problem": str(error)}]) from error
        with self._database.reading() as connection:
            found = tasks.page(connection, filters, size + 1, before)
            some = found[:size]
            logs = {} if wanted.view is TesView.MINIMAL else tasks.attempts(connection, [task.seq for task in some])
        answer: dict[str, Any] = {"tasks": [shown(task, logs.get(task.seq, []), wanted.view) for task in some]}
        if len(found) > size:
            answer["next_page_token"] = make_token(self._key, filters, some[-1].seq)
        return answer

    def cancel(self, caller: Caller, id: str) -> None:
        """Have a task end soon; one that has ended stays what it is.

        Raises:
            NotFoundException: there is none, or it is not the caller's.
        """
        now = self._clock()
        with self._database.writing() as connection:
            task = self._found(connection, caller, id)
            if not tasks.move(connection, task.seq, RunState.CANCELED, now, "canceled before it began", {RunState.QUEUED}):
                tasks.move(connection, task.seq, RunState.CANCELING, now, "canceled", CANCELABLE)

    # ── what they need ───────────────────────────────────────────────────────────────────────────────────────────────

    def _submit(self, new: Sequence[NewTask]) -> list[str | KeyConflictError]:
        try:
            with self._database.writing() as connection:
                return tasks.submit(connection, new, self._clock())
        except SQLAlchemyError as error:
            raise DBException("the task could not be kept: the database failed") from error

    def _found(self, connection: Connection, caller: Caller, id: str) -> Task:
        task = tasks.find(connection, id, owner_filter(self._access, caller)) if "\0" not in id else None
        if task is None:
            raise NotFoundException(f"there is no task {id!r}")
        return task

    def _check(self, request: TesTaskRequest, document: dict[str, Any]) -> list[str]:
        """Refuse what can't be run here; drop and report what is not supported. Changes ``document``."""
        found, warnings = [], []
        for number, each in enumerate(request.inputs or ()):
            size = len((each.content or "").encode())
            if size > self._settings.max_content:
                found.append({"field": f"inputs[{number}].content", "problem": f"is larger than {self._settings.max_content} bytes"})
            if each.content is not None and each.url:
                warnings.append(f"inputs[{number}]: content is used, url is ignored")
        resources = request.resources
        if resources is not None and resources.backend_parameters:
            unknown = sorted(key for key in resources.backend_parameters if key.lower() not in BACKEND_PARAMETERS)
            if unknown and resources.backend_parameters_strict:
                problem = f"not supported: {', '.join(unknown)}; there are {', '.join(BACKEND_PARAMETERS)}"
                found.append({"field": "resources.backend_parameters", "problem": problem})
            warnings += [f"backend parameter {key!r} is not supported, and was left out" for key in unknown]
            known = _known(resources.backend_parameters)
            wrong = sorted(key for key, value in known.items() if not (value.isascii() and value.isdigit()))
            found += [{"field": f"resources.backend_parameters.{key}", "problem": "must be a whole number"} for key in wrong]
            document["resources"]["backend_parameters"] = known
        if found:
            text = "; ".join(f"{each['field']}: {each['problem']}" for each in found)
            raise BadRequestException(f"the task can't be run here: {text}", found)
        return warnings


def created(answer: str | KeyConflictError) -> str:
    """Give the id out of what ``create`` came to.

    Raises:
        ConflictException: the key was used before for something else.
    """
    if isinstance(answer, KeyConflictError):
        raise ConflictException(f"the Idempotency-Key {answer} was used before, for another request")
    return answer


def _known(parameters: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if key.lower() in BACKEND_PARAMETERS}


def _tags(wanted: TesListTasksFilter) -> tuple[tuple[str, str], ...]:
    keys, values = wanted.tag_key or [], wanted.tag_value or []
    if len(values) > len(keys):
        raise BadRequestException("there are more tag_value than tag_key", [{"field": "tag_value", "problem": "has no tag_key"}])
    return tuple(zip(keys, [*values, *([""] * (len(keys) - len(values)))], strict=True))
