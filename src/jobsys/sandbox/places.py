"""Which URLs a task may read and write. Checked before anything moves."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Final

from jobsys.storage.urls import local_file

SCHEMES: Final = ("file", "s3", "http", "https", "ftp", "sftp", "gs")
"""What inputs are fetched by; a path without a scheme is a file."""
NOT_WRITABLE: Final = frozenset({"http", "https"})
"""What single files can be put to, but no directory, and much of which takes none."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class RefusedUrlError(Exception):
    """A URL that a task may not use; the text says why, and what it may."""


def scheme_of(url: str) -> str:
    """Give a URL's scheme in lower case; ``file`` for a path."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else "file"


def check(url: str, allowed: Sequence[str]) -> None:
    """Refuse a URL that can't be used.

    Args:
        url: it.
        allowed: directories below which files may lie, links and all.

    Raises:
        RefusedUrlError: it may not be used, or nobody knows its scheme.
    """
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise RefusedUrlError(f"{url!r}: there is no way to {scheme}: URLs here; there are {', '.join(SCHEMES)}")
    if scheme == "file":
        if not url.lower().startswith("file:") and not url.startswith("/"):
            raise RefusedUrlError(f"{url!r} is neither a URL nor an absolute path")
        path = local_file(url)
        if path is None or not is_allowed(str(path), allowed):
            where = f"only below {', '.join(allowed)}" if allowed else "nowhere: no directory was named for that (--allow)"
            raise RefusedUrlError(f"{url!r}: files may be read and written {where}")


def is_allowed(path: str, allowed: Iterable[str]) -> bool:
    """Tell whether a path lies in one of some directories, wherever links lead it."""
    real = os.path.realpath(path)
    return any(real == place or real.startswith(place.rstrip("/") + "/") for place in map(os.path.realpath, allowed))
