"""Serves the application by uvicorn. The names are those of the specification."""

import importlib
import os
from typing import Any

import uvicorn

from jobsys.server.tes.constants import PoiesisApiConstants

APP = "jobsys.server.tes.app:create_app"


def import_app_from_string(import_string: str) -> Any:
    """Import what ``MODULE:ATTRIBUTE`` names; dots in the attribute lead further in.

    Raises:
        ImportError: there is no such thing.
    """
    module, colon, attribute = import_string.partition(":")
    if not module or not colon or not attribute:
        raise ImportError(f"{import_string!r} does not name an application: write MODULE:ATTRIBUTE")
    found = importlib.import_module(module)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ImportError(f"{import_string!r}: {module} has no {attribute}") from error
    return found


def run() -> None:
    """Serve by what the environment says: ``JOBSYS_SERVER_HOST``, ``_PORT`` and ``_WORKERS``."""
    defaults = PoiesisApiConstants.Gunicorn
    uvicorn.run(
        APP,
        factory=True,
        host=os.environ.get("JOBSYS_SERVER_HOST", defaults.HOST),
        port=int(os.environ.get("JOBSYS_SERVER_PORT", defaults.PORT)),
        workers=int(os.environ.get("JOBSYS_SERVER_WORKERS", "1")),
        timeout_keep_alive=int(defaults.TIMEOUT),
    )
