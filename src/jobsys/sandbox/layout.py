"""Where the paths of a task lie on the host, and which directories its executors share. Decides; touches nothing.

All that inputs, outputs, volumes and streams name lies below one directory of the task, under the path that it has inside. What is
shared is bound into each executor's file system: volumes, and of files the directories around them, so that files can be exchanged
under their names and new ones made; a file in a directory that belongs to the image, such as ``/etc``, is bound alone.
"""

import posixpath
from collections.abc import Iterable
from typing import Final, NamedTuple

from jobsys.sandbox.spec import Task

_NAMES: Final = "bin boot dev etc home lib lib32 lib64 opt proc root run sbin srv sys usr var"
OF_IMAGES: Final = frozenset({"/", *(f"/{name}" for name in _NAMES.split())})
"""Directories that no task may put its own in the place of."""


class Bind(NamedTuple):
    """Something that is shared: a path, the same inside and below the task's directory."""

    path: str
    directory: bool
    writable: bool = True


def binds(task: Task) -> list[Bind]:
    """Tell what executors share, a directory before what is in it, and nothing that lies in another shared directory."""
    wanted: dict[str, Bind] = {}
    for volume in task.volumes:
        _add(wanted, volume, directory=True)
    for taken in task.inputs:
        _add(wanted, taken.path, directory=taken.type == "DIRECTORY")
    for given in task.outputs:
        if is_pattern(given.path):
            _add(wanted, _directory_of(given.path_prefix, given.path), directory=True)
        else:
            _add(wanted, given.path, directory=given.type == "DIRECTORY")
    for executor in task.executors:
        for stream in (executor.stdin, executor.stdout, executor.stderr):
            if stream:
                _add(wanted, stream, directory=False)
    _add(wanted, "/tmp", directory=True)
    return _outermost(wanted.values())


def is_pattern(path: str) -> bool:
    """Tell whether a path has wildcards."""
    return any(letter in path for letter in "*?[")


def _directory_of(prefix: str, pattern: str) -> str:
    """Give the directory below which a pattern's matches lie."""
    fixed = []
    for part in pattern.split("/")[:-1]:
        if is_pattern(part):
            break
        fixed.append(part)
    return "/".join(fixed) or posixpath.dirname(prefix) or "/"


def _add(wanted: dict[str, Bind], path: str, *, directory: bool) -> None:
    path = normal(path)
    around = path if directory else posixpath.dirname(path)
    bind = Bind(path, directory) if around in OF_IMAGES else Bind(around, directory=True)
    wanted.setdefault(bind.path, bind)


def _outermost(found: Iterable[Bind]) -> list[Bind]:
    kept: list[Bind] = []
    for bind in sorted(found):
        if not any(bind.path == each.path or (each.directory and bind.path.startswith(each.path.rstrip("/") + "/")) for each in kept):
            kept.append(bind)
    return kept


def normal(path: str) -> str:
    """Write a path without what it does not need."""
    return "/" + posixpath.normpath(path).lstrip("/")


def below(tree: str, path: str) -> str:
    """Give the place on the host of a path inside."""
    return tree + normal(path)
