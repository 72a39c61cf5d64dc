"""Installed distributions as layers: what belongs to each, by its RECORD, in a form that does not tell where it was installed.

A layer's tree has ``site/…`` for what lies in site-packages and ``prefix/…`` for what lies elsewhere below the installation's prefix.
Left out or rewritten is what differs from place to place though the distribution is the same: byte code, console scripts (the worker
makes them from ``entry_points.txt``), the interpreter's path in other scripts, the RECORD's lines about those, ``direct_url.json``.
An editable distribution's layer has its metadata only: its code travels as own code. RECORD: packaging.python.org, "Recording
installed projects".
"""

import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from jobsys.manifest import PackageError
from jobsys.tree import Member, naming

_PLACES: Final = frozenset(("direct_url.json", "INSTALLER", "REQUESTED", "RECORD.jws", "RECORD.p7s"))
_SCRIPT: Final = re.compile(
    rb"#![ \t]*(?:\S*/env[ \t]+(?:-\S+[ \t]+)*)?(?:\S*/)?python[\d.]*t?w?(?:[ \t].*)?\n"
    rb"|#!/bin/sh\n'''exec' .*\n' '''\n"
)
_REQUIREMENT: Final = r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)([^;]*)(;.*)?"
NATIVE: Final = re.compile(r"\.so(\.[\d.]+)?$|\.pyd$|\.dylib$")
Watch = Callable[[str], None]
"""Is told each file, which may be missing, before it is looked into."""


class Distribution(NamedTuple):
    """An installed distribution: its name and version, where its metadata lie, and the site-packages that they are in."""

    name: str
    version: str
    metadata: str
    site: str

    @property
    def key(self) -> str:
        """Give the name as it compares (PEP 503)."""
        return normal(self.name)


def normal(name: str) -> str:
    """Write a distribution's name as it compares (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(sites: Iterable[str]) -> list[Distribution]:
    """List the distributions in some directories; of two of one name, the first, as import has it.

    Raises:
        PackageError: a directory can't be read.
    """
    found: dict[str, Distribution] = {}
    for site in sites:
        for each in recorded(site):
            found.setdefault(each.key, each)
    return list(found.values())


def recorded(site: str) -> list[Distribution]:
    """List all that has a RECORD in a directory.

    Raises:
        PackageError: it can't be read.
    """
    with naming(site):
        names = sorted(name for name in os.listdir(site) if name.endswith(".dist-info"))
    return [_described(site, name) for name in names if os.path.isfile(os.path.join(site, name, "RECORD"))]


def _described(site: str, folder: str) -> Distribution:
    stem, _, version = folder.removesuffix(".dist-info").partition("-")
    return Distribution(stem, version, os.path.join(site, folder), site)


def requirements(each: Distribution) -> list[str]:
    """Name what a distribution requires whatever extras are asked for."""
    path = os.path.join(each.metadata, "METADATA")
    with naming(path), open(path, encoding="utf-8", errors="replace") as stream:
        header = stream.read().partition("\n\n")[0]
    lines = [line.partition(":")[2] for line in header.splitlines() if line.startswith("Requires-Dist:")]
    matches = [match for line in lines if (match := re.match(_REQUIREMENT, line))]
    return [normal(match[1]) for match in matches if "extra" not in (match[3] or "")]


def closure(names: Iterable[str], known: Iterable[Distribution]) -> list[Distribution]:
    """Collect distributions by name, with all that they require as far as it is installed."""
    there = {each.key: each for each in known}
    todo, found = [normal(name) for name in names], dict[str, Distribution]()
    while todo:
        name = todo.pop()
        if name in there and name not in found:
            found[name] = there[name]
            todo += requirements(there[name])
    return list(found.values())


def wheel_path(each: Distribution) -> str:
    """Name the file that tells for what a distribution was built."""
    return os.path.join(each.metadata, "WHEEL")


def platform_tag(each: Distribution) -> str:
    """Read for which platforms a distribution was built, alternatives joined by dots; ``linux`` if it does not say: for this one."""
    try:
        with open(wheel_path(each), encoding="utf-8") as stream:
            tags = [line.partition(":")[2].strip().rpartition("-")[2] for line in stream if line.startswith("Tag:")]
    except OSError:
        tags = []
    return ".".join(dict.fromkeys(part for tag in tags for part in tag.split("."))) or "linux"


def is_editable(each: Distribution) -> bool:
    """Tell whether a distribution's code lies where somebody works on it (PEP 610, and before it)."""
    try:
        with open(os.path.join(each.metadata, "direct_url.json"), encoding="utf-8") as stream:
            return bool(json.load(stream).get("dir_info", {}).get("editable"))
    except (OSError, ValueError, AttributeError):
        return False


def read_record(each: Distribution) -> list[str]:
    """List a distribution's files, relative to its site-packages.

    Raises:
        PackageError: its RECORD can't be read.
    """
    return [row[0] for row in _rows(each)]


def record_sizes(each: Distribution) -> dict[str, int]:
    """Tell the sizes of a distribution's files by their names, as far as its RECORD says them.

    Raises:
        PackageError: its RECORD can't be read.
    """
    return {row[0]: int(row[2]) if len(row) > 2 and row[2].isascii() and row[2].isdigit() else 0 for row in _rows(each)}


