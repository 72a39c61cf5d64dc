"""What was unpacked on this host, and whether it still is what it was. Owns the two lists beside a tree; brings nothing back.

``<place>/.jobsys-manifest`` lists every entry with what ``lstat`` said of it. ``<place>/.jobsys-sealed`` lists the bytecode that Python
has written into the tree since and that a worker host vouched for; other bytecode is removed before it can be imported.
"""

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final, NamedTuple

from jobsys.files import locked, remove, write_whole
from jobsys.manifest import Entry, Kind, manifest_line

MANIFEST: Final = ".jobsys-manifest"
SEALED: Final = ".jobsys-sealed"
SMALL_TREE: Final = 8_000_000
"""Up to this size in bytes, a tree is read in full whenever it is used again, unless who asks says otherwise."""
KINDS: Final[dict[int, Kind]] = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
BYTECODE: Final = "__pycache__"
_SETTLED: Final = 2_000_000_000  # nanoseconds after which a clock that ticks slowly can't hide a change behind equal stamps
_ROWS: Final = 1000  # of a list at a time: writing JSON takes many times the memory of its text
_PIECE: Final = 1 << 16  # more would be asked of the system each time
_TYPES: Final = [str, str, int, int, str, int, int, int]


class Kept(NamedTuple):
    """A file, link or directory as it was unpacked: its line of the manifest and what ``lstat`` said then."""

    path: str
    kind: Kind
    mode: int
    size: int
    sha256: str
    modified: int = 0
    changed: int = 0
    inode: int = 0

    @property
    def entry(self) -> Entry:
        """Give the line of the manifest."""
        return Entry(*self[:5])

    def line(self) -> bytes:
        """Write the line of the manifest."""
        return manifest_line(*self[:5])


