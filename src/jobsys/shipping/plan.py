"""What a run ships, decided before anything is sent: roots of own code, layers of the environment, the worker's import path.

It is the same for a run and for ``jobsys ship --dry-run``; only where modules are known from differs.
"""

import logging
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from jobsys.cache import Cache
from jobsys.config import LIMIT
from jobsys.errors import StorageError, UsageError
from jobsys.requirements import format_bytes
from jobsys.shipping.closure import Closure, Root, Start
from jobsys.shipping.layers import Environment, Layer, platforms
from jobsys.shipping.origins import archive_around, import_path, is_standard, site_directories
from jobsys.shipping.withheld import Withheld, withheld
from jobsys.tree import Member, Tree, read_members

logger = logging.getLogger(__name__)

SHOWN: Final = 20
"""How many of the largest files a message shows."""
ShipEnvironment = Literal["auto", "always", "never"]


class Options(NamedTuple):
    """What was asked for.

    Args:
        ship: files and directories that travel whatever is known of them.
        environment: whether installed distributions travel; ``auto``: if the script runs in a virtual environment.
        limit: bytes of own code at most.
        remote: whether workers run on other hosts; on this one they have the leader's environment.
        facts: the directory in which digests of files are kept from run to run.
        strict: whether a module that is needed and left out is an error.
    """

    ship: Sequence[str] = ()
    environment: ShipEnvironment = "auto"
    limit: int = LIMIT
    remote: bool = False
    facts: str | None = None
    strict: bool = True


class PathEntry(NamedTuple):
    """An entry of the worker's import path: a root (its number, and a directory in it), or something that the worker has itself."""

    kind: Literal["root", "standard", "site", "other"]
    root: int = -1
    inside: str = ""


class Plan(msgspec.Struct):
    """What travels."""

    roots: list[Root]
    trees: list[Tree]  # of the roots
    environment: Environment | None  # of workers on other hosts
    path: list[PathEntry]
    system_site: bool  # whether the worker's own distributions come behind the layers
    closure: Closure
    withheld: list[Withheld]  # modules that do not travel though somebody wants them

    @property
    def layers(self) -> list[Layer]:
        """List the layers of the environment."""
        return [] if self.environment is None else self.environment.layers

    @property
    def size(self) -> int:
        """Count the bytes of own code."""
        return sum(tree.size for tree in self.trees)

    def save(self) -> None:
        """Keep what was found out about the environment for the next time."""
        if self.environment is not None:
            self.environment.save()

    def locate(self, directory: str) -> tuple[int, str] | None:
        """Find a directory of the leader in the roots: a root's number, and the directory in it."""
        root = self.closure.roots.get(os.path.abspath(directory))
        return None if root is None else _locate(self.roots, self.closure, root)


def facts_directory() -> str | None:
    """Give the directory in which facts about files are kept; None where this user has no cache: then everything is read each time."""
    try:
        return os.path.join(Cache.of_host().root, "digests")
    except StorageError as error:
        logger.debug("Digests of files are not kept: %s", error)
        return None


def make_plan(start: Start, options: Options, *, loaded: bool = True) -> Plan:
    """Find out what travels; modules are looked up on this process's ``sys.path``.

    Args:
        start: what was started.
        options: what was asked for.
        loaded: whether what this process has imported counts.

    Raises:
        PackageError: something can't be read.
        UsageError: it is more than the limit, or a module that is needed is left out.
    """
    path = import_path()
    closure = Closure(start, path, options.facts)
    closure.add_asked(options.ship)
    if loaded:
        closure.add_loaded()
    closure.add_entry_points()
    closure.follow()
    roots = closure.ordered()
    found = [root.members() for root in roots]
    _check_limit(roots, found, options.limit)
    without = withheld(closure, found, loaded=loaded)
    if options.strict:
        _check_withheld(without)
    trees = [read_members(members, closure.known(root)) for root, members in zip(roots, found, strict=True)]
    closure.save()
    whole = options.environment == "always" or (options.environment == "auto" and in_environment())
    environment = Environment(options.facts, whole=whole) if options.remote else None
    return Plan(roots, trees, environment, _import_path(path, roots, closure), options.remote and not whole, closure, without)


