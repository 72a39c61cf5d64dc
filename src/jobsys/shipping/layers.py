"""The layers of an environment: which there are, and what each is, read only where that is not known from before. Sends nothing.

What one asks of a layer most often, its digests and size, is known as long as no file of it has changed (``known.py``). Its files are
read where that is not so, and where its archive is missing in a job store.
"""

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable
from typing import Final

from jobsys.known import Known, Summary
from jobsys.manifest import is_inside
from jobsys.shipping import distributions, loose
from jobsys.shipping.distributions import Distribution, Watch
from jobsys.shipping.origins import import_path, is_standard, site_directories
from jobsys.tree import Member, Tree, needed_abi, read_members
from jobsys.version import VERSION

RUNTIME: Final = ("msgspec", "dill", "psutil", "pathspec", "requests", "fsspec")
"""The distributions that jobsys itself uses on a worker, as far as the leader has them."""
BEHIND: Final = ("typing_extensions", "urllib3", "idna", "certifi", "charset_normalizer", "chardet")
"""The modules of what those require."""


class Layer:
    """A distribution, or several files of none, as a tree."""

    def __init__(self, name: str, find: Callable[[Watch], Iterable[Member]], known: Known, tag: Callable[[Tree], str]) -> None:
        """Describe a layer that is to be read.

        Args:
            name: what people call it.
            find: finds what belongs to it, and calls its argument with each file before that is looked into.
            known: facts about its files.
            tag: tells the platforms that a tree was built for.
        """
        self.name = name
        self._find = find
        self._known = known
        self._tag = tag
        self._summary: Summary | None = None
        self.listed = 0  # how many files it has, as far as that was seen
        self._listed_size = 0

    @property
    def summary(self) -> Summary:
        """Tell digests, size and platforms; its files are read if they are not known.

        Raises:
            PackageError: a file can't be read.
        """
        if self._summary is None:
            self.read()
        assert self._summary is not None
        return self._summary

    @property
    def known_summary(self) -> Summary | None:
        """Tell the same as far as it is known; reads nothing."""
        return self._summary

    @property
    def expected_size(self) -> int:
        """Tell how many bytes its files have, as far as that is known or listed; reads nothing."""
        return self._listed_size if self._summary is None else self._summary.size

    def read(self, room: int = 0, *, anew: bool = False) -> Tree:
        """Read its files.

        Args:
            room: how many bytes of them may stay in memory.
            anew: whether nothing that is known counts, for it has just changed.

        Raises:
            PackageError: a file can't be read.
        """
        resting: list[str] = []
        tree = self._read(room, None if anew else self._known, resting)
        self._summary = Summary(tree.md5, tree.sha256, tree.size, len(tree.items), self._tag(tree), needed_abi(tree), self._names())
        if not anew:
            self._keep(self._summary, resting)
        return tree

    def _read(self, room: int, known: Known | None, resting: list[str]) -> Tree:
        def watch(path: str) -> None:
            self._known.watch(path)
            resting.append(path)

        members = list(self._find(watch))
        resting += [each.source for each in members if each.kind == "file" and isinstance(each.source, str)]
        return read_members(members, known, room)

    def _names(self) -> tuple[str, ...]:
        return ()

    def _keep(self, summary: Summary, resting: list[str]) -> None:
        """Remember what was found out, where it can be found again by name."""


class DistributionLayer(Layer):
    """An installed distribution; what was found out about it is kept from run to run."""

    def __init__(self, each: Distribution, known: Known) -> None:
        """Look for what is known of a distribution."""
        super().__init__(f"{each.name} {each.version}", self._members, known, lambda _: distributions.platform_tag(each))
        self._each = each
        self._key = f"{each.metadata} {sysconfig.get_config_var('EXT_SUFFIX')}"
        self._summary = known.summary(self._key)
        self._top_level = self._summary.names if self._summary is not None else self._read_names()

    @property
    def top_level(self) -> tuple[str, ...]:
        """The names that it occupies in its site-packages."""
        return self._top_level

    def _read_names(self) -> tuple[str, ...]:
        self._known.watch(distributions.record_path(self._each))
        sizes = distributions.record_sizes(self._each)
        self.listed, self._listed_size = len(sizes), sum(sizes.values())
        return tuple(sorted(distributions.top_level(self._each, sizes)))

    def _members(self, watch: Watch) -> Iterable[Member]:
        watch(distributions.wheel_path(self._each))
        return distributions.members(self._each, watch)

    def _names(self) -> tuple[str, ...]:
        return self._top_level

    def _keep(self, summary: Summary, resting: list[str]) -> None:
        self._known.note_summary(self._key, summary, resting)


class Environment:
    """The layers of what this process can import, and the facts that they rest on, which are kept in a directory, if one is given."""

    def __init__(self, facts: str | None, *, whole: bool) -> None:
        """Find the layers: of all that is installed if ``whole``, else of what jobsys itself needs.

        Raises:
            PackageError: a directory, or what a distribution says of itself, can't be read.
        """
        self._facts = facts
        self._known: list[Known] = []
        self.layers = self._find(whole=whole)

    def save(self) -> None:
        """Keep what was found out for the next time."""
        for known in self._known:
            known.save()

    def _facts_of(self, tree: str) -> Known:
        self._known.append(Known(self._facts, tree))
        return self._known[-1]

    def _find(self, *, whole: bool) -> list[Layer]:
        sites = site_directories()
        there = distributions.installed(sites)
        others = [each for each in import_path() if os.path.isdir(each) and os.access(each, os.R_OK) and not is_standard(each)]
        anywhere = distributions.installed([*sites, *others])
        runtime = distributions.closure(RUNTIME, anywhere)
        wanted = [each for each in dict.fromkeys([*(there if whole else ()), *runtime]) if each.key != "jobsys"]
        known = self._facts_of(sys.prefix)
        installed = {each.metadata: DistributionLayer(each, known) for each in wanted}
        if whole:
            found = loose.loose_members(sites, {place: layer.top_level for place, layer in installed.items()})
        else:
            missing = {*RUNTIME, *BEHIND} - {each.key.replace("-", "_") for each in anywhere}
            found = loose.bare_members(sorted(missing), sites)
        mine = next((each for each in anywhere if each.key == "jobsys"), None)
        layers = [self._jobsys(mine), *installed.values()]
        return [*layers, self._loose(found, sites[0])] if found else layers

    def _loose(self, found: list[Member], site: str) -> Layer:
        return Layer(loose.LOOSE, lambda _: found, self._facts_of(site), lambda tree: platforms(tree, "linux"))

    def _jobsys(self, mine: Distribution | None) -> Layer:
        """Make the layer of this very package, wherever it was imported from, with what its installation says of it, if there is one."""
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

        def find(_: Watch) -> list[Member]:
            found = loose.package_members(os.path.dirname(package), os.path.basename(package))
            if mine is not None:
                found += [member for member in distributions.members(mine) if not is_inside(member.path, "site/jobsys")]
            return distributions.with_directories(found)

        return Layer(f"jobsys {VERSION}", find, self._facts_of(package), lambda _: "any")


def platforms(tree: Tree, tag: str) -> str:
    """Give a platform tag if something native is in a tree, else ``any``."""
    return tag if any(distributions.NATIVE.search(item.entry.path) for item in tree.items) else "any"