def noted(entry: Entry, found: os.stat_result) -> Kept:
    """Note an entry with what ``lstat`` says of it."""
    return Kept(*entry, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


# ── the lists ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_list(place: str, kept: Iterable[Kept], name: str = MANIFEST, size: int | None = None) -> None:
    """Write the list of what is in a place; first what it takes of the disk, where that is not the sum (of hard links, say)."""
    rows = list(kept)
    data = bytearray(b"%d\n[" % (sum(each.size for each in rows) if size is None else size))
    for start in range(0, len(rows), _ROWS):
        part = json.dumps(rows[start : start + _ROWS], separators=(",", ":"))
        data += f"{',' if start else ''}{part[1:-1]}".encode()
    data += b"]"
    write_whole(f"{place}/{name}", memoryview(data), sync=False)


def read_list(place: str, name: str = MANIFEST) -> list[Kept]:
    """Read the list of what is in a place.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    with open(f"{place}/{name}", "rb") as stream:
        stream.readline()
        rows = json.loads(stream.read())
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError(f"{name} is no list of entries")
    return list(map(Kept._make, rows))


def _is_row(row: object) -> bool:
    return isinstance(row, list) and [type(field) for field in row] == _TYPES


def size_of(place: str) -> int | None:
    """Tell the size of what is in a place, as its list notes it; None if there is no such list."""
    try:
        with open(f"{place}/{MANIFEST}", "rb") as stream:
            return int(stream.readline(20))
    except (OSError, ValueError):
        return None


# ── look again ───────────────────────────────────────────────────────────────────────────────────────────────────────


def harm(place: str, name: str, kept: list[Kept], *, alone: bool = True, small: int | None = None) -> str | None:
    """Find out how what is in ``place/<name>`` differs from what is noted of it, and make it fit to be imported; None if all is well.

    Bytecode that is not sealed, or no longer what was sealed, is removed. Where content had to be read because stamps had changed, and
    was right, the stamps are noted anew, so that it is read once. ``small``, SMALL_TREE if not given, is the size in bytes up to which a
    tree is read in full.
    """
    base = f"{place}/{name}"
    reason, fresh = _look(base, kept, alone=alone, small=small)
    if reason is None:
        _remove_unsealed(place, base, kept)
        if fresh != kept:
            _refresh(place, kept, fresh)
    return reason


def damage(base: str, kept: list[Kept], *, alone: bool) -> str | None:
    """Find out how a tree differs from what was unpacked; None if it does not.

    Every name, kind, permission and size is compared. Content is read in full where the tree is small, else where the inode or a time of
    modification or change is not the one that was noted: whoever writes to a file changes the latter, even if he sets back the former.
    With ``alone``, names that were not unpacked are damage too, but for ``__pycache__``: Python makes these itself.
    Damage that no ``stat`` shows (a failing disk) in a large tree is not found.
    """
    return _look(base, kept, alone=alone)[0]


def _look(base: str, kept: list[Kept], *, alone: bool, small: int | None = None) -> tuple[str | None, list[Kept]]:
    """Give the damage, and the entries with the stamps that they have now."""
    in_full = sum(each.size for each in kept) <= (SMALL_TREE if small is None else small)
    if alone:
        known = {each.path for each in kept}
        if extra := next(_unknown(base, _directories(kept), known), None):
            return f"{extra} was not shipped", kept
    fresh = []
    for each in kept:
        reason, now = _damage_of(base, each, in_full)
        if reason:
            return f"{each.path} {reason}", kept
        fresh.append(now)
    return None, fresh


def _directories(kept: list[Kept]) -> list[str]:
    return ["", *(each.path for each in kept if each.kind == "directory")]


def _unknown(base: str, directories: list[str], known: set[str]) -> Iterator[str]:
    for directory in directories:
        try:
            with os.scandir(f"{base}/{directory}") as found:
                names = [child.name for child in found]
        except OSError:
            yield directory
            continue
        for name in names:
            path = f"{directory}/{name}" if directory else name
            if path not in known and name != BYTECODE:
                yield path


def _damage_of(base: str, each: Kept, read: bool) -> tuple[str | None, Kept]:
    path = f"{base}/{each.path}"
    try:
        found = os.lstat(path)
        if KINDS.get(stat.S_IFMT(found.st_mode)) != each.kind:
            return "is of another kind", each
        if each.kind == "directory":
            return None, each
        if found.st_size != each.size or (each.kind == "file" and found.st_mode & 0o7777 != each.mode):
            return "has another size or other permissions", each
        same = found.st_ctime_ns == each.changed and found.st_mtime_ns == each.modified and found.st_ino == each.inode
        if (read or not same) and _content(path, each.kind) != each.sha256:
            return "has another content", each
    except OSError as error:
        return f"can't be read: {error.strerror}", each
    settled = not same and time.time_ns() - found.st_ctime_ns > _SETTLED
    return None, noted(each.entry, found) if settled else each


def _content(path: str, kind: Kind) -> str:
    if kind == "link":
        return sha256(os.fsencode(os.readlink(path))).hexdigest()
    digest = sha256()
    with open(path, "rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):  # file_digest makes a large buffer for each file, and most are small
            digest.update(piece)
    return digest.hexdigest()


def _refresh(place: str, known: list[Kept], fresh: list[Kept]) -> None:
    """Note stamps anew, unless somebody works on the place: then a later look will."""
    with suppress(BlockingIOError), locked(f"{place}.lock", wait=False):
        if read_list(place) == known:
            write_list(place, fresh, size=size_of(place))


# ── bytecode ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def seal(place: str) -> None:
    """Vouch for the bytecode that Python has written into the trees of a place; call it right after the code was loaded.

    What was sealed before and has another content now is not sealed again: Python had no reason to write it anew.
    """
    with locked(f"{place}.lock"):
        before = {each.path: each for each in _sealed(place)}
        found = [_noted_bytecode(place, path, before.get(path)) for path in _bytecode_below(place)]
        now = [each for each in found if each is not None]
        if now != list(before.values()):
            write_list(place, now, SEALED)


def _bytecode_below(place: str) -> list[str]:
    folders = (walked for walked in os.walk(place) if os.path.basename(walked[0]) == BYTECODE)
    paths = [f"{directory}/{name}" for directory, _, names in folders for name in names if name.endswith(".pyc")]
    return sorted(path.removeprefix(f"{place}/") for path in paths)


def _noted_bytecode(place: str, path: str, before: Kept | None) -> Kept | None:
    try:
        found = os.lstat(f"{place}/{path}")
        if not stat.S_ISREG(found.st_mode):
            return None
        entry = Entry(path, "file", stat.S_IMODE(found.st_mode), found.st_size, before.sha256 if before else "")
        if before is not None and noted(entry, found) == before:
            return before
        digest = _content(f"{place}/{path}", "file")
    except FileNotFoundError:  # Python replaces bytecode by a rename, another process may remove it
        return None
    return noted(entry._replace(sha256=digest), found) if before is None or before.sha256 == digest else None


def _sealed(place: str) -> list[Kept]:
    try:
        return read_list(place, SEALED)
    except (OSError, ValueError):  # without a list nothing is sealed
        return []


def _remove_unsealed(place: str, base: str, kept: list[Kept]) -> None:
    """Remove what nobody vouches for from the ``__pycache__`` directories that were not shipped."""
    shipped = {each.path for each in kept}
    folders = [f"{directory}/{BYTECODE}".removeprefix("/") for directory in _directories(kept)]
    there = [f"{base}/{folder}" for folder in folders if folder not in shipped and os.path.lexists(f"{base}/{folder}")]
    sealed = {each.path: each for each in _sealed(place)} if there else {}
    for folder in there:
        if os.path.islink(folder) or not os.path.isdir(folder):
            remove(folder)
            continue
        inside = os.path.relpath(folder, place)
        for name in os.listdir(folder):
            vouched = sealed.get(f"{inside}/{name}")
            if vouched is None or _damage_of(place, vouched, read=False)[0]:
                remove(f"{folder}/{name}")