def in_environment() -> bool:
    """Tell whether this interpreter runs in a virtual environment, or is conda's."""
    return sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta"))


# ── own code ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _import_path(path: Sequence[str], roots: list[Root], closure: Closure) -> list[PathEntry]:
    """Write the leader's import path for a worker; what is imported by an editable install's hook comes last, as hooks do."""
    sites = set(site_directories())
    entries = [_path_entry(each, roots, closure, sites) for each in path]
    homes = {archive_around(each) or each for each in path}
    late = [root for root in closure.roots.values() if root.directory not in homes]
    entries += [PathEntry("root", *_locate(roots, closure, root)) for root in late]
    return list(dict.fromkeys(entries))


def _path_entry(path: str, roots: list[Root], closure: Closure, sites: Collection[str]) -> PathEntry:
    home = archive_around(path) or path  # an entry may be a directory in an archive
    root = closure.roots.get(home)
    if root is not None:
        number, inside = _locate(roots, closure, root)
        return PathEntry("root", number, _below(inside, path, home))
    if path in sites:
        return PathEntry("site", inside=path)
    if is_standard(path):
        return PathEntry("standard")
    outer = closure.around(path)
    if outer is not None and os.path.isdir(path):  # nothing is known to be imported from there, but it is there
        number, inside = _locate(roots, closure, outer)
        return PathEntry("root", number, _below(inside, path, outer.directory))
    return PathEntry("other", inside=path)


def _locate(roots: list[Root], closure: Closure, root: Root) -> tuple[int, str]:
    outer = closure.outer(root)
    if outer is None:
        return roots.index(root), ""
    number, inside = _locate(roots, closure, outer)
    return number, _below(inside, root.directory, outer.directory)


def _below(inside: str, path: str, directory: str) -> str:
    """Name a path in a root, given where a directory around it lies in there; empty for the root itself."""
    found = os.path.normpath(os.path.join(inside, os.path.relpath(path, directory)))
    return "" if found == "." else found


def _check_withheld(without: list[Withheld]) -> None:
    """Refuse to leave behind what is needed for certain; warn of what may be."""
    certain = [str(each) for each in without if each.certain]
    if certain:
        raise UsageError("\n".join(certain))
    for each in without:
        logger.warning("%s", each)


def _check_limit(roots: list[Root], found: list[list[Member]], limit: int) -> None:
    sizes = {
        os.path.join(root.directory, member.path): size
        for root, members in zip(roots, found, strict=True)
        for member in members
        if (size := _size(member))
    }
    total = sum(sizes.values())
    if total > limit:
        listed = "\n".join(f"{format_bytes(size):>10}  {path}" for path, size in largest(sizes.items()))
        raise UsageError(
            f"the script's own code is {format_bytes(total)}, more than the {format_bytes(limit)} of --ship-limit; largest are\n{listed}\n"
            "List what is no code in a .jobsysignore (patterns as in a .gitignore) beside the script, or raise --ship-limit. "
            "'jobsys ship --dry-run SCRIPT' shows everything that would travel."
        )


def _size(member: Member) -> int:
    if member.kind != "file" or isinstance(member.source, bytes):
        return 0
    try:
        return os.stat(member.source).st_size
    except OSError:  # gone, or said to be unreadable in a moment
        return 0


def largest(sizes: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Pick the largest of some named sizes, largest first."""
    return sorted(sizes, key=lambda each: (-each[1], each[0]))[:SHOWN]


def tags(plan: Plan) -> list[str]:
    """List the platform tags that everything native in a plan has."""
    own = [platforms(tree, "linux") for tree in plan.trees]
    return sorted({*(layer.summary.tag for layer in plan.layers), *own})
