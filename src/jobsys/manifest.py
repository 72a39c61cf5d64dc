"""The words that all who ship code share: entries, their manifest and its digests, how a URL is shown. Reads and writes no file.

It belongs to the *core*: the modules that need nothing but the standard library, so that a bare Python can run them out of one archive.
"""

import os
import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from jobsys.digest import ContentDigest
from jobsys.errors import JobsysError

CORE: Final[tuple[str, ...]] = (
    "cache",
    "central",
    "collecting",
    "digest",
    "errors",
    "fetch",
    "files",
    "holding",
    "kept",
    "late",
    "manifest",
    "transfer",
    "unpack",
)
"""The modules of jobsys that bring code to a host; they import the standard library and each other, nothing else."""

Kind = Literal["directory", "file", "link"]

THREADS: Final = min(4, len(os.sched_getaffinity(0)))
UNPORTABLE: Final = re.compile(r"\\|^[A-Za-z]:")
DIGEST_FIELD: Final = 0x6A73  # the id of our extra field in a central directory
STORED: Final = 0
DEFLATED: Final = 8


class PackageError(JobsysError):
    """Something can't be packed or unpacked; the message names the file."""


class ChangedError(PackageError):
    """A file is no longer what it was a moment ago: the tree is to be read again."""


class Entry(NamedTuple):
    """One line of a manifest."""

    path: str
    kind: Kind
    mode: int
    size: int
    sha256: str

    def line(self) -> bytes:
        """Write the line as the digests see it."""
        return manifest_line(*self)


def is_inside(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it, by its components."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def manifest_line(path: str, kind: Kind, mode: int, size: int, sha256: str) -> bytes:
    """Write the line of an entry as the digests see it."""
    return os.fsencode(f"{kind} {mode:o} {size} {sha256} {path}\0")


class HasLine(Protocol):
    """What can write itself as a line of a manifest."""

    def line(self) -> bytes:
        """Write the line as the digests see it."""


def manifest_digest(entries: Iterable[HasLine]) -> ContentDigest:
    """Digest a manifest; its entries must be sorted by ``order``."""
    digest = ContentDigest()
    digest.update(b"jobsys manifest 1\0" + b"".join([entry.line() for entry in entries]))
    return digest


def order(path: str) -> bytes:
    """Give the sort key of a path in a manifest; a directory comes before what is in it."""
    return os.fsencode(path)


def is_safe_link(path: str, target: str) -> bool:
    """Tell whether a link at ``path`` stays in its tree: relative, ``..`` only at the beginning, and not too many of them."""
    parts = target.split("/")
    climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and not target.startswith("/") and ".." not in parts[climbs:] and climbs <= path.count("/")


def shown(url: str) -> str:
    """Write a URL for a message, without the signature that its query may carry, or a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
