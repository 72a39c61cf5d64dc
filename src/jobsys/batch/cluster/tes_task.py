"""The documents of TES: what a task is written as, and what a task on a server means. Sends nothing."""

import logging
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from jobsys.batch.cluster.scheduler import Ask, Seen, TaskState, whole_cores
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

ASK: Final = "jobsys-ask"
NUMBER: Final = "jobsys-task"
SCRIPT: Final = "/jobsys/task.sh"
SCRATCH: Final = "/jobsys/scratch"
"""A volume, for what a task writes: elsewhere an image may be read-only, or have other space than was asked for."""
GB: Final = 10**9

STATES: Final = {
    "QUEUED": (TaskState.QUEUED, None),
    "INITIALIZING": (TaskState.QUEUED, None),
    "PAUSED": (TaskState.QUEUED, None),
    "RUNNING": (TaskState.RUNNING, None),
    "CANCELING": (TaskState.RUNNING, None),
    "COMPLETE": (TaskState.ENDED, None),
    "EXECUTOR_ERROR": (TaskState.ENDED, Reason.FAILED),
    "SYSTEM_ERROR": (TaskState.ENDED, Reason.LOST),
    "PREEMPTED": (TaskState.ENDED, Reason.PREEMPTED),
    "CANCELED": (TaskState.ENDED, Reason.CANCELED),
}
PLAIN: Final = frozenset({"QUEUED", "RUNNING", "COMPLETE", "CANCELED"})
"""States that say all there is to say."""
SAID: Final = (
    (re.compile(r"out of memory|\boom(killed)?\b|memory limit", re.IGNORECASE), Reason.MEMORY),
    (re.compile(r"preempt|spot.{0,20}reclaim", re.IGNORECASE), Reason.PREEMPTED),
    (re.compile(r"time limit|walltime|maximum run ?time", re.IGNORECASE), Reason.TIME_LIMIT),
)
"""What servers write into a task's logs when it was ended for a reason that TES has no state for."""


_told: set[str] = set()


def state_of(state: str) -> tuple[TaskState, Reason | None]:
    """Give what a state of TES means; one that nobody knows is told once, and waited for."""
    if state not in STATES and state not in _told:
        _told.add(state)
        logger.warning("TES tells of a state that jobsys does not know, and takes for waiting: %s", state)
    return STATES.get(state, (TaskState.QUEUED, None))


def end_of(state: str, task: Mapping[str, Any]) -> Seen:
    """Say how a task ended that did not end well, from all that the server knows of it."""
    attempt = (task.get("logs") or [{}])[-1]
    executors = attempt.get("logs") or [{}]
    told = "\n".join(str(line) for line in attempt.get("system_logs") or () if line)
    hints = f"{told}\n{attempt.get('metadata') or ''}"
    meant = next((reason for pattern, reason in SAID if pattern.search(hints)), None)
    state_now, reason = state_of(state)
    status = executors[-1].get("exit_code") if state == "EXECUTOR_ERROR" else None
    message = told or str(executors[-1].get("stderr") or executors[-1].get("stdout") or "").strip()
    return Seen(state_now, reason if reason is Reason.PREEMPTED else meant or reason, status, message[-2000:])


def number_of(task: Mapping[str, Any], name: str) -> int | None:
    """Read a task's number from its tags; None if it is of another ask: servers that know no tags list all."""
    tags = task.get("tags") or {}
    return int(tags[NUMBER]) if tags.get(ASK) == name and str(tags.get(NUMBER, "")).isdecimal() else None


def parameters_of(text: str) -> dict[str, str]:
    """Read backend parameters.

    Raises:
        UsageError: they can't be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--batch-option backend: {error}") from error
    if wrong := [word for word in words if "=" not in word.lstrip("=")]:
        raise UsageError(f"--batch-option backend: {wrong[0]!r} is not KEY=VALUE")
    return dict(word.split("=", 1) for word in words)


def task_of(ask: Ask, number: int, options: Mapping[str, str], index: str) -> dict[str, Any]:
    """Write the document of one task."""
    return {
        "name": f"{ask.name}-{number}",
        "description": ask.title,
        "tags": {ASK: ask.name, NUMBER: str(number)},
        "inputs": [{"name": "script", "type": "FILE", "path": SCRIPT, "content": ask.script}],
        "volumes": [SCRATCH],
        "resources": resources_of(ask.requirements, options),
        "executors": [
            {
                "image": options["image"],
                "command": ["/bin/sh", SCRIPT],
                "env": {index: str(number), "TMPDIR": SCRATCH},
            }
        ],
    }


def resources_of(requirements: Requirements, options: Mapping[str, str]) -> dict[str, Any]:
    """Write what a task needs; TES counts in GB of 10**9 bytes and has no time limit."""
    found: dict[str, Any] = {"cpu_cores": whole_cores(requirements), "preemptible": requirements.preemptible}
    parameters = parameters_of(options["backend"])
    if requirements.memory is not None:
        found["ram_gb"] = requirements.memory / GB
    if requirements.disk is not None:
        found["disk_gb"] = requirements.disk / GB
    if options["zones"]:
        found["zones"] = [zone.strip() for zone in options["zones"].split(",")]
    if requirements.accelerators:
        parameters[options["accelerators"]] = str(requirements.accelerators)
    if parameters:
        found |= {"backend_parameters": parameters, "backend_parameters_strict": True}
    return found