def top_level(each: Distribution, names: Iterable[str]) -> set[str]:
    """Name what a distribution that has these files occupies in its site-packages, without what is below."""
    return {name.partition("/")[0] for name in names} | {os.path.basename(each.metadata)}


def record_path(each: Distribution) -> str:
    """Name the file that lists what belongs to a distribution."""
    return os.path.join(each.metadata, "RECORD")


def _rows(each: Distribution) -> list[list[str]]:
    path = record_path(each)
    try:
        with naming(path), open(path, encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row and row[0]]
    except (csv.Error, UnicodeError) as error:
        raise PackageError(f"{path} can't be understood: {error}. Install {each.name} again.") from error
    for row in rows:
        name = row[0]
        if "/." in name or "//" in name or name[0] == "." or name[-1] == "/":
            row[0] = posixpath.normpath(name)
    return rows


def members(each: Distribution, watch: Watch = lambda _: None) -> list[Member]:
    """Find what belongs to a distribution, and tell ``watch`` what else than these files decides that.

    Raises:
        PackageError: its RECORD can't be read.
    """
    for name in ("RECORD", "direct_url.json", "entry_points.txt"):
        watch(os.path.join(each.metadata, name))
    return with_directories(_members(each, _rows(each), watch))


def _members(each: Distribution, rows: list[list[str]], watch: Watch) -> Iterator[Member]:
    folder, generated = os.path.basename(each.metadata), _console_scripts(each)
    prefix = _prefix(each.site)
    if is_editable(each):
        rows = [row for row in rows if row[0].startswith(f"{folder}/")]
    rows = [row for row in rows if _travels(row[0], folder)]
    for name, *_ in rows:
        if name == f"{folder}/RECORD":
            yield Member(f"site/{name}", "file", _record(rows))
        elif not name.startswith("../"):
            yield Member(f"site/{name}", "file", f"{each.site}/{name}")
        elif (inside := _below(prefix, os.path.normpath(os.path.join(each.site, name)))) and inside.removeprefix("bin/") not in generated:
            path = os.path.join(prefix, inside)
            if inside.startswith("bin/"):
                watch(path)
            yield Member(f"prefix/{inside}", "file", _neutral(path) if inside.startswith("bin/") else path)


def _travels(name: str, folder: str) -> bool:
    if name.startswith("/") or ("__pycache__" in name and "__pycache__" in name.split("/")):
        return False
    return not (name.startswith(f"{folder}/") and name.rpartition("/")[2] in _PLACES)


def _record(rows: list[list[str]]) -> bytes:
    """Write a RECORD without what differs from one installation to the next: the digests of scripts, which name the interpreter."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(row for row in rows if not row[0].startswith("../")))
    return text.getvalue().encode()


def _prefix(site: str) -> str:
    """Find the prefix of an installation: above lib/python3.x/site-packages."""
    parts = site.split(os.sep)
    return os.sep.join(parts[:-3]) if len(parts) > 3 and parts[-3] in {"lib", "lib64"} else os.path.dirname(site)


def _below(prefix: str, path: str) -> str:
    return path[len(prefix) + 1 :] if path.startswith(prefix + os.sep) else ""


def _console_scripts(each: Distribution) -> set[str]:
    """Name the scripts that an installer makes from entry points."""
    return {name for group, name, _ in _entry_points(each) if group in {"console_scripts", "gui_scripts"}}


def entry_modules(each: Distribution) -> list[str]:
    """Name the top-level modules that a distribution's entry points of all groups lead to, sorted."""
    found = {re.split(r"[.:\[\s]", value, maxsplit=1)[0] for _, _, value in _entry_points(each)}
    return sorted(name for name in found if name.isidentifier())


def _entry_points(each: Distribution) -> list[tuple[str, str, str]]:
    """Read a distribution's entry points: group, name and value of each."""
    found, group = [], ""
    try:
        with open(os.path.join(each.metadata, "entry_points.txt"), encoding="utf-8") as stream:
            for line in map(str.strip, stream):
                name, equals, value = line.partition("=")
                if line.startswith("["):
                    group = line.strip("[] ")
                elif equals and line[0] not in "#;":
                    found.append((group, name.strip(), value.strip()))
    except (OSError, UnicodeError):
        return []
    return found


def _neutral(path: str) -> str | bytes:
    """Give a script with a neutral first line if it is one of Python's, else the path."""
    if not os.path.isfile(path):
        return path
    with naming(path), open(path, "rb") as stream:
        start = stream.read(1 << 16)
        match = _SCRIPT.match(start)
        return path if match is None else b"#!python\n" + start[match.end() :] + stream.read()


def with_directories(found: Iterable[Member]) -> list[Member]:
    """Add the directories that files lie in, and keep one of each path."""
    all_members: dict[str, Member] = {}
    for each in found:
        above = each.path.rpartition("/")[0]
        while above and above not in all_members:
            all_members[above] = Member(above, "directory", "")
            above = above.rpartition("/")[0]
        all_members.setdefault(each.path, each)
    return list(all_members.values())
