"""Starts the worker host that a task will need, before this process becomes the task: so both load themselves side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jobsys.hosting import start
from jobsys.workdir import WorkDirectory

BEGUN: Final = "JOBSYS_HOST_BEGUN"
"""The variable by which the task finds the host (``hosting.found``)."""


def begin(host: Mapping[str, Any], python: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Start a host; give the variables with which the task finds it, none where it can't be started: the task meets the same, and tells it.

    Args:
        host: what the leader says of it: its ``arguments``, the ``parent`` of its directory, and ``without`` which variables.
        python: the interpreter and its options.
        variables: those of the task.
    """
    try:
        directory = WorkDirectory.make(host["parent"])
    except OSError:
        return {}
    own = {name: value for name, value in variables.items() if name not in host["without"]}
    try:
        started = start([*python, *host["arguments"]], directory.path, directory.lock, own)
    except OSError:
        directory.remove()
        return {}
    return {BEGUN: started.leave()}
