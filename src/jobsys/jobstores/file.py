"""Job stores in a directory."""

from pathlib import Path
from urllib.parse import unquote

from jobsys.errors import LocatorError
from jobsys.jobstores import keys
from jobsys.storage.local import LocalStorage


def parse(rest: str) -> str:
    """Read what follows ``file:`` as an absolute path; ``file:///a%20b`` is a URL, ``file:a b`` a path as it stands."""
    path = unquote(rest.removeprefix("//localhost").removeprefix("//")) if rest.startswith("//") else rest
    if not path:
        raise LocatorError("file: needs a path: file:/path/to/store")
    if "\0" in path:
        raise LocatorError(f"a path can't hold a null character: {path!r}")
    return str(Path(path).expanduser().absolute())


def storage(path: str, durable: bool = True) -> LocalStorage:
    """Give the storage at a path."""
    return LocalStorage(path, durable=durable, immutable=keys.immutable)
