"""What lists and events have told of the objects of some asks. Pure: wherever a watch is cut, the state is what a list would have told."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from jobsys.batch.cluster.kube_objects import ASK

Json = dict[str, Any]
T = TypeVar("T")


class Held(NamedTuple, Generic[T]):
    """What is known of an object, and of which version of it."""

    version: str
    what: T


class Store(Generic[T]):
    """Objects of one kind, by their ask and name; those of other asks are passed over."""

    def __init__(self, read: Callable[[Json], T], is_final: Callable[[T], bool] = lambda _: False) -> None:
        """Hold nothing yet.

        Args:
            read: takes from an object what is worth keeping.
            is_final: tells whether nothing can come after this: it is kept when the object itself is deleted.
        """
        self.version = ""
        """From where a watch goes on; empty: all has to be listed anew."""
        self.asks: dict[str, dict[str, Held[T]]] = {}
        self._read = read
        self._is_final = is_final

    def listed(self, names: Collection[str], items: Iterable[Json]) -> None:
        """Take in all the objects of these asks: what is not among them is gone. If ``items`` raises, nothing has happened."""
        found: dict[str, dict[str, Held[T]]] = {name: {} for name in names}
        for item in items:
            if (ask := _ask_of(item)) in found:
                found[ask][item["metadata"]["name"]] = self._held(item)
        for name, objects in found.items():
            final = {each: held for each, held in self.asks.get(name, {}).items() if self._is_final(held.what)}
            self.asks[name] = final | objects

    def apply(self, event: Json) -> None:
        """Take in an event of a watch from `version` on; one that says that this can't go on empties `version`."""
        kind, item = event["type"], event["object"]
        self.version = "" if kind == "ERROR" else (item.get("metadata") or {}).get("resourceVersion", "")
        if not self.version:
            return
        objects = self.asks.get(_ask_of(item))
        if kind == "BOOKMARK" or objects is None:
            return
        name, held = item["metadata"]["name"], self._held(item)
        if name in objects and _is_before(held.version, objects[name].version):  # a list was ahead of the watch
            return
        if kind == "DELETED" and not self._is_final(held.what):
            objects.pop(name, None)
        else:
            objects[name] = held

    def keep(self, names: Collection[str]) -> None:
        """Let go of all other asks."""
        self.asks = {name: objects for name, objects in self.asks.items() if name in names}

    def _held(self, item: Json) -> Held[T]:
        return Held(item["metadata"].get("resourceVersion", ""), self._read(item))


def _ask_of(item: Json) -> str:
    return str((item["metadata"].get("labels") or {}).get(ASK, ""))


def _is_before(one: str, other: str) -> bool:
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
