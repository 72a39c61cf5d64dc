"""Makes a virtual environment on this host out of layers in its cache, by hard links, once however many processes ask. Fetches nothing."""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from jobsys.arrival.environment import NAME, Environment, Layer, is_usable, named
from jobsys.arrival.layout import Layout, Planned
from jobsys.fetch import make_once
from jobsys.files import locked
from jobsys.holding import hold
from jobsys.kept import MANIFEST, Kept, noted, size_of, write_list
from jobsys.unpack import write_file

_NO_LINK: Final = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.EACCES)


def assemble(
    layers: Sequence[Layer], *, root: str, python: str, system_site: bool, lists: Mapping[str, list[Kept]] | None = None
) -> Environment:
    """Have the environment of these layers, held and verified; of two files with the same name the first layer's is used.

    ``root`` is the cache's directory of places, ``python`` an interpreter of this version that belongs to no virtual environment.
    The layers must have been obtained, and so verified, by this process. ``lists`` are those of them, by their places, that it still has.

    Raises:
        StorageError: the disk is full.
        PackageError: what was given is no layer.
    """
    base = os.path.realpath(python)
    environment = named(layers, root, base, system_site)
    place = environment.place
    known = dict(lists or {})
    links: dict[str, dict[str, Kept]] = {}

    def build(part: str) -> None:
        layout = Layout(environment.path, base, system_site=system_site)
        for layer in layers:
            known[layer.place] = layout.add(layer, known.get(layer.place))
        written, own = _write(layout, f"{part}/{NAME}")
        write_list(part, written, size=own)
        for planned, link in zip(layout.planned.values(), written, strict=True):
            if planned.layer and planned.kept:
                links.setdefault(planned.layer.place, {})[planned.kept.path] = link

    hold(place, [layer.place for layer in layers])
    make_once(place, lambda: is_usable(place), build)
    for each, stamped in links.items():
        _note_stamps(each, known[each], stamped)
    return environment


def _write(layout: Layout, base: str) -> tuple[list[Kept], int]:
    """Write what is planned; give its list, and the bytes that are not shared with a layer."""
    os.mkdir(base, 0o755)
    kept: list[Kept] = []
    own = 0
    for planned in layout.planned.values():
        written, shared = _write_one(planned, f"{base}/{planned.entry.path}")
        kept.append(written)
        own += 0 if shared else written.size
    return kept, own


def _write_one(planned: Planned, target: str) -> tuple[Kept, bool]:
    entry, layer, kept, data = planned
    if entry.kind == "directory":
        os.mkdir(target, entry.mode | 0o700)
        return Kept(*entry), False
    if layer and kept:
        shared = _link(f"{layer.tree}/{kept.path}", target, entry.mode)
        return noted(entry, os.lstat(target)), shared
    if entry.kind == "link":
        os.symlink(data, os.fsencode(target))
        return noted(entry, os.lstat(target)), False
    return write_file(target, entry, (data,)), False


def _link(source: str, target: str, mode: int) -> bool:
    """Link a file, or copy it where that can't be; tell whether it is shared."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        os.chmod(target, mode)
        return False
    return True


def _note_stamps(place: str, kept: list[Kept], links: dict[str, Kept]) -> None:
    """Save whoever looks at a layer next from reading every file in it again, only because links to them were made.

    Whoever has noted stamps there since has noted them of the same content: a place is named by it.
    """
    with locked(f"{place}.lock"):
        if os.path.exists(f"{place}/{MANIFEST}"):
            write_list(place, [_stamped(each, links.get(each.path)) for each in kept], size=size_of(place))


def _stamped(each: Kept, link: Kept | None) -> Kept:
    """Give a layer's line with the time of change that linking its file has set."""
    if link is None or link.inode != each.inode or link.modified != each.modified:
        return each
    return Kept(each.path, *link[1:])
