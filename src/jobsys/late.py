"""Loggers that load ``logging`` when there is something to say. Standard library only, as the core needs it.

Of a worker host that has loaded neither it nor ``threading`` a fork takes half a millisecond less: both do something in each, in Python.
"""

import importlib
import sys
from typing import Any, Final

_settings: Final[dict[str, Any]] = {}


def configure(**settings: Any) -> None:
    """Have ``logging.basicConfig`` called with this before the first thing is said."""
    _settings.update(settings)


class Logger:
    """Passes for the logger of ``logging`` that has this name."""

    def __init__(self, name: str) -> None:
        """Name it."""
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Give what the logger has; nobody has asked for what only helps to find mistakes as long as ``logging`` is not loaded."""
        if attribute == "debug" and "logging" not in sys.modules:
            return _say_nothing
        logging = importlib.import_module("logging")
        if _settings:
            logging.basicConfig(**_settings)
            _settings.clear()
        return getattr(logging.getLogger(self._name), attribute)


def _say_nothing(*_: object, **__: object) -> None:
    """Do nothing."""
