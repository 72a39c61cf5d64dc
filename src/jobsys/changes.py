"""What changed in the code between two starts of a run, as a person wants to read it. Reads archives' directories, no content."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from jobsys.jobstores import JobStore
from jobsys.shipment import Parcel, Shipment
from jobsys.unpack import read_directory

SHOWN: Final = 10
"""How many files are named of each kind."""


def changes(store: JobStore, old: Shipment, new: Shipment) -> list[str]:
    """Tell what is different in the newer shipment: a line for each kind of change; none if it is the same code.

    Raises:
        StorageError: an archive of either can't be read.
    """
    before, after = _files(store, old, new), _files(store, new, old)
    lines = [
        _line("changed", [name for name in after if name in before and before[name] != after[name]]),
        _line("added", [name for name in after if name not in before]),
        _line("gone", [name for name in before if name not in after]),
    ]
    if old.layers and new.layers:
        lines += _distributions(old, new)
    return [line for line in lines if line]


def _line(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}"


def _files(store: JobStore, shipment: Shipment, other: Shipment) -> Mapping[str, str]:
    """Give the digests of the files of own code, but for the trees that the other has, too."""
    same = {(each.directory, each.sha256) for each in other.roots}
    several = len({each.directory for each in (*shipment.roots, *other.roots)}) > 1
    found: dict[str, str] = {}
    for root in shipment.roots:
        if (root.directory, root.sha256) not in same:
            prefix = f"{os.path.basename(root.directory)}/" if several else ""
            found.update({prefix + name: digest for name, digest in _entries(store, root)})
    return found


def _entries(store: JobStore, root: Parcel) -> Iterator[tuple[str, str]]:
    if root.kind == "file":
        yield root.name, root.sha256
        return
    with _archive(store, root) as path:
        for packed in read_directory(path):
            if packed.entry.kind != "directory":
                yield packed.entry.path, packed.entry.sha256


@contextmanager
def _archive(store: JobStore, root: Parcel) -> Iterator[str]:
    """Have an archive of the store as a file of this machine."""
    key = store.shared_file_key(root.shared)
    local = store.storage.local_path(key)
    if local is not None:
        yield local
        return
    with tempfile.NamedTemporaryFile(prefix="jobsys-") as copy:
        with store.storage.reader(key) as stream:
            shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name


def _distributions(old: Shipment, new: Shipment) -> Iterator[str]:
    before, after = ({each.label.partition(" ")[0]: each for each in shipment.layers} for shipment in (old, new))
    moved = []
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            moved.append(f"{name} is {'new' if one is None else 'gone'}")
        elif one.label != other.label:
            moved.append(f"{name} {one.label.partition(' ')[2]} is now {other.label.partition(' ')[2]}")
        elif one.sha256 != other.sha256:
            moved.append(f"{name} has other files")
    if moved:
        more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
        yield f"environment: {', '.join(moved[:SHOWN])}{more}"
