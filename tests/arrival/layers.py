"""Layers for tests: trees packed and obtained as a worker obtains them."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

from jobsys.arrival.environment import Layer
from jobsys.fetch import Wanted, obtain
from jobsys.package import pack
from jobsys.scan import read_tree


def write(root, files):
    """Write files by their path; a value is text, bytes, (content, mode), or a path to link to."""
    for path, content in files.items():
        target = Path(root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            target.symlink_to(content)
            continue
        content, mode = content if isinstance(content, tuple) else (content, 0o644)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(mode)
    return root


def shipped(tree, store, name):
    """Pack a tree into a store's directory; give what a shipment says of it, with a ``file:`` URL."""
    read = read_tree(str(tree))
    archive = Path(store, f"{read.sha256}.zip")
    with archive.open("wb") as stream:
        pack(read, stream, compress=True)
    size = archive.stat().st_size
    return {"name": name, "url": archive.as_uri(), "md5": read.md5, "sha256": read.sha256, "size": size}


def layer(root, name, files):
    """Have a layer of these files in a cache's directory, the way a worker gets it."""
    base = Path(root)
    (base / "store").mkdir(parents=True, exist_ok=True)
    (base / "cache" / "code").mkdir(parents=True, exist_ok=True)
    described = shipped(write(base / "trees" / name, files), base / "store", name)
    place = str(base / "cache" / "code" / described["sha256"])
    obtain(Wanted(described["url"], name, described["md5"], described["sha256"], archive=True), place)
    return Layer(place, name, described["sha256"])


def copy_distribution(name, target):
    """Copy an installed distribution's files of its site-packages as a layer's tree."""
    found = distribution(name)
    for file in found.files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            copied = Path(target, "site", *file.parts)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), copied)
    return target
