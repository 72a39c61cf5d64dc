"""The run that is simulated now: what its jobs find when they are called, as a worker's code finds its modules."""

from typing import Any

_now: list[Any] = []


def the_run() -> Any:
    """Give the run whose process is asking."""
    return _now[-1]


def begin(run: Any) -> None:
    """Simulate this run from now on."""
    _now.append(run)


def end() -> None:
    """Simulate no run any more."""
    _now.pop()
