"""What a leader gives a bare host: the core archive and the bootstrap that fetches it. Sends nothing."""

import io
import zipfile
from importlib.resources import files
from typing import Final

from jobsys.manifest import CORE as BRINGING_CODE

CORE: Final = (
    *("arrival/__init__.py", "arrival/arrive.py", "arrival/assemble.py", "arrival/interpreter.py"),
    *("arrival/layout.py", "arrival/scripts.py", "arrival/whereabouts.py"),
    *(f"{name}.py" for name in BRINGING_CODE),
)
"""The modules that run before anything but the standard library is there."""
_DATE: Final = (1980, 1, 1, 0, 0, 0)


def core_archive() -> bytes:
    """Make the archive of the core's modules; the same bytes anywhere for the same version of jobsys."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(("__init__.py", *CORE)):
            # the package's own __init__ would import all of jobsys
            data = b"" if name == "__init__.py" else _read(name)
            info = zipfile.ZipInfo(f"jobsys/{name}", _DATE)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, data)
    return stream.getvalue()


def bootstrap_source() -> str:
    """Give the bootstrap as text, for ``python -c``."""
    return _read("arrival/bootstrap.py").decode()


def bootstrap_command(python: str) -> list[str]:
    """Give the command that starts the bootstrap on a host, apart from what that host's own environment would put in between."""
    return [python, "-I", "-S", "-c", bootstrap_source()]


def _read(name: str) -> bytes:
    return files("jobsys").joinpath(name).read_bytes()
