"""The environments of the benchmarks, each made once, apart from that of jobsys: one for the peers, and one that is shipped."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from contest import HERE, say

ROOT = HERE.parent.parent


def peer_python() -> str:
    """Give the interpreter of the environment that the peers live in, .bench-venv; make it first where peers.txt has changed."""
    return _made(ROOT / ".bench-venv", HERE / "peers.txt")


def shipped_python() -> str:
    """Give the interpreter of the environment that is shipped, .bench-shipped; it holds no bytecode, so that all sides ship the same."""
    return _made(ROOT / ".bench-shipped", HERE / "shipped.txt", ["--without-pip"], ["--no-compile"])


def _made(place: Path, pinned: Path, venv: Sequence[str] = (), pip: Sequence[str] = ()) -> str:
    python = place / "bin" / "python"
    stamp = place / "made-from"
    wanted = hashlib.sha256(pinned.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return str(python)
    say(f"installing {pinned.name} into {place}, once")
    subprocess.run([sys.executable, "-m", "venv", "--clear", *venv, str(place)], check=True)
    (place / ".gitignore").write_text("*\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *pip, "-r", str(pinned)], check=True)
    stamp.write_text(wanted)
    return str(python)


def site_packages(python: str) -> str:
    """Tell where an interpreter's packages are."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
