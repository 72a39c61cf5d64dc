"""Programs of an assembled environment: console scripts from entry points, and scripts whose first line names no Python yet."""

import configparser
import os
import re
from collections.abc import Iterator
from typing import Final

from jobsys.late import Logger

logger = Logger(__name__)

MARKS: Final = (b"#!python\n", b"#!python\r", b"#!python ", b"#!pythonw")
"""How the first line of a script begins that is to be run by whatever Python it gets installed for."""
_SHEBANG_MAX: Final = 127
_TARGET: Final = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?")
_NAME: Final = re.compile(r"(?!\.\.?$)[^/\0]+")
_CONSOLE_SCRIPT: Final = """\
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({called}())
"""


def shebang(python: str) -> bytes:
    """Give the first line of a script that this Python runs; what the kernel would cut or split goes by way of the shell."""
    if len(python) + 2 > _SHEBANG_MAX or re.search(r"\s", python):
        quoted = re.sub(r'(["$`\\])', r"\\\1", python)
        return f"#!/bin/sh\n'''exec' \"{quoted}\" \"$0\" \"$@\"\n' '''\n".encode()
    return f"#!{python}\n".encode()


def console_scripts(text: str, python: str, origin: str) -> Iterator[tuple[str, bytes]]:
    """Go through the scripts that an ``entry_points.txt`` declares, as name and content."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of programs keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        logger.warning("No scripts are made from %s, which can't be read: %s", origin, error)
        return
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            found = _TARGET.fullmatch(value.strip())
            if found is None or not _NAME.fullmatch(name) or len(os.fsencode(name)) > 255:
                logger.warning("No script %r is made from %s: %r names no function", name, origin, value)
                continue
            body = _CONSOLE_SCRIPT.format(module=found[1], first=found[2].partition(".")[0], called=found[2])
            yield name, shebang(python) + body.encode()


def rewritten(script: bytes, python: str) -> bytes | None:
    """Give a script with the first line it needs here; None for one that needs no other."""
    if not script.startswith(MARKS):
        return None
    return shebang(python) + script.partition(b"\n")[2]
