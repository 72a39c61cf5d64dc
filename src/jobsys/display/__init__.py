"""How a run shows itself on standard error while it goes on; never on standard output, which is the script's."""

import importlib
import os
import sys
from typing import Final

from jobsys.leader.listener import Listener

_MODES: Final = {"live": "jobsys.display.live:LiveDisplay", "plain": "jobsys.display.plain:PlainDisplay"}
"""Mode -> what shows a run so; loaded on use, since a terminal display needs rich."""


def make_display(mode: str) -> list[Listener]:
    """Choose what is shown: ``live``, ``plain``, ``off``, or ``auto`` by whether standard error is a terminal."""
    if mode == "auto":
        mode = "live" if _is_terminal() else "plain"
    if mode not in _MODES or sys.stderr is None:
        return []
    module, _, name = _MODES[mode].partition(":")
    made: Listener = getattr(importlib.import_module(module), name)()
    return [made]


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
