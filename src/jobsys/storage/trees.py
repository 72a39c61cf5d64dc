"""Which files lie below a URL that means a directory."""

import importlib
import os
from collections.abc import Iterator

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.urls import driver, local_file, scheme_and_rest


def files_below(url: str) -> Iterator[str]:
    """Give the paths of all files below a directory, relative to it, in order.

    Raises:
        NotFoundError: there is no such directory.
        StorageError: it can't be listed; over http nothing can.
    """
    scheme, rest = scheme_and_rest(url)
    if scheme == "file":
        yield from _below_directory(str(local_file(url)))
    elif scheme == "s3":
        yield from _below_prefix(rest)
    elif scheme in {"http", "https", "memory"}:
        raise StorageError(f"{url}: {scheme} has no directories: name single files")
    else:
        with driver(rest) as (files, path):
            root = path.rstrip("/")
            found = [each.removeprefix(root).lstrip("/") for each in files.find(root)]
        if not found:
            raise NotFoundError(f"there is nothing below {url}")
        yield from sorted(found)


def _below_directory(root: str) -> Iterator[str]:
    if not os.path.isdir(root):
        raise NotFoundError(f"there is no directory {root}")
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root)


def _below_prefix(url: str) -> Iterator[str]:
    yield from importlib.import_module("jobsys.storage.s3.objects").below(url)  # loaded on use, as boto3 is
