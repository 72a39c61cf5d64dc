"""The import closure of a script: every module of somebody's own that it has loaded or that its sources name. Sends nothing.

What is loaded is known for certain; what is imported later, inside jobs, is found by reading the sources that will travel, again and
again until nothing new turns up. Each module is looked up as ``import`` would, so the roots are those of the leader's import path.
"""

import os
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from jobsys.errors import UsageError
from jobsys.known import Known
from jobsys.manifest import PackageError, is_inside
from jobsys.scan import LeftOut, Scanner
from jobsys.shipping.distributions import entry_modules, installed, is_editable
from jobsys.shipping.imports import OPTIONAL, marked
from jobsys.shipping.origins import Place, is_importable, is_installed, is_standard, own_places, site_directories
from jobsys.tree import IGNORE_FILE, Item, Member, hash_members, is_system_directory

_SOURCES: Final = (".py", ".pyw")


class Start(NamedTuple):
    """What was started.

    Args:
        directory: the entry of ``sys.path`` that it was started from: a script's directory, a directory or archive with a
            ``__main__``; empty where there is none (a session, ``-c``).
        file: the script; empty where there is none.
        whole: whether everything in the directory belongs to it, data files included.
        names: modules that are known to be needed: those of ``-m package.module``, what a session's functions mention.
    """

    directory: str
    file: str
    whole: bool
    names: tuple[str, ...] = ()


class Root(msgspec.Struct):
    """A directory, or an archive, from which own code is imported, and what of it travels."""

    directory: str
    whole: bool = False
    archive: bool = False
    asked: bool = False  # whether all of it was asked for by name
    names: dict[str, str] = {}  # top-level names, and why they travel
    grafts: dict[str, str] = {}  # paths in the tree, and what stands there
    reasons: dict[str, str] = {}  # of grafts that were not asked for
    left_out: list[LeftOut] = []
    _found: tuple[object, list[Member]] = (None, [])  # what was asked for when it was scanned last, and what that gave

    @property
    def only(self) -> set[str] | None:
        """The top-level names that travel; None for all."""
        return None if self.whole else set(self.names)

    def scan(self) -> list[Member]:
        """Find what of it travels, as it is now.

        Raises:
            PackageError: a directory can't be read.
        """
        if self.archive:
            return [Member(os.path.basename(self.directory), "file", self.directory)]
        scanner = Scanner(self.directory, self.only, self.grafts)
        members = list(scanner.scan())
        self.left_out = scanner.left_out
        self._found = (self.only, dict(self.grafts)), members
        return members

    def members(self) -> list[Member]:
        """Find what of it travels, as it was when it was looked at last.

        Raises:
            PackageError: a directory can't be read.
        """
        asked, members = self._found
        return members if asked == (self.only, self.grafts) else self.scan()


