"""An image of the tests' own interpreter and busybox, made without a registry: owns its layout, which is that of `docker save`."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from cluster.interpreter import copy_interpreter, linked  # type: ignore[import-not-found]

PYTHON: Final = "localhost/jobsys-python:test"
CACHE: Final = "/root/.cache/jobsys"
"""Where jobsys keeps shipped code in a container: pods of a host may share it, for else each unpacks an environment of its own."""


def save_image(folder: Path) -> Path:
    """Write the image with a Python to a file in a new directory; what the interpreter links to lies where this machine has it."""
    root, image = folder / "root", folder / "image"
    for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    image.mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    _install_busybox(root / "bin")
    copy_interpreter(root / "usr/local")
    for path in linked(root / "usr/local"):
        (root / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.relative_to("/"))
    _pack(root, image / "layer.tar")
    digest = hashlib.sha256((image / "layer.tar").read_bytes()).hexdigest()
    settings = {"Env": ["PATH=/usr/local/bin:/bin", "HOME=/root"], "Cmd": ["/bin/sh"]}
    layers = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    (image / "config.json").write_text(json.dumps({"architecture": "amd64", "os": "linux", "config": settings, "rootfs": layers}))
    (image / "manifest.json").write_text(json.dumps([{"Config": "config.json", "RepoTags": [PYTHON], "Layers": ["layer.tar"]}]))
    _pack(image, folder / "image.tar")
    return folder / "image.tar"


def _install_busybox(folder: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, folder / "busybox")
    for name in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if name != "busybox":
            (folder / name).symlink_to("busybox")


def _pack(folder: Path, file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        archive.add(folder, ".")
