"""Finds what of a directory is shipped: which files, which links, and what is left out and why. Reads no content.

Left out by itself: caches of Python and of tools, version control, ``node_modules``, virtual environments, conda environments and job
stores below the root, a ``.pyc`` beside its ``.py``, files that by custom hold secrets, and what a ``.jobsysignore`` names: patterns as
in a ``.gitignore``, for the directory that it lies in and all below. What was asked for by name is shipped whatever a rule says.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from jobsys.files import KEY_SUFFIX
from jobsys.late import Logger
from jobsys.manifest import UNPORTABLE, ChangedError, PackageError, is_inside, is_safe_link
from jobsys.tree import IGNORE_FILE, Member, Tree, is_system_directory, naming, read_members

logger = Logger(__name__)

_CACHES: Final = frozenset(
    [
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".import_linter_cache",
        ".hypothesis",
        ".ipynb_checkpoints",
        ".tox",
        ".nox",
        ".eggs",
        "node_modules",
        "__pypackages__",
    ]
)
_VERSION_CONTROL: Final = frozenset((".git", ".hg", ".svn", ".jj"))
_SECRETS: Final = frozenset(
    [
        ".env",
        ".envrc",
        ".netrc",
        ".pypirc",
        ".git-credentials",
        ".pgpass",
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        "id_rsa",
        "id_ecdsa",
        "id_ed25519",
    ]
)
_NO_SECRETS: Final = frozenset((".env.example", ".env.sample", ".env.template"))
_OF_WORKERS: Final = f"jobsys-{os.getuid()}-"  # temporary directories of runs that go on
_ENVIRONMENT_IF_INSIDE: Final = ("pyvenv.cfg", "conda-meta")
_MAY_HOLD_SECRETS: Final = "by its name it may hold secrets; send it with --ship if it must travel"
_BELOW: Final = "ps_d"  # the group in which pathspec matches the slash behind a directory
_CACHE_IF_INSIDE: Final = "CACHEDIR.TAG"  # as many programs mark theirs (bford.info/cachedir), and jobsys its own
_STORE_IF_INSIDE: Final = "jobsys-store.json"


class LeftOut(NamedTuple):
    """Something that is not shipped, and why."""

    path: str
    reason: str


class _Rules(NamedTuple):
    """The patterns of one file, last first, and the directory of the tree that they are for."""

    base: str
    patterns: list[tuple[re.Pattern[str], bool]]  # and whether what they match is left out

    def verdict(self, path: str, *, directory: bool) -> bool | None:
        """Tell whether they leave a path out; None if they don't speak of it itself, whatever they say of what is around it."""
        inner = path[len(self.base) + 1 :] if self.base else path
        return next((leave for pattern, leave in self.patterns if _matches(pattern, inner, directory=directory)), None)


class _Folder(NamedTuple):
    """A directory to look into: where it is, its path in the tree, the foreign directories around it, the rules in force."""

    path: str
    relative: str
    foreign: tuple[str, ...] = ()
    rules: tuple["_Rules", ...] = ()


