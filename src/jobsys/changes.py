"""What changed in the code between two starts of a run, as a person wants to read it. Reads archives' directories, no content."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from jobsys.jobstores import JobStore
from jobsys.shipment import Parcel, Shipment
from jobsys.shipping.loose import LOOSE
from jobsys.unpack import read_directory

SHOWN: Final = 10
"""How many files are named of each kind."""


def changes(store: JobStore, old: Shipment, new: Shipment) -> list[str]:
    """Tell what is different in the newer shipment: a line for each kind of change; none if it is the same code.

    Raises:
        StorageError: an archive of either can't be read.
    """
    gone, come = _different(old, new)
    prefixes = _prefixes({each.directory for each in (*old.roots, *new.roots)})
    before, after = _files(store, gone, prefixes), _files(store, come, prefixes)
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


def _different(old: Shipment, new: Shipment) -> tuple[list[Parcel], list[Parcel]]:
    """Pick the roots that are not the same in both; one that has only moved, as with another checkout, is the same."""
    gone = [each for each in old.roots if (each.directory, each.sha256) not in {(root.directory, root.sha256) for root in new.roots}]
    come = [each for each in new.roots if (each.directory, each.sha256) not in {(root.directory, root.sha256) for root in old.roots}]
    for each in gone[:]:
        moved = next((root for root in come if root.sha256 == each.sha256), None)
        if moved is not None:
            gone.remove(each)
            come.remove(moved)
    return gone, come


def _files(store: JobStore, roots: Iterable[Parcel], prefixes: Mapping[str, str]) -> Mapping[str, tuple[str, int]]:
    """Give digest and mode of the files of some roots."""
    return {prefixes[root.directory] + name: facts for root in roots for name, facts in _entries(store, root)}


def _prefixes(directories: Collection[str]) -> dict[str, str]:
    """Say what files of several roots are called: by the name of their root, by its whole path where two have that name."""
    names = [os.path.basename(each) for each in directories]
    if len(names) == 1:
        return dict.fromkeys(directories, "")
    return {each: f"{name if names.count(name) == 1 else each}/" for each, name in zip(directories, names, strict=True)}


def _entries(store: JobStore, root: Parcel) -> Iterator[tuple[str, tuple[str, int]]]:
    if root.kind == "file":
        yield root.name, (root.sha256, 0)
        return
    with _archive(store, root) as path:
        for packed in read_directory(path):
            if packed.entry.kind != "directory":
                yield packed.entry.path, (packed.entry.sha256, packed.entry.mode)


@contextmanager
def _archive(store: JobStore, root: Parcel) -> Iterator[str]:
    """Have an archive of the store as a file of this machine."""
    local = store.shared_file_path(root.shared)
    if local is not None:
        yield local
        return
    with tempfile.NamedTemporaryFile(prefix="jobsys-") as copy:
        with store.read_shared_file(root.shared) as stream:
            shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name


def _distributions(old: Shipment, new: Shipment) -> Iterator[str]:
    before, after = ({_name(each): each for each in shipment.layers} for shipment in (old, new))
    moved = []
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            moved.append(f"{name} is {'new' if one is None else 'gone'}")
        elif one.label != other.label:
            moved.append(f"{name} {one.label.partition(' ')[2]} is now {other.label.partition(' ')[2]}")
        elif one.sha256 != other.sha256:
            moved.append(f"{name} changed" if name == LOOSE else f"{name} has other files")
    if moved:
        more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
        yield f"environment: {', '.join(moved[:SHOWN])}{more}"


def _name(layer: Parcel) -> str:
    return LOOSE if layer.label == LOOSE else layer.label.partition(" ")[0]
