"""Pack a directory into a reproducible ZIP archive, in flat memory. Knows neither job stores nor modules.

A tree is described by its *manifest*: one line an entry, sorted, with kind, mode, size and SHA-256. The digests of a tree are digests
of that manifest, not of the archive: the same tree has the same digests anywhere, whatever the version of zlib that compressed it, and
what was saved once is recognised without packing it again. The archive carries each SHA-256 in its central directory, so ``unpack.py``
can rebuild the manifest before it writes the first byte. An archive that is not compressed is byte-identical anywhere; a compressed
one is byte-identical only between machines with the same zlib.

What is packed: regular files and empty directories too, permission bits (``rwx``, no set-user-id), no times. A symbolic link that
points inside the tree stays a link, relative, also when it dangles. One that points outside is replaced by what it points to; one that
dangles outside, or leads back to a directory around it, is left out with a warning. So are pipes, sockets, devices and names that other
systems can't write (a backslash, a drive letter). ``excluded`` tells what is left out without a warning.
"""

import logging
import os
import re
import stat
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatch
from hashlib import sha256
from itertools import batched
from pathlib import Path
from typing import Final, Literal, NamedTuple

from jobsys.digest import ContentDigest
from jobsys.errors import JobsysError

logger = logging.getLogger(__name__)

Kind = Literal["directory", "file", "link"]

PIECE: Final = 1 << 20
THREADS: Final = min(4, os.cpu_count() or 1)
IGNORE_FILE: Final = ".jobsysignore"
_NOT_CODE: Final = frozenset(
    (".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".nox", "node_modules")
)
_NOT_CODE_IF_INSIDE: Final = ("pyvenv.cfg", "jobsys-store.json")
_UNPORTABLE: Final = re.compile(r"\\|^[A-Za-z]:")
_LINK_MODE: Final = 0o777


class PackageError(JobsysError):
    """Something can't be packed or unpacked; the message names the file."""


class Member(NamedTuple):
    """One thing to pack: its path in the tree, and where its content is (for a link: its target)."""

    path: str
    kind: Kind
    source: str


class Entry(NamedTuple):
    """One line of a manifest; ``crc`` is for the archive and no part of the line."""

    path: str
    kind: Kind
    mode: int
    size: int
    sha256: str
    crc: int = 0

    def line(self) -> bytes:
        """Write the line as the digests see it."""
        return b"%s %o %d %s %s\0" % (self.kind.encode(), self.mode, self.size, self.sha256.encode(), os.fsencode(self.path))


def tree_digest(entries: Iterable[Entry]) -> ContentDigest:
    """Digest a manifest whose entries are sorted."""
    digest = ContentDigest()
    digest.update(b"jobsys manifest 1\0")
    for some in batched(entries, 1000) if False else [entries]:
        digest.update(b"".join([entry.line() for entry in some]))
    return digest
