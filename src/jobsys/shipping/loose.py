"""What lies in site-packages and belongs to no distribution that says so: by its path, or by the name of a module. Reads no metadata."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from jobsys.manifest import is_inside
from jobsys.scan import Scanner
from jobsys.shipping.distributions import Distribution, read_record, recorded, top_level, with_directories
from jobsys.tree import Member, naming

LOOSE: Final = "files of no distribution"
"""What people call the layer of such files."""


def loose_members(sites: Iterable[str], known: Mapping[str, Iterable[str]] | None = None) -> list[Member]:
    """Find what lies in site-packages and belongs to no distribution, also beside those of a namespace; no editable install's hooks.

    Lines of a ``.pth`` file that lead out of site-packages are left out: what is imported from there travels as own code.

    Args:
        sites: the directories.
        known: what distributions occupy of these, by the paths of their metadata, as far as that is known.
    """
    found: list[Member] = []
    hidden = {"jobsys"}  # what an earlier directory has
    for site in sites:
        claimed = _claimed(site, known or {})
        there = sorted(os.listdir(site))
        names = {name for name in there if name not in claimed and name not in hidden and not name.startswith("__editable__")}
        names = {name for name in names if not name.endswith(".egg-link")}
        shared = [name for name in there if name in claimed and name not in hidden and _is_namespace(os.path.join(site, name))]
        portions = [each for name in shared for each in _portions(site, name, _claimed_below(claimed[name]))]
        for member in Scanner(site, names, {each: os.path.join(site, each) for each in portions}).scan():
            content = _pth(site, member) if member.path.endswith(".pth") and "/" not in member.path else member.source
            found.append(member._replace(path=f"site/{member.path}", source=content))
        hidden.update(name for name in there if not _is_namespace(os.path.join(site, name)))
    return with_directories(found)


def _claimed(site: str, known: Mapping[str, Iterable[str]]) -> dict[str, list[Distribution]]:
    """List what is occupied in a directory, and by which distributions."""
    claimed: dict[str, list[Distribution]] = {}
    for each in recorded(site):
        for name in known.get(each.metadata) or top_level(each, read_record(each)):
            claimed.setdefault(name, []).append(each)
    return claimed


def _claimed_below(owners: Iterable[Distribution]) -> set[str]:
    """List the files of some distributions, and the directories that those lie in."""
    return {up for each in owners for name in read_record(each) for up in _upwards(name)}


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition("/")[0]


def _is_namespace(path: str) -> bool:
    name = os.path.basename(path)
    return name.isidentifier() and name != "__pycache__" and os.path.isdir(path) and not os.path.exists(os.path.join(path, "__init__.py"))


def _portions(site: str, folder: str, claimed: Collection[str]) -> Iterator[str]:
    """Go through what lies in a namespace package beside what distributions have in it."""
    if _is_namespace(os.path.join(site, folder)):
        for child in sorted(os.listdir(os.path.join(site, folder))):
            path = f"{folder}/{child}"
            if path in claimed:
                yield from _portions(site, path, claimed)
            elif child != "__pycache__":
                yield path


def _pth(site: str, member: Member) -> str | bytes:
    if member.kind != "file":
        return member.source
    path = os.fsdecode(member.source)
    with naming(path), open(path, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    return b"".join(line for line in lines if _stays(site, os.fsdecode(line).strip()))


def _stays(site: str, line: str) -> bool:
    """Tell whether a line of a ``.pth`` file is code, a comment, or names something in site-packages."""
    if line.startswith(("import ", "import\t", "#")) or not line:
        return True
    return is_inside(os.path.normpath(os.path.join(site, line)), site)


def package_members(directory: str, name: str) -> list[Member]:
    """Find what belongs to a package that lies in a directory of its own, as jobsys itself does where somebody works on it."""
    found = Scanner(directory, (), {name: os.path.join(directory, name)}).scan()
    return with_directories(member._replace(path=f"site/{member.path}") for member in found)


def bare_members(modules: Iterable[str], sites: Sequence[str]) -> list[Member]:
    """Find some modules in site-packages by their names alone, as where an operating system has removed the RECORD."""
    found: list[Member] = []
    for module in modules:
        for site in sites:
            with naming(site):
                names = [name for name in os.listdir(site) if name == module or name.partition(".")[0] == module]
            if names:
                found += [each._replace(path=f"site/{each.path}") for each in Scanner(site, names).scan()]
                break
    return with_directories(found)
