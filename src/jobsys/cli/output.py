"""How commands print: JSON for programs, and the words for times and counts. What needs rich is in ``views``, loaded on use."""

import importlib
import sys
import time
from types import ModuleType
from typing import Any, Final

import msgspec

VIEWS: Final = {
    "status": "jobsys.cli.views.status",
    "jobs": "jobsys.cli.views.jobs",
    "stats": "jobsys.cli.views.stats",
}
"""What is shown to people, and the modules that need rich for it."""


def view(name: str) -> ModuleType:
    """Load what shows something to people."""
    return importlib.import_module(VIEWS[name])


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def duration(seconds: float) -> str:
    """Say a duration for people, with two units at most: ``1 h 12 min``, ``3.4 s``, ``12 ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds > 0 else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def moment(seconds: float) -> str:
    """Say a point in time, in this host's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def many(count: int, one: str, several: str = "") -> str:
    """Say how many: ``1 job``, ``20,000 jobs``."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def last_line(text: str) -> str:
    """Take the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
