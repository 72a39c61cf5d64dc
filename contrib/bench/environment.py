"""The environment that the peers live in: made once from peers.txt, apart from that of jobsys."""

import hashlib
import subprocess
import sys

from contest import HERE, say

PLACE = HERE.parent.parent / ".bench-venv"
PINNED = HERE / "peers.txt"


def peer_python() -> str:
    """Give the interpreter of the peers' environment; make it first if peers.txt is not the one it was made from."""
    python = PLACE / "bin" / "python"
    stamp = PLACE / "made-from"
    wanted = hashlib.sha256(PINNED.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return str(python)
    say(f"installing the peers into {PLACE}, once")
    subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)
    (PLACE / ".gitignore").write_text("*\n")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINNED)], check=True)
    stamp.write_text(wanted)
    return str(python)


def site_packages(python: str) -> str:
    """Tell where an interpreter's packages are."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
