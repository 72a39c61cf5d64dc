"""What one run has in a commons. Pointers in its own store name all generations that it may refer to, so that none is forgotten."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from jobsys.errors import NotFoundError
from jobsys.jobstores import keys
from jobsys.jobstores.commons import Commons, Freed, Generation, Holder
from jobsys.storage.base import Storage


class Share:
    """The resources of one run. A pointer is written before the reference, and goes with the run's store.

    A pointer tells nothing but what may have to be left: after a kill, whether the run has a generation is seen by a look.
    """

    def __init__(self, commons: Commons, storage: Storage, owner: Callable[[], tuple[str, str]]) -> None:
        """Read and write nothing yet; ``storage`` is the run's own, ``owner`` gives its id, and where its store lies."""
        self.commons = commons
        self._storage = storage
        self._owner = owner
        self._had: dict[str, Generation] = {}  # by name: what this process knows that the run has
        self._begun: dict[str, Generation] = {}  # by name: what was written last, or is being written
        self._meant: dict[str, Generation] = {}  # by name: what will be written next
        self._found: dict[str, list[Generation]] | None = None  # by folder: what an earlier process pointed to

    def exists(self, name: str) -> bool:
        """Tell whether the run has a resource, after it has taken part in one that other runs have."""
        if name in self._had:
            return True
        if name in self._meant:  # it was looked for before
            return False
        holder = Holder(*self._owner())
        for generation in self._pointed(name):
            look = self.commons.look(generation, holder)
            if look.usable and look.referred:
                self._had[name] = generation
                return True
        for generation in self.commons.generations(name):
            self._refer(generation, holder)
            if self.commons.look(generation).usable:
                self._had[name] = generation
                return True
        self._meant[name] = self.commons.new(name)
        return False

    def look_for(self, names: Iterable[str]) -> None:
        """Find out about many resources at a time."""
        unknown = [name for name in dict.fromkeys(names) if name not in self._had and name not in self._meant]
        if unknown:
            self._all_pointed()
            self.commons.each(self.exists, unknown)

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Upload a resource as a generation of its own, whoever else does so now."""
        generation = self._meant.pop(name, None) or self.commons.new(name)  # never the same twice, even after an error
        self._begun[name] = generation
        with self.commons.storage.writer(generation.data) as stream:
            yield stream
            self._refer(generation, Holder(*self._owner()))  # before the data is there: what nobody refers to is deleted
        self._had[name] = generation

    def generation(self, name: str) -> Generation:
        """Give the one that the run has, or is writing, or, after it was looked for in vain, will write next; only looks.

        Raises:
            NotFoundError: it has none, and nobody looked for it before.
        """
        known = self._had.get(name) or self._begun.get(name) or self._meant.get(name)
        if known is not None:
            return known
        there = self._there(name)
        if not there:
            self._found = None  # the leader may have sent it since this process looked
            there = self._there(name)
        if not there:
            raise NotFoundError(f"this run has no {name} in what runs share")
        return there[0][1]

    def _there(self, name: str) -> list[tuple[bool, Generation]]:
        """List those that the run points to and that are there; the best comes first."""
        looks = [(self.commons.look(generation), generation) for generation in self._pointed(name)]
        return sorted((look.condemned, generation) for look, generation in looks if look.data)

    def leave(self) -> Freed:
        """Drop all references of the run, and delete what nobody else refers to."""
        self._had.clear()
        self._found = None
        return self.commons.leave([each for all_of_one in self._all_pointed().values() for each in all_of_one], Holder(*self._owner()))

    def _refer(self, generation: Generation, holder: Holder) -> None:
        self._storage.put(keys.pointer(generation.resource, generation.number), b"")
        self.commons.refer(generation, holder)

    def _pointed(self, name: str) -> list[Generation]:
        return self._all_pointed().get(keys.resource(name), [])

    def _all_pointed(self) -> dict[str, list[Generation]]:
        """Read the pointers, once."""
        if self._found is None:
            found: dict[str, list[Generation]] = {}
            for key in self._storage.list(keys.POINTERS):
                generation = Generation(*keys.pointed(key))
                found.setdefault(generation.resource, []).append(generation)
            self._found = found
        return self._found
