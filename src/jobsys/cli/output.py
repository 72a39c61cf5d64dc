"""How commands print: JSON for programs; what needs rich is in ``views``, loaded on use."""

import importlib
import sys
from types import ModuleType
from typing import Any, Final

import msgspec

from jobsys.collecting import uncollected

VIEWS: Final = {
    "status": "jobsys.cli.views.status",
    "jobs": "jobsys.cli.views.jobs",
    "stats": "jobsys.cli.views.stats",
    "ship": "jobsys.cli.views.ship",
}
"""What is shown to people, and the modules that need rich for it."""


def view(name: str) -> ModuleType:
    """Load what shows something to people."""
    with uncollected():
        return importlib.import_module(VIEWS[name])


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
