"""What a leader gives a bare host: the core archive and the bootstrap that fetches it. Sends nothing."""

import importlib.util
import io
import marshal
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from typing import Final

from jobsys.manifest import CORE as BRINGING_CODE

CORE: Final = (
    *("arrival/__init__.py", "arrival/ahead.py", "arrival/arrive.py", "arrival/assemble.py", "arrival/environment.py"),
    *("arrival/interpreter.py", "hosting.py", "processes.py", "slots.py", "workdir.py"),
    *("arrival/layout.py", "arrival/scripts.py", "arrival/whereabouts.py"),
    *(f"{name}.py" for name in BRINGING_CODE),
)
"""The modules that run before anything but the standard library is there."""
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_UNCHECKED: Final = (1).to_bytes(4, "little") + bytes(8)  # bytecode that is compared with no source: the archive's digest covers both
_WITHOUT_REFERENCES: Final = 2  # a later version of the format notes what else refers to an object in this process


def core_archive() -> bytes:
    """Make the archive of the core's modules, each with its bytecode; the same bytes for the same versions of jobsys and Python.

    A Python with another bytecode than the leader's compiles the sources.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(("__init__.py", *CORE)):
            # the package's own __init__ would import all of jobsys
            data = b"" if name == "__init__.py" else _read(name)
            for path, content in _members(name, data):
                info = zipfile.ZipInfo(f"jobsys/{path}", _DATE)
                info.create_system, info.external_attr = 3, 0o100644 << 16
                archive.writestr(info, content)
    return stream.getvalue()


def _members(name: str, source: bytes) -> Iterator[tuple[str, bytes]]:
    """Give a module's source and its bytecode, which is loaded sooner than the source is compiled, and names no place of this machine."""
    yield name, source
    code = compile(source, f"jobsys/{name}", "exec", dont_inherit=True, optimize=0)
    with suppress(ValueError):  # Python 3.14 has constants that this format has no word for: hosts compile such a module
        yield f"{name}c", importlib.util.MAGIC_NUMBER + _UNCHECKED + marshal.dumps(code, _WITHOUT_REFERENCES)


def bootstrap_source() -> str:
    """Give the bootstrap as text, for ``python -c``."""
    return _read("arrival/bootstrap.py").decode()


def bootstrap_command(python: str) -> list[str]:
    """Give the command that starts the bootstrap on a host, apart from what that host's own environment would put in between."""
    return [python, "-I", "-S", "-c", bootstrap_source()]


def _read(name: str) -> bytes:
    return files("jobsys").joinpath(name).read_bytes()
