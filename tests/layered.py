"""A directory of which all that is in it so far belongs to a layer below, as in a container that was started from an image."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MOUNT = """
cd "$0" && mount -t tmpfs tmpfs over && mkdir over/upper over/work &&
    mount -t overlay overlay -o "lowerdir=$0/image,upperdir=$0/over/upper,workdir=$0/over/work" root && exec "$@"
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def image(folder: Path) -> Path:
    """Give a new directory for what is in the layer below."""
    for name in ("image", "over", "root"):
        (folder / name).mkdir()
    return folder / "image"


def run_on_image(folder: Path, program: str, *words: str) -> list[str]:
    """Run a Python program to which the image is in ``folder/root``, and may be changed there; give the lines that it prints."""
    command = ["unshare", "--mount", "sh", "-c", MOUNT, str(folder), sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
