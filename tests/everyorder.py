"""Runs several clients of one storage in every order of their requests: each may sleep, or be dead, from any request on.

A client is a function of a storage whose answers decide all that it does. So it need not be stopped in the middle: it is called again
with the answers that it got so far, until it asks for more. States that are the same are gone through once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any, BinaryIO, NamedTuple

from jobsys.errors import NotFoundError
from jobsys.storage.base import Stat, Storage

Request = tuple[str, str, Any]
Content = tuple[tuple[str, bytes], ...]


class Asleep(BaseException):
    """The client waits for an answer."""


class Asking(Storage):
    """A storage that has only the answers given so far; what it has been asked beyond them is in ``wanted``.

    ``parts`` of a list are requests of their own: texts, of which each key that it shows holds one.
    """

    def __init__(self, answers: tuple[Any, ...], parts: Callable[[str], tuple[str, ...]]) -> None:
        self._answers = iter(answers)
        self._parts = parts
        self.wanted: Request | None = None

    def _ask(self, what: str, key: str, more: Any = None) -> Any:
        if self.wanted is not None:
            raise Asleep
        try:
            return next(self._answers)
        except StopIteration:
            self.wanted = (what, key, more)
            raise Asleep from None

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        assert not if_absent
        self._ask("put", key, bytes(data))
        return True

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        assert (start, length) == (0, None)
        data = self._ask("get", key)
        if data is None:
            raise NotFoundError(key)
        return bytes(data)

    def stat(self, key: str) -> Stat:
        return Stat(len(self.get(key)), 0.0)

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        yield BytesIO(self.get(key))

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:
        stream = BytesIO()
        yield stream
        self.put(key, stream.getvalue())

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        found = [key for part in self._parts(prefix) for key in self._ask("list", prefix, part)]
        return iter(sorted(key for key in found if key > after))

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._ask("delete", key)

    def url(self, key: str) -> str:
        return f"there:/{key}"


class State(NamedTuple):
    """What is in the storage, what was ever deleted, and the answers that each client got."""

    content: Content
    deleted: frozenset[str]
    answers: tuple[tuple[Any, ...], ...]


@dataclass
class Client:
    """Where a client is: what it asks next, or what it has returned."""

    wanted: Request | None
    result: Any = None


class Orders:
    """Some clients, and a content that they begin with."""

    def __init__(
        self,
        content: dict[str, bytes],
        clients: Sequence[Callable[[Storage], Any]],
        parts: Callable[[str], tuple[str, ...]] = lambda _: ("",),
        alone: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Begin.

        Args:
            content: what there is.
            clients: who comes.
            parts: the parts of a list with a prefix, in the order in which they are read.
            alone: tells of a key, or a prefix, that only one client asks for it: it does not matter when.
        """
        self._clients = clients
        self._parts = parts
        self._alone = alone
        self._known: dict[tuple[int, tuple[Any, ...]], Client] = {}
        self.first = State(tuple(sorted(content.items())), frozenset(), ((),) * len(clients))

    def client(self, state: State, number: int) -> Client:
        """Tell where a client is."""
        key = number, state.answers[number]
        if key not in self._known:
            storage = Asking(key[1], self._parts)
            try:
                self._known[key] = Client(None, self._clients[number](storage))
            except Asleep:
                self._known[key] = Client(storage.wanted)
        return self._known[key]

    def clients(self, state: State) -> list[Client]:
        """Tell where all are."""
        return [self.client(state, number) for number in range(len(self._clients))]

    def after(self, state: State, number: int) -> State | None:
        """Answer a client, and go on as long as only that one is concerned; None if it has nothing to ask."""
        following = self._answered(state, number)
        while following is not None:
            wanted = self.client(following, number).wanted
            if wanted is None or not self._alone(wanted[1]):
                break
            following = self._answered(following, number)
        return following

    def _answered(self, state: State, number: int) -> State | None:
        wanted = self.client(state, number).wanted
        if wanted is None:
            return None
        what, key, more = wanted
        content, deleted = dict(state.content), state.deleted
        answer: Any = None
        if what == "put":
            content[key] = more
        elif what == "get":
            answer = content.get(key)
        elif what == "delete":
            content.pop(key, None)
            deleted |= {key}
        else:
            answer = tuple(name for name in content if name.startswith(key) and more in name)
        answers = (*state.answers[:number], (*state.answers[number], answer), *state.answers[number + 1 :])
        return State(tuple(sorted(content.items())), deleted, answers)

    def all(self, most: int = 10**6) -> Iterator[State]:
        """Go through every state that there can be."""
        seen, waiting = {self.first}, [self.first]
        while waiting:
            state = waiting.pop()
            yield state
            for number in range(len(self._clients)):
                following = self.after(state, number)
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)
            assert len(seen) <= most, "there are too many orders to go through them all"

    def by_chance(self, random: Random) -> Iterator[State]:
        """Go one way to the end, with some clients that fall asleep for long and some that never wake up."""
        state, weights = self.first, [random.choice((0, 1, 1, 3, 10)) for _ in self._clients]
        yield state
        while any(weights):
            number = random.choices(range(len(self._clients)), weights)[0]
            following = self.after(state, number)
            if following is None:
                weights[number] = 0
                continue
            if random.random() < 0.15:
                weights[number] = random.choice((0, 1, 3, 10))
            state = following
            yield state
