"""A disk as a journaling file system may leave it at a power cut: a model of files and names, with what is synced and what is not.

What a program does is visible to every process at once (`Disk.now`) and outlives the end of every process. What a power cut leaves is
another matter (`Disk.after_power_cut`):

- A file's bytes are there as far as ``fsync`` of the file was called behind them. Of what was written since, any part may be there: none,
  all, a beginning, with zeros in place of any sector, in any mixture with what was there before.
- A name (made or replaced by create, link, rename and mkdir, removed by unlink, rmdir and rename) is as it was at the last ``fsync`` of
  its directory, or as any of the changes since has left it. Changes of one name happen in order. Those of different names, and names and
  bytes, are independent of each other: a rename may be seen without what was renamed before it, or without the bytes of its file.
- A directory's names count only if the directory itself has a name: ``fsync`` of a file or directory says nothing of the way to it.
- One thing is held together, as every journal does: a rename never removes the old name without making the new one.

Real file systems leave less than that (ext4 orders its changes, and syncs a new file's name with its bytes); what survives here survives
on all of them. Not modelled: bytes that change or vanish although they were synced, and a disk that lies about ``fsync``.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""
SLICES = 64
"""Into so many pieces a large unsynced write is torn at most: more would only cost time."""


class Leaf(NamedTuple):
    """A file as a disk holds it."""

    data: bytes
    mode: int


Tree = dict[str, Leaf | None]
"""Path from the root (``a/b``) -> a file, or None for a directory; directories come before what they hold."""


class File:
    """A file's bytes: as processes see them, and as they were at the last sync."""

    def __init__(self, mode: int, data: bytes = b"") -> None:
        """Begin with bytes that are synced."""
        self.mode = mode
        self.data = self.synced = data

    def write(self, data: bytes, offset: int | None = None) -> None:
        """Write somewhere, or at the end."""
        at = len(self.data) if offset is None else offset
        self.data = self.data[:at].ljust(at, b"\0") + data + self.data[at + len(data) :]

    def truncate(self, length: int) -> None:
        """Cut off the end."""
        self.data = self.data[:length]

    def sync(self) -> None:
        """Have the bytes survive."""
        self.synced = self.data

    def left(self, random: Random, kept: float) -> bytes:
        """Give the bytes that a power cut leaves; of what was not synced about the share ``kept``."""
        if self.data == self.synced or kept == 1.0:
            return self.data
        if kept == 0.0:
            return self.synced
        known = len(self.data) if random.random() < 0.5 else random.randint(min(len(self.synced), len(self.data)), len(self.data))
        piece = max(SECTOR, -(-known // SLICES // SECTOR) * SECTOR)
        zeros = bytes(piece)
        parts = []
        for start in range(0, known, piece):
            new = random.random() < kept
            part = (self.data if new else self.synced.ljust(start, b"\0"))[start : start + piece]
            parts.append((part + zeros)[: min(piece, known - start)])
        return b"".join(parts)


class _Change(NamedTuple):
    """What a name leads to since a change: a file, a directory, or nothing."""

    node: Node | None
    number: int = 0
    needs: tuple[Directory, str, int] | None = None  # it is there only together with that change, or a later one, of another name


class Directory:
    """Names, each with what it led to at the last sync and with its changes since."""

    def __init__(self) -> None:
        """Begin without a name."""
        self.names: dict[str, list[_Change]] = {}

    def __getitem__(self, name: str) -> Node | None:
        """Give what a name leads to now."""
        return self.names[name][-1].node if name in self.names else None

    def change(self, name: str, change: _Change) -> None:
        """Change a name, unsynced."""
        self.names.setdefault(name, [_Change(None)]).append(change)

    def sync(self) -> None:
        """Have all names survive, as far as this directory does; with a name that a rename has removed goes the one that it made."""
        for change in itertools.chain.from_iterable(self.names.values()):
            if change.needs is not None:
                folder, name, number = change.needs
                folder._settle(name, number)
        self.names = {name: [changes[-1]._replace(needs=None)] for name, changes in self.names.items() if changes[-1].node is not None}

    def _settle(self, name: str, number: int) -> None:
        """Have a name survive as it was after a change."""
        changes = self.names.get(name, [])
        while len(changes) > 1 and changes[0].number < number:
            del changes[0]

    def empty(self) -> bool:
        """Tell whether no name leads anywhere now."""
        return all(changes[-1].node is None for changes in self.names.values())


Node = File | Directory
_Choice = dict[tuple[int, str], int]  # which change of a directory's name is the last that survives


class Disk:
    """A tree of files. Paths are relative to its root (``a/b``); what is impossible raises OSError as the system does."""

    def __init__(self, tree: Mapping[str, Leaf | None] | None = None) -> None:
        """Begin with a tree that is all synced."""
        self.root = Directory()
        self._directories = [self.root]
        self._numbers = itertools.count(1)
        for path, leaf in (tree or {}).items():
            folder, name = self._place(path)
            folder.names[name] = [_Change(self._new_directory() if leaf is None else File(leaf.mode, leaf.data))]

    # -- what programs do --------------------------------------------------------------------------------------------

    def create(self, path: str, mode: int = 0o666) -> File:
        """Make a file that is not there yet."""
        made = File(mode)
        self._add(path, made)
        return made

    def file(self, path: str) -> File:
        """Give a file that is there."""
        node = self._at(path)
        assert isinstance(node, File), path
        return node

    def mkdir(self, path: str) -> None:
        """Make a directory that is not there yet."""
        self._add(path, self._new_directory())

    def link(self, source: str, target: str) -> None:
        """Give a file another name that is not there yet."""
        self._add(target, self._at(source))

    def rename(self, source: str, target: str) -> None:
        """Give a file or directory another name in place of its own; what had that name loses it."""
        node = self._at(source)
        (old, old_name), (new, new_name) = self._place(source), self._place(target)
        if node is new[new_name]:  # two names of one file: POSIX has nothing happen
            return
        number = next(self._numbers)
        new.change(new_name, _Change(node, number))
        old.change(old_name, _Change(None, number, (new, new_name, number)))

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        self._remove(path, File)

    def rmdir(self, path: str) -> None:
        """Remove a directory that is empty."""
        if isinstance(node := self._at(path), Directory) and not node.empty():
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._remove(path, Directory)

    def sync_directory(self, path: str) -> None:
        """Have the names in a directory survive."""
        node = self._at(path)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        node.sync()

    # -- what is left ------------------------------------------------------------------------------------------------

    def now(self) -> Tree:
        """Give what processes see, and what the end of all of them leaves."""
        return self._tree({}, lambda file: file.data)

    def after_power_cut(self, random: Random, names: float = 0.5, data: float = 0.5) -> Tree:
        """Give one of the states in which a power cut may leave the disk now.

        Args:
            random: chooses it.
            names: how likely a change of a name that is not synced is there; 0 or 1 for none and all.
            data: about which share of unsynced bytes is there.
        """
        choice: _Choice = {}
        for folder in self._directories:
            for name, changes in folder.names.items():
                survive = names if len(changes) > 1 else 0.0
                last = len(changes) - 1
                choice[id(folder), name] = last if random.random() < survive else random.randint(0, last) if 0 < survive < 1 else 0
        self._hold_renames_together(choice)
        return self._tree(choice, lambda file: file.left(random, data))

    def _hold_renames_together(self, choice: _Choice) -> None:
        undone = True
        while undone:
            undone = False
            for folder in self._directories:
                for name, changes in folder.names.items():
                    needs = changes[choice[id(folder), name]].needs
                    if needs is not None and not self._survives(*needs, choice):
                        choice[id(folder), name] -= 1
                        undone = True

    @staticmethod
    def _survives(folder: Directory, name: str, number: int, choice: _Choice) -> bool:
        changes = folder.names.get(name)
        return changes is None or changes[choice[id(folder), name]].number >= number  # None: synced, and removed since

    def _tree(self, choice: _Choice, read: Callable[[File], bytes]) -> Tree:
        tree: Tree = {}
        waiting = [("", self.root)]
        while waiting:
            place, folder = waiting.pop()
            for name, changes in folder.names.items():
                node = changes[choice.get((id(folder), name), -1)].node
                path = f"{place}{name}"
                if isinstance(node, Directory):
                    tree[path] = None
                    waiting.append((f"{path}/", node))
                elif node is not None:
                    tree[path] = Leaf(read(node), node.mode)
        return tree

    # -- paths -------------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> tuple[Directory, str]:
        folder, name = posixpath.split(path)
        node = self._at(folder)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node, name

    def _at(self, path: str) -> Node:
        node: Node | None = self.root
        for part in filter(None, path.split("/")):
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            node = node[part]
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        assert node is not None
        return node

    def _add(self, path: str, node: Node) -> None:
        folder, name = self._place(path)
        if folder[name] is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        folder.change(name, _Change(node, next(self._numbers)))

    def _remove(self, path: str, kind: type[Node]) -> None:
        if not isinstance(self._at(path), kind):
            code = errno.EISDIR if kind is File else errno.ENOTDIR
            raise OSError(code, os.strerror(code), path)
        folder, name = self._place(path)
        folder.change(name, _Change(None, next(self._numbers)))

    def _new_directory(self) -> Directory:
        made = Directory()
        self._directories.append(made)
        return made


def materialize(tree: Tree, place: Path) -> None:
    """Write a tree into a directory of this machine that is there."""
    for path, leaf in tree.items():
        target = place / path
        if leaf is None:
            target.mkdir()
        else:
            target.write_bytes(leaf.data)
            target.chmod(leaf.mode)
