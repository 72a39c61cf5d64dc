"""Finds the outputs of a task and stores them, file by file."""

import hashlib
import os
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from jobsys.errors import StorageError
from jobsys.sandbox.inside import matches, resolve
from jobsys.sandbox.layout import is_pattern, normal
from jobsys.sandbox.spec import Output, Stored, Task
from jobsys.storage.urls import write_url

AT_ONCE: Final = 8
_PIECE: Final = 1 << 20
_DEEPEST: Final = 200


class OutputError(Exception):
    """An output can't be stored; the text names it and says why."""


class Found(NamedTuple):
    """A file that is to be stored."""

    path: str  # inside
    place: str  # on the host, without links
    url: str


class Kept(NamedTuple):
    """What was stored, and what people should know of it."""

    outputs: list[Stored]
    sums: dict[str, str]  # SHA-256, by URL
    notes: list[str]
    problems: list[str]  # why some are not stored


def store(tree: str, task: Task) -> Kept:
    """Store all outputs that can be stored, some at a time, in their order."""
    found: list[Found] = []
    kept = Kept([], {}, [], [])
    for output in task.outputs:
        try:
            some = list(_files(tree, output))
        except OutputError as error:
            kept.problems.append(str(error))
            continue
        if not some:
            kept.notes.append(f"output {output.path}: {'nothing matches' if is_pattern(output.path) else 'it is empty'}")
        found += some
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each, future in [(each, pool.submit(_send, each)) for each in found]:
            try:
                size, kept.sums[each.url] = future.result()
                kept.outputs.append(Stored(each.url, each.path, str(size)))
            except (StorageError, OSError) as error:
                kept.problems.append(f"output {each.path} can't be stored at {each.url}: {error}")
    return kept


def _send(each: Found) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(each.place, "rb") as source, write_url(each.url) as stream:
        while piece := source.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            stream.write(piece)
    return size, digest.hexdigest()


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _files(tree: str, output: Output) -> Iterator[Found]:
    if is_pattern(output.path):
        for path in matches(tree, output.path):
            yield from _from(tree, path, _joined(output.url, path.removeprefix(output.path_prefix)))
        return
    path = normal(output.path)
    place = resolve(tree, path)
    if place is None:
        raise OutputError(f"output {path}: there is no such {output.type.lower()}")
    if output.type == "FILE" and os.path.isdir(place):
        raise OutputError(f"output {path}: it is a directory, and was declared as a FILE")
    if output.type == "DIRECTORY" and not os.path.isdir(place):
        raise OutputError(f"output {path}: it is no directory")
    yield from _from(tree, path, output.url)


def _from(tree: str, path: str, url: str, depth: int = 0) -> Iterator[Found]:
    """Give a file, or all files below a directory, by name."""
    place = resolve(tree, path)
    if place is None:
        raise OutputError(f"output {path}: it is a link that leads to nothing, or out of what the task shares")
    if not os.path.isdir(place):
        if not os.path.isfile(place):
            raise OutputError(f"output {path}: it is neither a file nor a directory")
        yield Found(path, place, url)
        return
    if depth > _DEEPEST:
        raise OutputError(f"output {path}: links lead in a circle")
    for name in sorted(os.listdir(place)):
        yield from _from(tree, posixpath.join(path, name), _joined(url, name), depth + 1)


def _joined(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name.lstrip('/')}"
