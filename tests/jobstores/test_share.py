"""What a run has in a commons, and how its job store uses it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from jobsys import sending
from jobsys.errors import NotFoundError, StorageError
from jobsys.jobstores import JobStore, file, keys
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.jobstores.commons import Commons
from jobsys.sending import Sender
from jobsys.storage.base import Storage
from jobsys.storage.faulty import Crash, Fault, FaultyStorage
from jobsys.storage.memory import MemoryStorage

NAME = "resources/0123.zip"


class World:
    """Runs that share a commons; all requests are counted."""

    def __init__(self, make: Callable[[str], Storage]) -> None:
        self.make = make
        self.common = FaultyStorage(make("commons"))
        self.own: dict[str, FaultyStorage] = {}

    def store(self, run: str) -> JobStore:
        """Give the store of a run to a new process."""
        if run not in self.own:
            self.own[run] = FaultyStorage(self.make(run))
            JobStore(f"memory:{run}", self.own[run]).create(StoreInfo(FORMAT, 0.0, "0", run=run))
        return JobStore(f"memory:{run}", self.own[run], commons=Commons(self.common))

    def requests(self, run: str, act: Callable[[], object]) -> int:
        """Count the requests that something needs."""
        before = self.common.calls.total() + self.own[run].calls.total()
        act()
        return self.common.calls.total() + self.own[run].calls.total() - before


@pytest.fixture(params=["memory", "file"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        return World(lambda _: MemoryStorage())
    return World(lambda name: file.storage(str(tmp_path / name), durable=False))


def ship(store: JobStore | Sender, name: str = NAME) -> None:
    if not store.shared_file_exists(name):
        with store.write_shared_file(name) as stream:
            stream.write(b"code of " + name.encode())


def test_a_second_run_uploads_nothing_and_the_last_one_takes_it_along(world: World) -> None:
    first, second = world.store("a"), world.store("b")
    ship(first)
    ship(second)
    assert first.shared_file_url(NAME) == second.shared_file_url(NAME)
    with second.read_shared_file(NAME) as stream:
        assert stream.read() == b"code of " + NAME.encode()
    assert not list(first.storage.list("shared/"))
    assert first.destroy() == (0, 0)
    assert world.store("b").shared_file_exists(NAME)
    assert world.store("b").destroy() == (1, 26)
    assert not list(world.common.list(""))
    assert not list(second.storage.list(""))


def test_few_requests_are_sent(world: World) -> None:
    first, second = world.store("a"), world.store("b")
    look = 1  # for the pointers of an earlier process, once
    assert world.requests("a", lambda: ship(first)) <= look + 1 + 1 + 3  # who it is; whether there is one; pointer, reference, data
    assert world.requests("a", lambda: ship(first)) == 0
    assert world.requests("b", lambda: second.shared_file_exists("resources/other")) <= look + 2
    assert world.requests("b", lambda: ship(second)) <= 4
    assert world.requests("b", lambda: second.shared_file_exists("resources/other")) == 0
    again = world.store("b")
    again.look_for_shared_files(["resources/other"])
    assert world.requests("b", lambda: ship(again)) == 1


def test_many_are_looked_for_at_a_time(world: World) -> None:
    names = [f"resources/{number}.zip" for number in range(20)]
    first, second = world.store("a"), world.store("b")
    for name in names[:10]:
        ship(first, name)
    threads = set()
    look = world.common.list

    def watched(prefix: str, after: str = "") -> Iterator[str]:
        threads.add(threading.get_ident())
        return look(prefix, after)

    world.common.list = watched  # type: ignore[method-assign]
    second.look_for_shared_files([*names, "other/thing"])
    assert threading.get_ident() not in threads
    assert world.requests("b", lambda: [second.shared_file_exists(name) for name in names]) == 0
    assert [second.shared_file_exists(name) for name in names] == [True] * 10 + [False] * 10
    assert first.destroy() == (0, 0)
    assert second.destroy()[0] == 10


def test_other_names_stay_with_the_run(world: World) -> None:
    store = world.store("a")
    for name in ("session/0123", "resources"):
        ship(store, name)
        assert store.shared_file_key(name) == keys.shared(name)
        with store.read_shared_file(name) as stream:
            assert stream.read()
    assert not list(world.common.list(""))


def test_what_was_killed_on_its_way_is_left_all_the_same(world: World) -> None:
    ship(world.store("z"))
    for nth, when in ((1, "before"), (2, "before"), (2, "after"), (3, "before")):  # list, reference, list
        run = f"{nth}-{when}"
        store = world.store(run)
        world.common.plan = [Fault("any", world.common.calls.total() + nth, when, "crash")]  # type: ignore[arg-type]
        with pytest.raises(Crash):
            ship(store)
        world.common.plan, world.common.crashed = [], False
        assert world.store(run).destroy() == (0, 0)
        assert len(list(world.common.list(""))) == 2
    assert world.store("z").destroy()[0] == 1
    assert not list(world.common.list(""))


def test_a_run_that_was_killed_while_it_uploaded_starts_again(world: World) -> None:
    store = world.store("a")
    world.common.plan = [Fault("writer", 1)]
    with pytest.raises(StorageError):
        ship(store)
    world.common.plan = []
    for _ in range(2):
        ship(world.store("a"))
    assert len(list(world.common.list(""))) == 2, "data and reference of one generation"
    assert world.store("a").destroy() == (1, 26)


def test_a_moved_store_refers_anew(world: World) -> None:
    ship(world.store("a"))
    moved = JobStore("memory:moved", world.own["a"], commons=Commons(world.common))
    with moved.read_shared_file(NAME) as stream:
        assert stream.read()
    ship(moved)
    assert Commons(world.common).sweep(lambda holder: holder.locator == "memory:a") == (0, 0)
    assert world.store("a").destroy() == (0, 0)
    assert JobStore("memory:moved", world.make("x")).leave_commons() == (0, 0)
    assert Commons(world.common).sweep(lambda holder: holder.locator == "memory:moved") == (1, 26)


def test_a_condemned_resource_is_read_by_who_has_it_and_made_anew_for_the_next_start(world: World) -> None:
    store = world.store("a")
    ship(store)
    key = store.shared_file_key(NAME)
    world.common.put(key.replace("/data", "/condemned"), b"")
    assert world.store("a").shared_file_key(NAME) == key
    again = world.store("a")
    ship(again)
    assert again.shared_file_key(NAME) != key
    assert world.store("a").shared_file_key(NAME) == again.shared_file_key(NAME)
    assert again.destroy()[0] == 2
    assert not list(world.common.list(""))


def test_what_nobody_has_is_not_found(world: World) -> None:
    store = world.store("a")
    for act in (store.shared_file_key, store.shared_file_url, store.shared_file_path):
        with pytest.raises(NotFoundError, match="this run has no resources/0123"):
            act(NAME)
    assert not store.shared_file_exists(NAME)
    planned = store.shared_file_url(NAME)
    ship(store)
    assert store.shared_file_url(NAME) == planned


def test_a_failed_upload_leaves_nothing_and_is_not_repeated_in_its_place(world: World) -> None:
    store = world.store("a")
    assert not store.shared_file_exists(NAME)
    first = store.shared_file_key(NAME)
    with pytest.raises(ZeroDivisionError), store.write_shared_file(NAME):
        _ = 1 / 0
    assert not list(world.common.list(""))
    assert not list(store.storage.list(keys.POINTERS))
    ship(store)
    assert store.shared_file_key(NAME) != first


def test_a_url_is_known_while_the_upload_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "UNFINISHED", 3)
    store = world.store("a")
    may = threading.Event()
    write = world.common.writer

    @contextmanager
    def slow(key: str) -> Iterator[BinaryIO]:
        with write(key) as stream:
            yield stream
            assert may.wait(20)

    world.common.writer = slow  # type: ignore[method-assign, assignment]
    sender = Sender(store)
    with sender.overlapping():
        ship(sender)
        url = sender.shared_file_url(NAME)
        may.set()
    assert url == store.shared_file_url(NAME) == world.store("a").shared_file_url(NAME)
    assert Sender(store, "http://head:1/s/{}".format).shared_file_url(NAME) == f"http://head:1/s/{NAME}", "its server finds it by its name"
    assert sender.sent == 26


def test_one_that_cleans_and_is_killed_can_be_repeated(world: World) -> None:
    ship(world.store("a"))
    for nth in range(1, 9):
        world.common.plan = [Fault("any", world.common.calls.total() + nth, effect="crash")]
        with pytest.raises(Crash):
            world.store("a").destroy()
        world.common.plan, world.common.crashed = [], False
        assert world.store("a").info().run == "a"
        assert list(world.own["a"].list(keys.POINTERS))
    world.store("a").destroy()
    assert not list(world.common.list(""))
