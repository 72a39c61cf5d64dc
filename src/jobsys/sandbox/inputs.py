"""Brings the inputs of a task to where its executors find them."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from jobsys.errors import StorageError
from jobsys.sandbox.layout import Bind, below, is_pattern, normal
from jobsys.sandbox.places import RefusedUrlError, check
from jobsys.sandbox.spec import Input, Site, Task
from jobsys.storage.trees import files_below
from jobsys.storage.urls import read_url

AT_ONCE: Final = 8
_PIECE: Final = 1 << 20


class InputError(Exception):
    """An input can't be had; the text names it and says why."""


def check_urls(task: Task, site: Site) -> None:
    """Refuse a task of which any URL can't be used, before anything moves.

    Raises:
        InputError: one can't.
    """
    problems = []
    urls = [(each.path, each.url) for each in task.inputs if each.content is None] + [(each.path, each.url) for each in task.outputs]
    for path, url in urls:
        try:
            check(url, site.allowed)
        except RefusedUrlError as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise InputError("; ".join(problems))


def make_places(tree: str, task: Task, shared: Sequence[Bind]) -> None:
    """Make the directories that executors share, and those around files."""
    for bind in shared:
        place = below(tree, bind.path)
        os.makedirs(place if bind.directory else os.path.dirname(place), exist_ok=True)
        if not bind.directory and not os.path.exists(place):
            with open(place, "xb"):
                pass
    for each in (*task.volumes, *(output.path for output in task.outputs if output.type == "DIRECTORY" and not is_pattern(output.path))):
        os.makedirs(below(tree, each), exist_ok=True)
    for output in task.outputs:
        os.makedirs(os.path.dirname(below(tree, output.path.partition("*")[0])), exist_ok=True)
    for executor in task.executors:
        for stream in filter(None, (executor.stdout, executor.stderr)):
            os.makedirs(os.path.dirname(below(tree, stream)), exist_ok=True)


def stage(tree: str, task: Task) -> dict[str, str]:
    """Bring all inputs, some at a time; give the SHA-256 of each file, by its path inside.

    Raises:
        InputError: one can't be had.
    """
    sums: dict[str, str] = {}
    moves: list[tuple[str, str, Callable[[str], str]]] = []
    for each in task.inputs:
        moves += _moves(tree, each)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [(path, pool.submit(bring, target)) for path, target, bring in moves]
        try:
            for path, future in futures:
                sums[path] = _result(path, future.result)
        finally:
            pool.shutdown(cancel_futures=True)
    return sums


def _result(path: str, of: Callable[[], str]) -> str:
    try:
        return of()
    except (StorageError, OSError) as error:
        raise InputError(f"input {path}: {error}") from error


def _moves(tree: str, each: Input) -> list[tuple[str, str, Callable[[str], str]]]:
    """Say what is to be brought where, and how."""
    inside, target = normal(each.path), below(tree, each.path)
    if each.content is not None:
        data = each.content.encode()
        return [(inside, target, lambda place: _write(place, data))]
    if each.type == "FILE":
        return [(inside, target, lambda place: _fetch(each.url, place))]
    os.makedirs(target, exist_ok=True)
    try:
        names = list(files_below(each.url))
    except StorageError as error:
        raise InputError(f"input {inside}: {error}") from error
    root = each.url.rstrip("/")
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"input {inside}: {each.url} holds {name!r}, which leads out of it")
    return [(f"{inside}/{name}", f"{target}/{name}", lambda place, name=name: _fetch(f"{root}/{name}", place)) for name in names]  # type: ignore[misc]


def _write(target: str, data: bytes) -> str:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as stream:
        stream.write(data)
    return hashlib.sha256(data).hexdigest()


def _fetch(url: str, target: str) -> str:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    digest = hashlib.sha256()
    with read_url(url) as source, open(target, "wb") as stream:
        while piece := source.read(_PIECE):
            digest.update(piece)
            stream.write(piece)
    return digest.hexdigest()


def remove(tree: str) -> None:
    """Delete the files of a task, whatever its executors have made of them."""
    for folder, folders, _ in os.walk(tree):
        for name in folders:
            path = os.path.join(folder, name)
            if not os.path.islink(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                os.chmod(path, 0o700)
    shutil.rmtree(tree, ignore_errors=True)