class Closure:
    """Collects roots; ``directory`` is where facts about files are kept between runs."""

    def __init__(self, start: Start, path: Sequence[str], facts: str | None = None) -> None:
        """Begin with what was started and with the import path in force."""
        self.roots: dict[str, Root] = {}
        self._path = [os.path.abspath(each) for each in path]
        self._facts = facts
        self._known: dict[str, Known] = {}
        self.wanted: dict[str, str] = {}  # modules, and who asked first
        self.needed: dict[str, str] = {}  # those that somebody can't do without, and who
        self.places: dict[str, list[Place]] = {}  # where modules lie that were looked up
        self.by_script: set[str] = set()  # of the needed ones, those that the script names itself
        self.script = os.path.abspath(start.file) if start.file else ""
        self._todo: deque[tuple[str, str]] = deque()  # modules to look up, and who wants them
        self._start(start)

    def _start(self, start: Start) -> None:
        """Take in what was started."""
        if start.directory:
            directory = os.path.abspath(start.directory)
            shared = is_system_directory(directory) or directory in site_directories()
            whole = start.whole and not shared
            root = self._root(directory, whole=whole)
            if start.file and not whole and not root.archive:
                root.names[os.path.basename(start.file)] = "the script"
        if start.file and os.path.isfile(start.file):
            with open(start.file, "rb") as stream:
                names = marked(stream.read())
            self.by_script.update(name for name in names if not name.startswith(OPTIONAL))
            self._want(names, "imported by the script")
        self.by_script.update(start.names)
        self._want(start.names, "imported by the script")

    def _root(self, directory: str, *, whole: bool = False) -> Root:
        if directory not in self.roots:
            root = self.roots[directory] = Root(directory, archive=os.path.isfile(directory))
            if root.archive:
                self._scan_archive(directory)
        root = self.roots[directory]
        if whole and not root.whole and not root.archive:
            root.whole = True
            self._scan(root, root.scan())
        return root

    def known(self, root: Root) -> Known:
        """Give the facts about a root's files."""
        if root.directory not in self._known:
            self._known[root.directory] = Known(self._facts, root.directory)
        return self._known[root.directory]

    def _want(self, names: Iterable[str], why: str) -> None:
        for each in names:
            name = each.removeprefix(OPTIONAL)
            if name == each:
                self.needed.setdefault(name, why)
            if name not in self.wanted:
                self.wanted[name] = why
                self._todo.append((name, why))

    def add_loaded(self) -> None:
        """Take in what this process has imported."""
        self._want([name for name in list(sys.modules) if "." not in name], "loaded by the script")

    def add_entry_points(self) -> None:
        """Take in what the entry points of editable distributions name, which travel without their code.

        Raises:
            PackageError: a directory can't be read.
        """
        for each in installed(site_directories()):
            if is_editable(each):
                self._want(entry_modules(each), f"an entry point of {each.key}")

    def add_asked(self, paths: Iterable[str]) -> None:
        """Take in files and directories that were asked for by name (``--ship``).

        Raises:
            UsageError: there is none.
        """
        for path in map(os.path.abspath, paths):
            if not os.path.exists(path):
                raise UsageError(f"--ship {path}: there is no such file or directory; name one that there is, or leave it out")
            homes = [each for each in self._path if is_inside(path, each) and os.path.isdir(each) and not is_standard(each)]
            home = max(homes, key=len, default=os.path.dirname(path))
            if path == home or self._is_around(path, importable=bool(homes)):
                self._root(path, whole=True).asked = True
                continue
            root = self._root(home)
            name = os.path.relpath(path, home)
            root.grafts[name] = path
            self._scan(root, list(Scanner(home, (), {name: path}).scan()))

    def _is_around(self, path: str, *, importable: bool) -> bool:
        """Tell whether a directory has inside what own code is imported from: then it travels as a whole, with that in its place.

        One that can itself be imported, as a package, has to keep its own place, unless the script lies in it.
        """
        sites = site_directories()
        others = [] if importable else [each for each in self._path if os.path.isdir(each) and each not in sites and not is_standard(each)]
        inner = [*self.roots, *others]
        return os.path.isdir(path) and any(each != path and is_inside(each, path) for each in inner)

    def follow(self) -> None:
        """Look modules up, and read what those import, until nothing is new."""
        while self._todo:
            name, why = self._todo.popleft()
            self.places[name] = own_places(name)
            for place in self.places[name]:
                self._take(place, why)

    def _take(self, place: Place, why: str) -> None:
        root = self._root(place.directory)
        renamed = os.path.basename(place.source) != place.name
        if root.archive or place.name in root.names or place.name in root.grafts or (root.whole and not renamed):
            return
        if not renamed:
            root.names[place.name] = why
            self._scan(root, list(Scanner(root.directory, {place.name}).scan()))
        else:
            root.grafts[place.name] = place.source
            root.reasons[place.name] = why
            self._scan(root, list(Scanner(root.directory, (), {place.name: place.source}).scan()))

    def _scan(self, root: Root, members: list[Member]) -> None:
        """Read what the sources among some members import."""
        sources = [each for each in members if each.kind == "file" and os.fsdecode(each.source).endswith(_SOURCES)]
        known = self.known(root)
        for item in hash_members(sources, known):
            self._want(_imports(item, known), f"imported by {item.entry.path}")

    def _scan_archive(self, path: str) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(_SOURCES):
                        self._want(marked(archive.read(name)), f"imported by {name} in {os.path.basename(path)}")
        except (OSError, zipfile.BadZipFile, RuntimeError, zlib.error) as error:
            raise PackageError(f"{path} can't be read as an archive of modules: {error}") from error

    def ordered(self) -> list[Root]:
        """List the roots in the order in which the leader imports from them; one inside another that travels whole goes with that."""
        found = {**{each: self.roots[each] for each in self._path if each in self.roots}, **self.roots}
        return [root for root in found.values() if not self.outer(root)]

    def outer(self, root: Root) -> Root | None:
        """Find the root that a root travels with: a directory around it that travels whole, unless something here lies elsewhere."""
        return None if root.grafts else self.around(root.directory, asked=root.whole)

    def around(self, directory: str, *, asked: bool = False) -> Root | None:
        """Find a root that travels whole and that a directory lies in, unless it is left out there as an environment, a cache or the like.

        What a ``.jobsysignore`` names stays left out, unless it was asked for.
        """
        for each in self.roots.values():
            if each.whole and each.directory != directory and is_inside(directory, each.directory):
                reasons = [left.reason for left in each.left_out if is_inside(directory, left.path)]
                if not reasons or (reasons[0].startswith(IGNORE_FILE) and not asked):
                    return each
        return None

    def not_found(self) -> dict[str, str]:
        """Give the modules that somebody imports and that are nowhere here, with who does it; but for what can be done without."""
        there = {name.partition("/")[0].partition(".")[0] for root in self.roots.values() for name in root.grafts}
        return {name: why for name, why in sorted(self.needed.items()) if name not in there and not is_importable(name)}

    def installed(self) -> dict[str, str]:
        """Give the modules of installed distributions that own sources import and can't do without, with who does it."""
        imported = {name: why for name, why in sorted(self.needed.items()) if why.startswith("imported by")}
        return {name: why for name, why in imported.items() if not self.places.get(name) and is_installed(name)}

    def save(self) -> None:
        """Keep the facts about files for the next time."""
        for known in self._known.values():
            known.save()


def _imports(item: Item, known: Known) -> tuple[str, ...]:
    digest = bytes.fromhex(item.entry.sha256)
    names = known.imports(digest)
    if names is None and isinstance(item.source, str):
        try:
            with open(item.source, "rb") as stream:
                names = marked(stream.read())
        except OSError:  # gone: what is not there is not shipped either
            return ()
        known.note_imports(digest, names)
    return names or ()
