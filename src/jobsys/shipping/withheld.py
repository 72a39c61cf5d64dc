"""Modules that are needed and yet left out by a rule: said before anything is sent, not by a job that can't import them. Sends nothing."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from jobsys.manifest import is_inside
from jobsys.scan import LeftOut
from jobsys.shipping.closure import Closure
from jobsys.shipping.origins import NOT_OURS, archive_around, loaded_files, origin_of
from jobsys.tree import Member


class Withheld(NamedTuple):
    """A module that does not travel.

    Args:
        name: its name.
        why: who wants it.
        path: its file or directory, as ``--ship`` takes it.
        reason: why it is left out.
        certain: whether the script loads it, or names it itself; else it may be one that is never imported.
    """

    name: str
    why: str
    path: str
    reason: str
    certain: bool

    def __str__(self) -> str:
        """Say so, and the way out."""
        reason = self.reason.partition(";")[0]
        return f"{self.name}, {self.why}, is left out: {reason}. Rename it, or change that rule, or ship it with --ship {self.path}"


class _Wish(NamedTuple):
    name: str
    why: str
    path: str
    certain: bool


def withheld(closure: Closure, members: Iterable[Collection[Member]], *, loaded: bool) -> list[Withheld]:
    """Find what is left out among the modules that a closure has collected.

    Args:
        closure: what was collected.
        members: what travels.
        loaded: whether what this process has imported counts.
    """
    left = {each.path: each for root in closure.roots.values() for each in root.left_out}
    wishes = _wishes(closure, loaded=loaded) if left else ()
    hits = [(wish, rule) for wish in wishes if (rule := _rule(wish.path, left)) and origin_of(wish.path) == "own"]
    sources = {os.fsdecode(each.source) for some in members for each in some if each.kind == "file"} if hits else set()
    found: dict[str, Withheld] = {}
    for wish, rule in hits:
        if rule.path not in found and not _travels(wish.path, sources):
            found[rule.path] = Withheld(wish.name, wish.why, rule.path, rule.reason, wish.certain)
    return list(found.values())


def _wishes(closure: Closure, *, loaded: bool) -> Iterator[_Wish]:
    """Go through the modules that somebody wants, what is certain first."""
    if closure.script:
        yield _Wish(os.path.basename(closure.script), "the script", closure.script, True)
    who = os.path.basename(closure.script) or "the script"
    for name in sorted(closure.by_script):
        yield from (_Wish(name, f"which {who} imports", place.source, True) for place in closure.places.get(name, ()))
    for name in list(sys.modules) if loaded else ():
        if name.partition(".")[0] not in NOT_OURS:
            yield from (_Wish(name, f"which {who} has loaded", path, True) for path in loaded_files(name))
    for name in sorted(closure.wanted.keys() - closure.by_script):
        yield from (_Wish(name, closure.wanted[name], place.source, False) for place in closure.places.get(name, ()))


def _rule(path: str, left: dict[str, LeftOut]) -> LeftOut | None:
    """Find what leaves a path out, or a directory around it."""
    while path not in left and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return left.get(path)


def _travels(path: str, sources: Collection[str]) -> bool:
    """Tell whether a file, or something of a directory, travels for another reason."""
    places = (os.path.abspath(path), os.path.realpath(path), archive_around(path))
    if os.path.isdir(path):
        return any(is_inside(each, place) for each in sources for place in places if place)
    return any(place in sources for place in places)
