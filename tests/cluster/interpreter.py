"""The interpreter that runs the tests, without what is installed for it: for hosts and images that have none of its minor version."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

NAME: Final = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LEFT: Final = (
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "_tkinter*",
    "turtledemo",
    "ensurepip",
    "__pycache__",
    "config-*",
    "*.a",
)
"""What no task needs; it is most of all files."""

PROMISED: Final = ("pthread.so.0", "dl.so.2", "rt.so.1", "util.so.1", "m.so.6", "resolv.so.2", "gcc_s.so.1", "stdc++.so.6")
"""Libraries that wheels for Linux may expect wherever they run, after ``lib``."""
STARTER: Final = f"""#!/bin/sh
here=$(cd "${{0%/*}}/.." && pwd)
LD_LIBRARY_PATH="$here/lib/own" exec "$here/bin/{NAME}.real" "$@"
"""


def copy_interpreter(folder: Path) -> Path:
    """Copy program, library and standard library into a new directory, from which all users can run it; give the program to start.

    The C library, and what else extension modules link to, is what it finds where it runs.
    """
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / f"{NAME}.real"
    shutil.copy(Path(sys.executable).resolve(), program)
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "lib" / NAME, ignore=shutil.ignore_patterns(*LEFT))
    (own := folder / "lib" / "own").mkdir()
    for path in _libraries(program):
        if path.name.startswith("libpython"):
            shutil.copy(path, own)
    starter = folder / "bin" / NAME
    starter.write_text(STARTER)
    starter.chmod(0o755)
    return starter


def linked(folder: Path) -> set[Path]:
    """List the libraries of this machine that a copy and wheels link to, and the program that loads them."""
    modules = (folder / "lib" / NAME / "lib-dynload").glob("*.so")
    found = {path for each in (*(folder / "bin").glob("*.real"), *modules) for path in _libraries(each)}
    beside = next(path.parent for path in found if path.name == "libc.so.6")
    found |= {path for name in PROMISED if (path := beside / f"lib{name}").exists()}
    return {path for path in found if not path.name.startswith("libpython")}


def _libraries(program: Path) -> list[Path]:
    told = subprocess.run(["ldd", str(program)], check=True, capture_output=True, text=True).stdout
    words = (word for line in told.splitlines() for word in line.split())
    return [Path(word) for word in words if word.startswith("/")]
