"""Paths as processes inside a sandbox see them, on the host: links and wildcards, and never out of the tree.

What executors have left may lie: a link to ``/etc/passwd`` means the file inside. Called when none of them runs.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import IO, Final

from jobsys.sandbox.layout import below, is_pattern, normal

_LINKS: Final = 40


def resolve(tree: str, path: str) -> str | None:
    """Find on the host what a path means inside: links lead from the inside's root, and never out of the tree; None if nothing is there."""
    return look_up(path, lambda _: tree)


def look_up(path: str, base: Callable[[str], str]) -> str | None:
    """Find on the host what a path means inside, where what lies below which directory depends on the path.

    Args:
        path: inside.
        base: gives the directory of the host that stands for the inside's root, for a path.
    """
    for _ in range(_LINKS):
        path = normal(path)
        root = base(path)
        behind = _behind_link(root, path)
        if behind is None:
            place = below(root, path)
            return place if os.path.lexists(place) else None
        path = behind
    return None


def _behind_link(root: str, path: str) -> str | None:
    """Follow the first link on the way to a path; give where that leads, from the inside's root."""
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        here = "/" + "/".join(parts[:count])
        if os.path.islink(root + here):
            target = posixpath.join(posixpath.dirname(here), os.readlink(root + here))
            return posixpath.join(target, *parts[count:])
    return None


def open_inside(tree: str, path: str, *, write: bool) -> IO[bytes]:
    """Open a file by its path inside; a link in the place of one that is written to is replaced.

    Raises:
        OSError: it can't be opened, or leads out.
    """
    folder, name = posixpath.split(normal(path))
    around = resolve(tree, folder)
    if around is None:
        raise FileNotFoundError(2, "no such directory", folder)
    place = f"{around}/{name}" if write else resolve(tree, path)
    if place is None:
        raise FileNotFoundError(2, "no such file", path)
    if write and os.path.islink(place):
        os.unlink(place)
    return os.fdopen(
        os.open(place, (os.O_WRONLY | os.O_CREAT | os.O_TRUNC if write else os.O_RDONLY) | os.O_NOFOLLOW, 0o666), "wb" if write else "rb"
    )


# ── wildcards ────────────────────────────────────────────────────────────────────────────────────────────────────────


def matches(tree: str, pattern: str) -> Iterator[str]:
    """Give the paths that a pattern of POSIX 2.13 matches, in order: ``*`` and ``?`` match neither ``/`` nor a leading dot."""
    yield from _matching(tree, "/", pattern.strip("/").split("/"))


def _matching(tree: str, folder: str, parts: list[str]) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if not is_pattern(first) and "\\" not in first:
        names = [first]
    else:
        place = resolve(tree, folder)
        expression = translated(first)
        there = sorted(os.listdir(place)) if place is not None and os.path.isdir(place) else []
        names = [name for name in there if expression.fullmatch(name) and (not name.startswith(".") or first.startswith((".", "\\.")))]
    for name in names:
        path = posixpath.join(folder, name)
        if not rest:
            if os.path.lexists(below(tree, path)):
                yield path
        else:
            yield from _matching(tree, path, rest)


def translated(pattern: str) -> re.Pattern[str]:
    r"""Turn one part of a pattern into an expression: ``*``, ``?``, ``[a-z]``, ``[!a-z]``, and ``\`` before what is meant as it stands."""
    made, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            made += ".*"
        elif letter == "?":
            made += "."
        elif letter == "\\" and at < len(pattern):
            made += re.escape(pattern[at])
            at += 1
        elif letter == "[" and (end := _end_of_set(pattern, at)) > 0:
            made += _set(pattern[at:end])
            at = end + 1
        else:
            made += re.escape(letter)
    return re.compile(made, re.DOTALL)


def _end_of_set(pattern: str, start: int) -> int:
    """Find the bracket that ends a set; one that comes first in it belongs to it."""
    at = start + (pattern[start : start + 1] in {"!", "^"})
    return pattern.find("]", at + 1)


def _set(inside: str) -> str:
    negated, letters = (True, inside[1:]) if inside[:1] in {"!", "^"} else (False, inside)
    safe = re.sub(r"[\\\]\[^&~|]", lambda match: "\\" + match[0], letters)
    return f"[{'^' if negated else ''}{safe}]"
