"""Shipped code that many runs share: kept once, for as long as any of them refers to it.

A *generation* of a resource is one upload of it, written once, under a number that is never used again:

    resources/NAME/GENERATION/data          what was uploaded
    resources/NAME/GENERATION/runs/HOLDER   a reference: a run has it, or is about to
    resources/NAME/GENERATION/condemned     the mark: newcomers must not use it

Whoever wants a generation writes its reference, and may use it if a look *after* that shows the data and no mark. Whoever uploads one
writes the reference before the data is there. Whoever has dropped a reference, and sees data without any, writes the mark and looks
again: only if there is still no reference is the data deleted, and only if there is none after that, either, the mark. So:

- a mark is never taken back while there is data: who refers to it goes on, who comes makes a generation of its own;
- who deletes has seen the data (or a mark, of somebody who has), and data is written once: what was deleted does not come back;
- a newcomer whom the second look missed wrote its reference after the mark, and sees it, or that the data is gone: the mark went only
  after a look that came later than the deletion of the data and saw no reference.

Nothing else is needed of a storage than that a write or a deletion that has returned is seen by every request that begins later;
what a list shows of changes meanwhile does not matter. Anybody may be killed, or sleep, between any two requests.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import msgspec

from jobsys.digest import sha256
from jobsys.errors import NotFoundError
from jobsys.jobstores import keys
from jobsys.storage.base import Storage

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_A_TIME: Final = 8
"""How many resources are looked for, or left, at a time."""


class Holder(msgspec.Struct, frozen=True):
    """Who refers to a generation: a run, where its job store lies. A copy of that store elsewhere is another one."""

    run: str
    locator: str

    @property
    def name(self) -> str:
        """Get what its references are called."""
        return f"{self.run}-{sha256(self.locator.encode())[:16]}"


class Generation(NamedTuple):
    """One upload of a resource."""

    resource: str  # its folder
    number: str

    @property
    def folder(self) -> str:
        """Get what its keys begin with."""
        return f"{self.resource}{self.number}/"

    @property
    def data(self) -> str:
        """Get the key of what was uploaded."""
        return f"{self.folder}data"

    @property
    def mark(self) -> str:
        """Get the key that condemns it."""
        return f"{self.folder}condemned"

    @property
    def references(self) -> str:
        """Get what the keys of references begin with."""
        return f"{self.folder}runs/"


class Look(NamedTuple):
    """What a list showed of a generation."""

    condemned: bool = False
    data: bool = False
    referred: bool = False

    @property
    def usable(self) -> bool:
        """Tell whether somebody may use it whose reference was there before the look."""
        return self.data and not self.condemned


class Freed(NamedTuple):
    """What was deleted because no run referred to it any more: resources, and their bytes."""

    resources: int = 0
    bytes: int = 0


class Commons:
    """The resources that many runs share, over any storage. Safe to use from many threads."""

    def __init__(self, storage: Storage, at_a_time: int = AT_A_TIME) -> None:
        """Use what is in ``storage``, which holds nothing else; nothing is read or written yet."""
        self.storage = storage
        self.at_a_time = at_a_time

    def new(self, name: str) -> Generation:
        """Think of a generation that nobody else has."""
        return Generation(keys.resource(name), secrets.token_hex(8))

    def generations(self, name: str) -> Iterator[Generation]:
        """Go through those that are there and not condemned; listed only as far as they are asked for."""
        condemned = ""
        for key in self.storage.list(keys.resource(name)):
            generation, kind = _parsed(key)
            if kind == "condemned":
                condemned = generation.number
            elif kind == "data" and generation.number != condemned:
                yield generation

    def refer(self, generation: Generation, holder: Holder) -> None:
        """Write a reference."""
        self.storage.put(generation.references + holder.name, msgspec.json.encode(holder))

    def look(self, generation: Generation, holder: Holder | None = None) -> Look:
        """See whether there are a mark, the data, and a reference: that of the holder, if one is given."""
        condemned = data = referred = False
        wanted = "" if holder is None else generation.references + holder.name
        for key in self.storage.list(generation.folder):
            condemned |= key == generation.mark
            data |= key == generation.data
            if key.startswith(generation.references) and key >= wanted:
                referred = not wanted or key == wanted
                break
        return Look(condemned, data, referred)

    def leave(self, generations: Iterable[Generation], holder: Holder) -> Freed:
        """Drop a holder's references, and delete what nobody refers to any more."""
        left = list(generations)
        self.storage.delete(generation.references + holder.name for generation in left)
        return _total(self.each(self._collect, left))

    def sweep(self, is_gone: Callable[[Holder], bool]) -> Freed:
        """Drop the references of runs that are gone, and delete what nobody refers to any more, whoever was killed on the way.

        Args:
            is_gone: tells whether a run's job store is surely no more where it was.
        """
        verdicts: dict[str, bool] = {}
        freed = []
        for generation, found in groupby(self.storage.list(keys.RESOURCES), key=lambda key: _parsed(key)[0]):
            if not generation.number:  # what somebody else laid there
                continue
            references = [key for key in found if key.startswith(generation.references)]
            gone = [key for key in references if self._is_gone(key, is_gone, verdicts)]
            self.storage.delete(gone)
            if len(gone) == len(references):
                freed.append(self._collect(generation))
        return _total(freed)

    def _is_gone(self, reference: str, is_gone: Callable[[Holder], bool], verdicts: dict[str, bool]) -> bool:
        """Ask once a holder; one that can't be read is not known to be gone."""
        name = reference.rpartition("/")[2]
        if name not in verdicts:
            try:
                holder = msgspec.json.decode(self.storage.get(reference), type=Holder)
            except (NotFoundError, msgspec.DecodeError):
                return False
            verdicts[name] = holder.name == name and is_gone(holder)
        return verdicts[name]

    def _collect(self, generation: Generation) -> Freed:
        """Delete a generation, unless there is a reference, or nothing was ever seen of its data: its upload may be under way."""
        look = self.look(generation)
        if look.referred or not (look.data or look.condemned):
            return Freed()
        self.storage.put(generation.mark, b"")
        if self._is_referred_to(generation):
            return Freed()
        try:
            freed = Freed(1, self.storage.stat(generation.data).size)
        except NotFoundError:  # somebody else was faster, or was killed before the mark went
            freed = Freed()
        self.storage.delete([generation.data])
        if not self._is_referred_to(generation):
            self.storage.delete([generation.mark])
        return freed

    def _is_referred_to(self, generation: Generation) -> bool:
        return any(True for _ in self.storage.list(generation.references))

    def each(self, act: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """Act on each of some items, several at a time."""
        if min(len(items), self.at_a_time) < 2:
            return [act(item) for item in items]
        futures = importlib.import_module("concurrent.futures")  # loaded on use: most processes need none of it
        with futures.ThreadPoolExecutor(min(len(items), self.at_a_time)) as pool:
            return list(pool.map(act, items))


def _parsed(key: str) -> tuple[Generation, str]:
    """Take a key apart: its generation, and what it is of that."""
    top, name, number, kind = (*key.split("/", 4), "", "", "")[:4]
    return Generation(f"{top}/{name}/", number), kind


def _total(all_freed: Iterable[Freed]) -> Freed:
    every = list(all_freed)
    return Freed(sum(each.resources for each in every), sum(each.bytes for each in every))
