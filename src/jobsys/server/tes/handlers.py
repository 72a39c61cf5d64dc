"""The five operations of TES over HTTP. The names are those of the specification's operations."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from jobsys.server.auth.base import Caller, NotRecognisedError
from jobsys.server.states import RunState
from jobsys.server.tes.convert import pydantic_to_dict_response
from jobsys.server.tes.exceptions import UnauthorizedException, UnsupportedMediaTypeException
from jobsys.server.tes.models import (
    TesCancelTaskResponse,
    TesCreateTaskResponse,
    TesListTasksFilter,
    TesListTasksResponse,
    TesServiceInfo,
    TesTask,
    TesTaskRequest,
    TesView,
)
from jobsys.server.tes.service import TaskService, created


def service(request: Request) -> TaskService:
    """Give the service of the application that was called."""
    found: TaskService = request.app.state.tasks
    return found


def caller(request: Request, authorization: Annotated[str, Header(include_in_schema=False)] = "") -> Caller:
    """Tell who calls.

    Raises:
        UnauthorizedException: nobody knows.
    """
    authenticator = request.app.state.authenticator
    try:
        found: Caller = authenticator.recognise(authorization)
    except NotRecognisedError as error:
        refusal = UnauthorizedException(str(error))
        refusal.headers = {"WWW-Authenticate": authenticator.scheme}  # type: ignore[misc] # this refusal's
        raise refusal from error
    return found


def json_only(content_type: Annotated[str, Header(include_in_schema=False)] = "") -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        UnsupportedMediaTypeException: it does not.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaTypeException(f"the body must be application/json, not {kind}")


Service = Annotated[TaskService, Depends(service)]
Who = Annotated[Caller, Depends(caller)]
View = Annotated[TesView, Query(description="how much is shown of a task")]
Id = str

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["msg", "status_code", "error", "message"],
    "properties": {
        "msg": {"type": "string"},
        "status_code": {"type": "integer"},
        "error": {"type": "string"},
        "message": {"type": "string"},
        "details": {},
    },
}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"description": "an error", "content": {"application/json": {"schema": _ERROR}}} for code in codes}


router: Final = APIRouter(tags=["TaskService"])


@router.get("/service-info", response_model=TesServiceInfo, response_model_exclude_none=True, operation_id="GetServiceInfo")
@pydantic_to_dict_response
def GetServiceInfo(service: Service) -> Any:
    """Tell what this service is and can do."""
    return service.service_info()


@router.get("/tasks", responses={200: {"model": TesListTasksResponse}, **_errors(400, 401)}, operation_id="ListTasks")
def ListTasks(  # noqa: PLR0913 - the parameters of the specification
    service: Service,
    who: Who,
    name_prefix: Annotated[
        str | None, Query(description="with what a task's name begins; case counts, and no letter is a wildcard")
    ] = None,
    state: Annotated[RunState | None, Query(description="of the tasks")] = None,
    tag_key: Annotated[list[str] | None, Query(description="a tag that tasks have; may be repeated: then they have all")] = None,
    tag_value: Annotated[list[str] | None, Query(description="of the tag_key at the same place; empty or left out: any")] = None,
    page_size: Annotated[int | None, Query(description="tasks at most; 256 if left out, and never more than 2048", ge=1)] = None,
    page_token: Annotated[str | None, Query(description="what came with the page before; all else must be as it was there")] = None,
    view: View = TesView.MINIMAL,
) -> JSONResponse:
    """List tasks, the newest first."""
    wanted = TesListTasksFilter(name_prefix=name_prefix, state=state, tag_key=tag_key, tag_value=tag_value, view=view)
    return JSONResponse(service.listed(who, wanted, page_size, page_token))


@router.post(
    "/tasks",
    dependencies=[Depends(json_only)],
    responses={200: {"model": TesCreateTaskResponse}, **_errors(400, 401, 409, 413, 415)},
    operation_id="CreateTask",
)
async def CreateTask(
    service: Service,
    who: Who,
    task: TesTaskRequest,
    idempotency_key: Annotated[
        str, Header(description="sent again with the same body, it leads to the same task instead of a second one", max_length=255)
    ] = "",
) -> JSONResponse:
    """Submit a task. Once this is answered the task is kept, whatever happens."""
    answer = await asyncio.wrap_future(service.create(who, task, idempotency_key))
    return JSONResponse({"id": created(answer)})


@router.get("/tasks/{id}", responses={200: {"model": TesTask}, **_errors(400, 401, 404)}, operation_id="GetTask")
def GetTask(service: Service, who: Who, id: Id, view: View = TesView.MINIMAL) -> JSONResponse:
    """Show a task."""
    return JSONResponse(service.get(who, id, view))


@router.post("/tasks/{id}:cancel", responses={200: {"model": TesCancelTaskResponse}, **_errors(400, 401, 404)}, operation_id="CancelTask")
def CancelTask(service: Service, who: Who, id: Id) -> JSONResponse:
    """Have a task end soon; nothing happens to one that has ended."""
    service.cancel(who, id)
    return JSONResponse({})
