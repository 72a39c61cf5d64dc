"""Tasks as they are kept -> tasks as they are shown, in three views. Pure."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel

from jobsys.server.tasks import Task
from jobsys.server.tes.models import TesTask, TesView

_DETAILS: Final = ("stdout", "stderr")


def pydantic_to_dict_response(func: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function that returns a model return a dictionary without what is not set; whatever else it returns stays what it is."""

    @functools.wraps(func)
    def to_dict(*args: Any, **kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        return value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value

    return to_dict


def task_to_minimal_task(task: TesTask) -> TesTask:
    """Leave id and state (view MINIMAL)."""
    return TesTask(id=task.id, state=task.state)


def task_to_basic_task(task: TesTask) -> TesTask:
    """Leave out what may be large (view BASIC): ``stdout`` and ``stderr`` of executor logs, ``content`` of inputs, system logs."""
    inputs = None if task.inputs is None else [{key: value for key, value in each.items() if key != "content"} for each in task.inputs]
    logs = None
    if task.logs is not None:
        logs = [
            each.model_copy(update={"system_logs": None, "logs": [log.model_copy(update=dict.fromkeys(_DETAILS)) for log in each.logs]})
            for each in task.logs
        ]
    return task.model_copy(update={"inputs": inputs, "logs": logs})


def shown(task: Task, attempts: Sequence[Mapping[str, Any]], view: TesView) -> dict[str, Any]:
    """Show a task, as JSON.

    Args:
        task: it.
        attempts: what became of it so far; may be left out in the view MINIMAL.
        view: how much.
    """
    if view is TesView.MINIMAL:
        return {"id": task.id, "state": str(task.state)}
    made = TesTask.model_validate(
        {
            **json.loads(task.document),
            "id": task.id,
            "state": task.state,
            "creation_time": rfc3339(task.created),
            "logs": _logs(task, attempts),
        }
    )
    return (made if view is TesView.FULL else task_to_basic_task(made)).model_dump(mode="json", exclude_none=True)


def _logs(task: Task, attempts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    logs = [_attempt(each) for each in attempts]
    if task.warnings and logs:
        logs[0]["system_logs"] = [*task.warnings, *logs[0]["system_logs"]]
    elif task.warnings:
        logs = [{"logs": [], "outputs": [], "system_logs": task.warnings}]
    return logs


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "logs": [_execution(each) for each in attempt["executions"]],
        "metadata": attempt["metadata"],
        "start_time": rfc3339(attempt["started"]),
        "end_time": rfc3339(attempt["ended"]),
        "outputs": attempt["outputs"],
        "system_logs": attempt["system_logs"],
    }


def _execution(execution: Mapping[str, Any]) -> dict[str, Any]:
    code = execution["exit_code"]
    return {
        "start_time": rfc3339(execution["started"]),
        "end_time": rfc3339(execution["ended"]),
        "stdout": execution["stdout"],
        "stderr": execution["stderr"],
        "exit_code": 0 if code is None else code,  # the schema wants one while it runs, too
    }


def rfc3339(seconds: float | None) -> str | None:
    """Write seconds since the epoch as RFC 3339 does, in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
