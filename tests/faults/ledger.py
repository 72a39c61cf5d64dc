"""What a storage has promised: the objects it has acknowledged, and what else each key may ever show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from jobsys.storage.base import Storage
from jobsys.storage.faulty import FaultyStorage
from jobsys.storage.folders import TEMPORARY
from jobsys.storage.packs import is_reserved
from jobsys.storage.records import follows, whole
from simulation.disk import Tree  # type: ignore[import-not-found]


class Ledger:
    """Bytes by key: those that must be there, and those that may."""

    def __init__(self) -> None:
        self.see: Callable[[], None] = lambda: None  # called after each acknowledgement
        self.due: dict[str, set[bytes]] = {}  # one of these must be there
        self.ever: dict[str, set[bytes]] = {}

    def begins(self, key: str, data: bytes) -> None:
        """Note that an object is going to be written: from now on it may be there."""
        self.ever.setdefault(key, set()).add(data)
        if key in self.due:
            self.due[key] = self.due[key] | {data}

    def acknowledges(self, key: str, data: bytes | None) -> None:
        """Note that a write has returned; None if it was refused, because there is such an object already."""
        self.due[key] = {data} if data is not None else self.ever[key]
        self.see()

    def forgets(self, key: str) -> None:
        """Note that an object is going to be deleted: it need not be there any more, and a deletion may be undone."""
        self.due.pop(key, None)

    def check(self, tree: Tree, root: str) -> None:
        """Compare with what a disk holds below the root of the storage."""
        found = objects(tree, root)
        for key, allowed in self.due.items():
            assert key in found, f"{key} was acknowledged and is gone"
            assert found[key] in allowed, f"{key} was acknowledged and is not what was written"
        for key, data in found.items():
            assert data in self.ever.get(key, ()), f"{key} holds {len(data)} bytes that nobody wrote"


def objects(tree: Tree, root: str) -> dict[str, bytes]:
    """Read what storage below a root has in a tree: files, and what counts of packs."""
    found = {}
    packs: dict[str, dict[str, bytes]] = {}
    for path, leaf in tree.items():
        key = path.removeprefix(f"{root}/")
        if leaf is None or key == path or key.startswith(f"{TEMPORARY}/"):
            continue
        folder, _, name = key.rpartition("/")
        if folder == "journal" and is_reserved(name):
            pack, _, suffix = name.partition(".")
            packs.setdefault(pack, {})[suffix] = leaf.data
        else:
            found[key] = leaf.data
    for pack in sorted(packs):
        found |= counted(packs[pack])
    return found


def counted(pack: dict[str, bytes]) -> dict[str, bytes]:
    """Read the objects of a pack of which there are these files, by suffix."""
    data = pack.get("open", pack.get("shut", b""))

    def read(length: int, at: int) -> bytes:
        return data[at : at + length]

    records = whole(read, 0)
    assert not follows(read, (records[-1].end if records else 0) + 1), "damage in the middle of a pack"
    if "end" in pack:
        records = [record for record in records if record.end <= int(pack["end"])]
        assert (records[-1].end if records else 0) == int(pack["end"]), "a pack that ends before its end"
    return {record.key: data[record.begin : record.end] for record in records}


class NotedStorage(FaultyStorage):
    """A storage of which every promise is noted."""

    def __init__(self, inner: Storage, ledger: Ledger) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._later: dict[str, bytes] = {}

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        noted = bytes(data)
        self._ledger.begins(key, noted)
        made = super().put(key, data, if_absent=if_absent)
        self._ledger.acknowledges(key, noted if made else None)
        return made

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:
        with super().writer(key, executable=executable, later=later) as stream, BytesIO() as copy:
            yield _Both(stream, copy)  # type: ignore[misc]
            noted = copy.getvalue()
            self._ledger.begins(key, noted)
        if later is not None and key in later:
            self._later[key] = noted
        else:
            self._ledger.acknowledges(key, noted)

    def settle(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        super().settle(keys)
        for key in keys:
            self._ledger.acknowledges(key, self._later.pop(key))

    def delete(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for key in keys:
            self._ledger.forgets(key)
        super().delete(keys)


class _Both:
    """Writes to a stream, and to a copy."""

    def __init__(self, stream: BinaryIO, copy: BytesIO) -> None:
        self._stream = stream
        self._copy = copy

    def write(self, data: bytes) -> int:
        self._copy.write(data)
        return self._stream.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