class Scanner:
    """Finds what there is to pack in one directory, or below some top-level names that may lie elsewhere."""

    def __init__(self, root: str, only: Collection[str] | None = None, grafts: Mapping[str, str] | None = None) -> None:
        """Prepare to scan.

        Args:
            root: the directory.
            only: the top-level names of it that count; all, if it is not given.
            grafts: further paths in the tree (``name`` or ``package/data``), and which file or directory stands there; asked for by name.
        """
        self.root = os.path.abspath(root)
        self.left_out: list[LeftOut] = []
        self._only = only
        self._grafts = dict(grafts or {})
        # where a link may point and still be inside: the real directory, and its path in the tree
        self._bases = [(os.path.realpath(path), name) for name, path in self._grafts.items()]
        self._bases.append((os.path.realpath(root), ""))
        self._todo: list[_Folder] = []

    def scan(self) -> Iterator[Member]:
        """Go through the members, in no particular order.

        Raises:
            PackageError: a directory can't be read.
        """
        self._todo = [] if self._only is not None and not self._only else [_Folder(self.root, "")]
        seen: set[str] = set()
        for each in (*self._grafted(), *self._walk()):
            if each.path not in seen:
                seen.add(each.path)
                yield each

    def _grafted(self) -> Iterator[Member]:
        for name, path in self._grafts.items():
            parts = name.split("/")
            for depth in range(1, len(parts)):
                yield Member("/".join(parts[:depth]), "directory", os.path.dirname(os.path.abspath(path)))
            if os.path.isdir(path):
                yield Member(name, "directory", path)
                folder, todo = _Folder(os.path.abspath(path), name), self._todo
                self._todo = [folder]
                yield from self._walk()
                self._todo = todo
            elif os.path.isfile(path):
                yield Member(name, "file", os.path.realpath(path))
            else:
                raise PackageError(f"{path} can't be shipped: it is not there, or neither file nor directory.")

    def _walk(self) -> Iterator[Member]:
        while self._todo:
            folder = self._todo.pop()
            try:
                with naming(folder.path), os.scandir(folder.path) as found:
                    children = {child.name: child for child in found}
            except ChangedError:
                if not folder.relative:
                    raise
                continue  # gone since the directory above was read, as if it had never been
            asked_for = not folder.relative or folder.relative in self._grafts
            if not asked_for and (reason := _no_code(children)):
                self._leave(folder.path, reason)
                continue
            if not asked_for:
                yield Member(folder.relative, "directory", folder.path)
            if IGNORE_FILE in children:
                folder = folder._replace(rules=(*folder.rules, _Rules(folder.relative, _read_rules(children[IGNORE_FILE].path))))
            for name, child in children.items():
                if folder.relative or self._only is None or name in self._only:
                    yield from self._child(folder, child, children)

    def _child(self, folder: _Folder, child: os.DirEntry[str], siblings: Collection[str]) -> Iterator[Member]:
        relative = f"{folder.relative}/{child.name}" if folder.relative else child.name
        reason = _excluded(child.name, siblings) or self._ignored(folder, relative, child)
        if reason:
            self._leave(child.path, reason)
        elif UNPORTABLE.search(relative):
            self._leave(child.path, "a name with a backslash or a drive letter can't be shipped; rename it", warn=True)
        elif child.is_symlink():
            with suppress(ChangedError):
                yield from self._link(folder, relative, child.path)
        elif child.is_dir(follow_symlinks=False):
            self._todo.append(folder._replace(path=child.path, relative=relative))
        elif child.is_file(follow_symlinks=False):
            yield Member(relative, "file", child.path)
        else:
            self._leave(child.path, f"it is a pipe, a socket or a device; list it in a {IGNORE_FILE}", warn=True)

    def _ignored(self, folder: _Folder, relative: str, child: os.DirEntry[str]) -> str:
        if not folder.rules or relative in self._grafts:
            return ""
        for rules in reversed(folder.rules):  # the nearest file that speaks of it decides, as git does it
            verdict = rules.verdict(relative, directory=child.is_dir(follow_symlinks=False))
            if verdict is not None:
                return f"{IGNORE_FILE} in {rules.base or 'the root'} names it" if verdict else ""
        return ""

    def _link(self, folder: _Folder, relative: str, path: str) -> Iterator[Member]:
        """Keep a link that stays inside the tree; follow one that leaves it, but not in a circle."""
        with naming(path):
            target = os.readlink(path)
        real = os.path.realpath(path)
        inner = self._place_of(real)
        if relative not in self._grafts and self._leads_to_secrets(inner, real, os.path.join(os.path.dirname(path), target)):
            self._leave(path, f"it links to {target}: {_MAY_HOLD_SECRETS}")
        elif inner is not None:
            moved = folder.foreign or any(is_inside(relative, graft) for graft in self._grafts)
            kept = not moved and is_safe_link(relative, target)
            yield Member(relative, "link", target if kept else os.path.relpath(inner or ".", os.path.dirname(relative) or "."))
        elif os.path.isdir(real):
            around = any(is_inside(base, real) for base, _ in self._bases) or any(is_inside(each, real) for each in folder.foreign)
            if around or is_system_directory(real):
                self._leave(
                    path,
                    f"it links to {real}, which is around it or belongs to the system; name what is needed of it with --ship",
                    warn=True,
                )
            else:
                self._todo.append(folder._replace(path=real, relative=relative, foreign=(*folder.foreign, real)))
        elif os.path.isfile(real):
            yield Member(relative, "file", real)
        else:
            self._leave(path, f"it links to {target}, which is not there or no file; remove it, or list it in a {IGNORE_FILE}", warn=True)

    def _leads_to_secrets(self, inner: str | None, real: str, target: str) -> bool:
        """Tell whether a link points to what by its name may hold secrets, or into it, unless that was asked for."""
        if inner is not None and any(is_inside(inner, graft) for graft in self._grafts):
            return False
        ways = (os.path.relpath(each, base) for each, base in ((real, self._bases[-1][0]), (os.path.abspath(target), self.root)))
        return any(_is_secret(part) for way in ways for part in way.split(os.sep))

    def _place_of(self, real: str) -> str | None:
        """Find the path in the tree of something on this machine; None if it is not shipped."""
        for base, name in self._bases:
            if is_inside(real, base):
                inner = os.path.relpath(real, base)
                place = name if inner == "." else f"{name}/{inner}" if name else inner
                if name or self._only is None or place.partition("/")[0] in self._only:
                    return place
        return None

    def _leave(self, path: str, reason: str, *, warn: bool = False) -> None:
        self.left_out.append(LeftOut(path, reason))
        (logger.warning if warn else logger.debug)("Leaving out %s: %s", path, reason)


