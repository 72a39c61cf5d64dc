"""Keeps a store of objects up to date: a list of what is new to it, and one watch of the namespace, resumed where it was cut."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from jobsys.batch.cluster import kube_objects as objects
from jobsys.batch.cluster.kube_api import AnswerError, Api, ExpiredError
from jobsys.batch.cluster.kube_store import Store
from jobsys.batch.cluster.kube_stream import Stream
from jobsys.late import Logger

Json = dict[str, Any]
T = TypeVar("T")

logger = Logger(__name__)

NAMES: Final = 50
"""How many asks one query names."""
STRETCH: Final = 5.0
"""Where nothing can be watched: for so many times as long as a list took, what it told is good enough."""


class Watched(Generic[T]):
    """The objects of one kind that belong to some asks. A look costs no request while the same asks are looked at, but one a minute."""

    def __init__(self, api: Api, kind: str, store: Store[T], clock: Callable[[], float] = time.monotonic) -> None:
        """Ask for nothing yet."""
        self._api = api
        self._kind = kind
        self._store = store
        self._clock = clock
        self._stream: Stream | None = None
        self._may_watch = True
        self._good_until = 0.0

    def look(self, names: Collection[str]) -> dict[str, list[T]]:
        """Give the objects of each ask, as the watch has told of them up to now; those of an ask that is new are listed.

        Raises:
            PassingError: the server does not answer.
            AnswerError: it lets nobody list them.
        """
        self._hear()
        self._store.keep(names)
        if names:
            self._resume()  # first, since it may turn out that all has to be listed anew
            self._list([name for name in names if name not in self._store.asks] if self._is_current() else names)
            self._resume()
        return {name: [held.what for held in found.values()] for name, found in self._store.asks.items()}

    def doubt(self) -> None:
        """Look again, where nothing is watched: something was changed."""
        self._good_until = 0.0

    def close(self) -> None:
        """Let go of the connection, and of all that is known."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._store.version = ""
        self._store.keep(())

    def _is_current(self) -> bool:
        return bool(self._store.version) if self._may_watch else self._clock() < self._good_until

    def _hear(self) -> None:
        if self._stream is None:
            return
        for event in self._stream.take():
            self._store.apply(event)
        if self._stream.over or not self._store.version:
            self._stream.close()
            self._stream = None

    def _resume(self) -> None:
        if self._stream is not None or not self._may_watch or not self._store.version:
            return
        try:
            self._stream = self._api.watch(self._kind, self._store.version, labelSelector=f"{objects.MANAGED}={objects.US}")
        except ExpiredError:  # nobody knows any more what has happened since
            self._store.version = ""
        except AnswerError as error:
            self._may_watch = False
            logger.warning("%s are listed again and again, since they can't be watched: %s", self._kind, error)

    def _list(self, names: Collection[str]) -> None:
        began, versions = self._clock(), []

        def items(some: Collection[str]) -> Iterator[Json]:
            for page in self._api.pages(self._kind, labelSelector=objects.among(objects.ASK, some)):
                versions.append(page["metadata"]["resourceVersion"])
                yield from page.get("items") or ()

        for some in portions(names, NAMES):
            self._store.listed(some, items(some))
        if names:
            self._store.version = self._store.version or versions[0]  # a watch from the first on tells all that the others know
            self._good_until = self._clock() + STRETCH * (self._clock() - began)


def portions(values: Iterable[str], size: int) -> Iterator[list[str]]:
    """Give so many at a time."""
    listed = list(values)
    return (listed[start : start + size] for start in range(0, len(listed), size))
