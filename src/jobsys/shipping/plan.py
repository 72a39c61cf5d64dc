"""What a run ships, decided before anything is sent: roots of own code, layers of the environment, the worker's import path.

It is the same for a run and for ``jobsys ship --dry-run``; only where modules are known from differs.
"""

import logging
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from jobsys.cache import Cache
from jobsys.config import LIMIT
from jobsys.errors import StorageError, UsageError
from jobsys.known import Known
from jobsys.manifest import is_inside
from jobsys.requirements import format_bytes
from jobsys.shipping import distributions, loose
from jobsys.shipping.closure import Closure, Root, Start
from jobsys.shipping.distributions import Distribution
from jobsys.shipping.origins import archive_around, import_path, is_standard, site_directories
from jobsys.tree import Member, Tree, read_members
from jobsys.version import VERSION

logger = logging.getLogger(__name__)

SHOWN: Final = 20
"""How many of the largest files a message shows."""
RUNTIME: Final = ("msgspec", "dill", "psutil", "pathspec", "requests", "fsspec")
"""The distributions that jobsys itself uses on a worker, as far as the leader has them."""
BEHIND: Final = ("typing_extensions", "urllib3", "idna", "certifi", "charset_normalizer", "chardet")
"""The modules of what those require."""

ShipEnvironment = Literal["auto", "always", "never"]


class Options(NamedTuple):
    """What was asked for.

    Args:
        ship: files and directories that travel whatever is known of them.
        environment: whether installed distributions travel; ``auto``: if the script runs in a virtual environment.
        limit: bytes of own code at most.
        remote: whether workers run on other hosts; on this one they have the leader's environment.
        facts: the directory in which digests of files are kept from run to run.
    """

    ship: Sequence[str] = ()
    environment: ShipEnvironment = "auto"
    limit: int = LIMIT
    remote: bool = False
    facts: str | None = None


class PathEntry(NamedTuple):
    """An entry of the worker's import path: a root (its number, and a directory in it), or something that the worker has itself."""

    kind: Literal["root", "standard", "site", "other"]
    root: int = -1
    inside: str = ""


@dataclass
class Layer:
    """A distribution, or several files of none, as a tree."""

    name: str
    tree: Tree
    tag: str = "any"


@dataclass
class Plan:
    """What travels."""

    roots: list[Root]
    trees: list[Tree]  # of the roots
    layers: list[Layer]
    path: list[PathEntry]
    system_site: bool  # whether the worker's own distributions come behind the layers
    closure: Closure = field(repr=False)

    @property
    def size(self) -> int:
        """Count the bytes of own code."""
        return sum(tree.size for tree in self.trees)

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
        UsageError: it is more than the limit.
    """
    path = import_path()
    closure = Closure(start, path, options.facts)
    closure.add_asked(options.ship)
    if loaded:
        closure.add_loaded()
    closure.follow()
    roots = closure.ordered()
    found = [root.members() for root in roots]
    _check_limit(roots, found, options.limit)
    trees = [read_members(members, closure.known(root)) for root, members in zip(roots, found, strict=True)]
    closure.save()
    whole = options.environment == "always" or (options.environment == "auto" and in_environment())
    layers = _layers(options, whole=whole) if options.remote else []
    return Plan(roots, trees, layers, _import_path(path, roots, closure), options.remote and not whole, closure)


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


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def _layers(options: Options, *, whole: bool) -> list[Layer]:
    sites = site_directories()
    known = Known(options.facts, sys.prefix)
    there = distributions.installed(sites)
    others = [each for each in import_path() if os.path.isdir(each) and os.access(each, os.R_OK) and not is_standard(each)]
    anywhere = distributions.installed([*sites, *others])
    runtime = distributions.closure(RUNTIME, anywhere)
    mine = next((each for each in anywhere if each.key == "jobsys"), None)
    wanted = dict.fromkeys([*(there if whole else ()), *runtime])
    layers = [_jobsys_layer(mine, known)]
    layers += [layer for each in wanted if each.key != "jobsys" and (layer := _layer(each, known)) is not None]
    if whole:
        found = loose.loose_members(sites)
    else:
        missing = {*RUNTIME, *BEHIND} - {each.key.replace("-", "_") for each in anywhere}
        found = loose.bare_members(sorted(missing), sites)
    tree = read_members(found, known)
    if tree.items:
        layers.append(Layer(loose.LOOSE, tree, _tag(tree, "linux")))
    known.save()
    return layers


def _layer(each: Distribution, known: Known) -> Layer | None:
    tree = read_members(distributions.members(each), known)
    return Layer(f"{each.name} {each.version}", tree, distributions.platform_tag(each)) if tree.items else None


def _jobsys_layer(mine: Distribution | None, known: Known) -> Layer:
    """Make the layer of this very package, wherever it was imported from, with what its installation says of it, if there is one."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = loose.package_members(os.path.dirname(package), os.path.basename(package))
    if mine is not None:
        found += [member for member in distributions.members(mine) if not is_inside(member.path, "site/jobsys")]
    return Layer(f"jobsys {VERSION}", read_members(distributions.with_directories(found), known))


def _tag(tree: Tree, tag: str) -> str:
    return tag if any(distributions.NATIVE.search(item.entry.path) for item in tree.items) else "any"


def tags(plan: Plan) -> list[str]:
    """List the platform tags that everything native in a plan has."""
    own = [_tag(tree, "linux") for tree in plan.trees]
    return sorted({*(layer.tag for layer in plan.layers), *own})
