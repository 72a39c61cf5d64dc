"""Finds the outputs of a task and stores them, file by file."""

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator
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


def store(tree: str, task: Task) -> Kept:
    """Store all outputs, some at a time, in the order of their paths.

    Raises:
        OutputError: one is not there, leads out of what the task shares, or can't be stored.
    """
    found: list[Found] = []
    notes: list[str] = []
    for output in task.outputs:
        some = list(_files(tree, output))
        if not some:
            notes.append(f"output {output.path}: nothing matches" if is_pattern(output.path) else f"output {output.path}: it is empty")
        found += some
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [(each, pool.submit(_send, each)) for each in found]
        try:
            kept = [(each, _result(each, future.result)) for each, future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
    return Kept(
        [Stored(each.url, each.path, str(size)) for each, (size, _) in kept], {each.url: digest for each, (_, digest) in kept}, notes
    )


def _result(each: Found, of: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    try:
        return of()
    except (StorageError, OSError) as error:
        raise OutputError(f"output {each.path} can't be stored at {each.url}: {error}") from error


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
