"""Code that runs share: whoever comes, goes, sleeps or dies in whatever order, what a run was told that it has stays, and the rest goes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from random import Random
from typing import Any, BinaryIO

import msgspec
import pytest

from everyorder import Orders, State  # type: ignore[import-not-found]
from jobsys.jobstores.commons import Commons, Freed, Generation, Holder, Look
from jobsys.jobstores.share import Share
from jobsys.storage.base import Storage
from jobsys.storage.memory import MemoryStorage
from within import Within  # type: ignore[import-not-found]

NAME = "resources/code.zip"
SEEDS = int(os.environ.get("JOBSYS_EXAMPLES", "100"))


class Numbered(Commons):
    """Generations with the name of who makes them."""

    def __init__(self, storage: Storage, who: str) -> None:
        super().__init__(storage, at_a_time=1)
        self.who, self.made = who, 0

    def new(self, name: str) -> Generation:
        self.made += 1
        return super().new(name)._replace(number=f"{self.who}{self.made}")


class Client:
    """One process of a run; its ``name`` is that of the run, and a number if it has several."""

    commons: type[Numbered] = Numbered
    share: type[Share] = Share

    def __init__(self, name: str) -> None:
        self.name, self.run = name, name[0]

    def at(self, storage: Storage) -> Share:
        own = Within(storage, f"{self.run}/")
        return self.share(self.commons(Within(storage, "all/"), self.name), own, lambda: (self.run, f"there:{self.run}"))


class User(Client):
    """Wants the resource, and uploads it if there is none."""

    def __call__(self, storage: Storage) -> tuple[str, str]:
        share = self.at(storage)
        if not share.exists(NAME):
            with share.write(NAME) as stream:
                stream.write(b"code")
        had = share.generation(NAME)
        return f"all/{had.data}", f"all/{had.references}{Holder(self.run, f'there:{self.run}').name}"


class Leaver(Client):
    """Removes its run."""

    def __call__(self, storage: Storage) -> None:
        self.at(storage).leave()
        storage.delete(list(storage.list(f"{self.run}/")))


class Sweeper(Client):
    """Finds that runs are gone; its name is theirs, one letter each."""

    def __call__(self, storage: Storage) -> None:
        self.commons(Within(storage, "all/"), "s").sweep(lambda holder: holder.run in self.name)


def left_by(*clients: Callable[[Storage], Any]) -> dict[str, bytes]:
    """Give what is there when some clients have done their work one after the other."""
    orders = Orders({}, clients)
    state = orders.first
    for number in range(len(clients)):
        while (following := orders.after(state, number)) is not None:
            state = following
    return dict(state.content)


def check(orders: Orders, state: State) -> None:
    """Nobody has lost what it was told that it has; and if all are killed now, one sweep leaves nothing."""
    content = dict(state.content)
    for client in orders.clients(state):
        if client.wanted is None and client.result is not None:
            data, reference = client.result
            if reference not in state.deleted:
                assert reference in content, f"{reference} is gone"
                assert data in content, f"{data} is gone"
    assert not swept(frozenset(key for key in content if key.startswith("all/"))), "something stays for ever"


@cache
def swept(names: frozenset[str]) -> list[str]:
    storage = MemoryStorage()
    for key in names:
        run = key.rpartition("/")[2].partition("-")[0]
        storage.put(key, msgspec.json.encode(Holder(run, f"there:{run}")))
    Sweeper("abcd")(storage)
    return list(storage.list("all/"))


UPLOADED = left_by(User("a"))
KILLED = {key: value for key, value in UPLOADED.items() if "/runs/" not in key}  # after the reference was dropped
MARKED = KILLED | {key.replace("/data", "/condemned"): b"" for key in KILLED if key.endswith("/data")}
EMPTIED = {key: value for key, value in MARKED.items() if not key.endswith("/data")}
AT_ONCE, BACKWARDS = ("",), ("/runs/", "/data", "/condemned")  # how a list is read that goes over all of a generation
SCENES: dict[str, tuple[dict[str, bytes], list[Client]]] = {
    "one goes, one comes": (UPLOADED, [Leaver("a"), User("b")]),
    "one goes, two come": (UPLOADED, [Leaver("a"), User("b"), User("c")]),
    "two upload": ({}, [User("a"), User("b")]),
    "two upload for one run": ({}, [User("a"), User("a2")]),
    "one uploads, is removed meanwhile, one comes": ({}, [User("a"), Leaver("a2"), User("b")]),
    "two go": (left_by(User("a"), User("b")), [Leaver("a"), Leaver("b")]),
    "one was killed when it had condemned": (MARKED, [Leaver("a"), Sweeper("a"), User("b")]),
    "one was killed when it had deleted": (EMPTIED, [Leaver("a"), Sweeper("a"), User("b")]),
}
CROWDS: dict[str, tuple[dict[str, bytes], list[Client]]] = {
    "one is removed twice, one comes": (UPLOADED, [Leaver("a"), Leaver("a2"), User("b")]),
    "one uploads, is removed twice, one comes": ({}, [User("b"), Leaver("a2"), User("a"), Leaver("a3")]),
    "one goes, one comes and is swept": (UPLOADED, [Leaver("a"), User("b"), Sweeper("ab"), User("c")]),
    "one starts again, is removed meanwhile": (UPLOADED, [User("a"), Leaver("a2"), User("b"), Leaver("b2")]),
    "one was killed when it went": (KILLED, [Leaver("a"), Sweeper("a"), Sweeper("a"), User("b"), User("c")]),
    "two go, two come": (left_by(User("a"), User("b")), [Leaver("a"), Leaver("b"), User("c"), User("d"), Sweeper("ab")]),
    "all at once": ({}, [User("a"), User("b"), User("c"), Leaver("a2"), Leaver("b2"), Sweeper("abc")]),
}
TWO_GO_ONE_COMES = left_by(User("a"), User("b")), [Leaver("a"), Leaver("b"), User("c")]


def orders_of(content: dict[str, bytes], clients: list[Client], parts: tuple[str, ...]) -> Orders:
    runs = [client.run for client in clients]

    def alone(key: str) -> bool:
        return runs.count(key.partition("/")[0]) == 1

    def parts_of(prefix: str) -> tuple[str, ...]:
        return parts if prefix.startswith("all/resources/") and not prefix.endswith("/runs/") else AT_ONCE

    return Orders(content, clients, parts_of, alone)


def search(orders: Orders) -> int:
    count = 0
    for state in orders.all(100_000):
        count += 1
        check(orders, state)
    return count


@pytest.mark.parametrize("parts", [AT_ONCE, BACKWARDS], ids=["at once", "backwards"])
@pytest.mark.parametrize("scene", SCENES)
def test_in_every_order_of_requests(scene: str, parts: tuple[str, ...]) -> None:
    assert search(orders_of(*SCENES[scene], parts)) > 40


def test_in_every_order_of_requests_when_two_go_and_one_comes() -> None:
    assert search(orders_of(*TWO_GO_ONE_COMES, AT_ONCE)) > 10_000


@pytest.mark.parametrize("crowd", CROWDS)
def test_in_orders_that_chance_finds(crowd: str) -> None:
    for seed in range(SEEDS):
        random = Random(seed)
        orders = orders_of(*CROWDS[crowd], random.choice([AT_ONCE, *permutations(BACKWARDS)]))
        try:
            for state in orders.by_chance(random):
                check(orders, state)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


# What happens if any part of the protocol is left out: the search must find it.


class TakesTheMarkBack(Numbered):
    def _collect(self, generation: Generation) -> Freed:
        freed = super()._collect(generation)
        if self._is_referred_to(generation):
            self.storage.delete([generation.mark])
        return freed


class DoesNotLookAgain(Numbered):
    def _is_referred_to(self, generation: Generation) -> bool:
        return False


class TakesTheMarkAtOnce(Numbered):
    looks = 0

    def _is_referred_to(self, generation: Generation) -> bool:
        self.looks += 1
        return self.looks % 2 == 1 and super()._is_referred_to(generation)


class CondemnsWhatWasNotSeen(Numbered):
    def look(self, generation: Generation, holder: Holder | None = None) -> Look:
        look = super().look(generation, holder)
        return look._replace(condemned=look.condemned or (holder is None and not look.data))


class DoesNotMindTheMark(Numbered):
    def look(self, generation: Generation, holder: Holder | None = None) -> Look:
        return super().look(generation, holder)._replace(condemned=False)


class LeavesMarks(Numbered):
    def sweep(self, is_gone: Callable[[Holder], bool]) -> Freed:
        return Freed()


class UploadsFirst(Share):
    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        generation = self._had[name] = self.commons.new(name)
        with self.commons.storage.writer(generation.data) as stream:
            yield stream
        self._refer(generation, Holder(*self._owner()))


class RefersLater(Share):
    def exists(self, name: str) -> bool:
        for generation in self.commons.generations(name):
            if self.commons.look(generation).usable:
                self._refer(generation, Holder(*self._owner()))
                self._had[name] = generation
                return True
        return False


@pytest.mark.parametrize(
    ("wrong", "scene", "parts", "expected"),
    [
        (TakesTheMarkBack, TWO_GO_ONE_COMES, AT_ONCE, "data is gone"),
        (DoesNotLookAgain, SCENES["one goes, one comes"], AT_ONCE, "data is gone"),
        (TakesTheMarkAtOnce, SCENES["one goes, one comes"], BACKWARDS, "data is gone"),
        (CondemnsWhatWasNotSeen, CROWDS["one uploads, is removed twice, one comes"], AT_ONCE, "data is gone"),
        (DoesNotMindTheMark, SCENES["one goes, one comes"], AT_ONCE, "data is gone"),
        (UploadsFirst, SCENES["one uploads, is removed meanwhile, one comes"], AT_ONCE, "data is gone"),
        (RefersLater, SCENES["one goes, one comes"], AT_ONCE, "data is gone"),
    ],
)
def test_a_wrong_protocol_is_found_out(
    wrong: type[Numbered] | type[Share], scene: tuple[dict[str, bytes], list[Client]], parts: tuple[str, ...], expected: str
) -> None:
    content, clients = scene
    changed = [type(client)(client.name) for client in clients]
    for client in changed:
        setattr(client, "share" if issubclass(wrong, Share) else "commons", wrong)
    with pytest.raises(AssertionError, match=expected):
        search(orders_of(content, changed, parts))


def test_what_a_sweep_does_not_see_is_found_out() -> None:
    orders = orders_of(MARKED, [], AT_ONCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Numbered, "sweep", LeavesMarks.sweep)
        swept.cache_clear()
        with pytest.raises(AssertionError, match="stays for ever"):
            check(orders, orders.first)
    swept.cache_clear()


# One process at a time.


def holder(run: str) -> Holder:
    return Holder(run, f"there:{run}")


def test_what_nobody_refers_to_goes_and_is_counted() -> None:
    storage = MemoryStorage()
    User("a")(storage)
    User("b")(storage)
    commons = Commons(Within(storage, "all/"))
    assert User("a").at(storage).leave() == (0, 0)
    assert list(commons.generations(NAME))
    assert User("b").at(storage).leave() == (1, 4)
    assert not list(storage.list("all/"))
    assert User("b").at(storage).leave() == (0, 0)


def test_a_sweep_asks_once_a_run_and_keeps_what_it_does_not_know() -> None:
    storage = MemoryStorage()
    commons = Commons(storage)
    known, unknown = commons.new(NAME), commons.new(NAME)
    for generation in (known, unknown, commons.new(NAME)):
        commons.refer(generation, holder("a"))
        storage.put(generation.data, b"code")
    storage.put(f"{unknown.references}a-1234", b"no JSON")
    storage.put(f"{known.references}b-1234", msgspec.json.encode(holder("a")))  # of another name than its own
    storage.put("resources/stray", b"")
    asked: list[Holder] = []

    def is_gone(each: Holder) -> bool:
        asked.append(each)
        return True

    assert commons.sweep(is_gone) == (1, 4)
    assert asked == [holder("a")]
    assert {key.rpartition("/")[2] for key in storage.list("")} == {"data", "a-1234", "b-1234", "stray"}
    assert commons.sweep(lambda each: False) == (0, 0)


def test_an_upload_under_way_is_not_swept() -> None:
    storage = MemoryStorage()
    share = User("a").at(storage)
    with share.write(NAME) as stream:
        stream.write(b"code")
        assert Commons(Within(storage, "all/")).sweep(lambda each: False) == (0, 0)
    assert share.exists(NAME)
    assert User("a").at(storage).exists(NAME)


def test_names_may_be_of_any_length_and_kind() -> None:
    commons = Commons(MemoryStorage())
    for name in ("resources/a b/ü.zip", "resources/" + "x" * 400, "resources/.."):
        generation = commons.new(name)
        commons.storage.put(generation.data, b"")
        assert list(commons.generations(name)) == [generation]
    assert commons.sweep(lambda each: False) == (3, 0)