def _no_code(children: Collection[str]) -> str:
    if _STORE_IF_INSIDE in children:
        return "it is a job store"
    if _CACHE_IF_INSIDE in children:
        return "it is a cache"
    return "it is a virtual environment" if any(name in children for name in _ENVIRONMENT_IF_INSIDE) else ""


def _excluded(name: str, siblings: Collection[str]) -> str:
    if name in _CACHES or (name.endswith(".pyc") and name[:-1] in siblings):
        return "it is a cache"
    if name in _VERSION_CONTROL:
        return "it belongs to version control"
    if _is_secret(name):
        return _MAY_HOLD_SECRETS
    return "it is a temporary directory of a run" if name.startswith(_OF_WORKERS) else ""


def _is_secret(name: str) -> bool:
    return name in _SECRETS or name.endswith(KEY_SUFFIX) or (name.startswith(".env.") and name not in _NO_SECRETS)


def _read_rules(path: str) -> list[tuple[re.Pattern[str], bool]]:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - workers, which pack nothing, need not have it

    try:
        with naming(path), open(path, encoding="utf-8-sig") as stream:
            found = list(GitIgnoreSpec.from_lines(stream).patterns)
    except ValueError as error:  # a pattern that makes no sense, or no UTF-8
        raise PackageError(f"{path} can't be understood: {error}. Mend it; its patterns are those of a .gitignore.") from error
    return [(each.regex, each.include) for each in reversed(found) if each.regex is not None and each.include is not None]


def _matches(pattern: re.Pattern[str], path: str, *, directory: bool) -> bool:
    """Tell whether a pattern names a path itself: the expressions of pathspec also match all below, and mark then where that begins."""
    if pattern.search(path) and any(found.groupdict().get(_BELOW) is None for found in pattern.finditer(path)):
        return True
    return directory and any(found.groupdict().get(_BELOW) and found.end(_BELOW) == len(path) + 1 for found in pattern.finditer(path + "/"))


def read_tree(root: str, only: Collection[str] | None = None) -> Tree:
    """Find and hash what there is to pack in a directory, or in those of its top-level names that are in ``only``.

    Raises:
        PackageError: the directory, or a file in it, can't be read.
    """
    return read_members(Scanner(root, only).scan())
