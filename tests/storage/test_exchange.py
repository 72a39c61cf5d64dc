from contextlib import ExitStack

import pytest

from jobsys.errors import StorageError
from jobsys.storage.exchange import Exchange, PassingError, Request, View


def test_what_fails_in_passing_is_done_again_as_often_as_there_are_pauses() -> None:
    tries: list[int] = []

    def attempt() -> int:
        tries.append(1)
        if len(tries) < 4:
            raise PassingError("not yet")
        return len(tries)

    assert Exchange("http://x", "t", (0.0,) * 3).persist(attempt) == 4
    tries.clear()
    with pytest.raises(PassingError):
        Exchange("http://x", "t", (0.0,) * 2).persist(attempt)
    assert len(tries) == 3


def test_what_fails_for_good_is_not_done_again() -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(1)
        raise StorageError("full")

    with pytest.raises(StorageError, match="full"):
        Exchange("http://x", "t", (0.0,) * 3).persist(attempt)
    assert len(tries) == 1


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def attempt() -> None:
        raise PassingError("never")

    for _ in range(2):
        with pytest.raises(PassingError):
            Exchange("http://x", "t", (0.1, 1.0, 10.0)).persist(attempt)
    assert slept[:3] != slept[3:]
    for length, pause in zip(slept, (0.1, 1.0, 10.0) * 2, strict=True):
        assert pause / 2 <= length <= pause * 1.5


@pytest.mark.parametrize("url", ["http://", "nonsense://x"])
def test_an_address_that_makes_no_sense_is_not_tried_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it was tried again"))
    with pytest.raises(StorageError, match="check the URL"):
        Exchange(url, "t").ask(Request("GET", "/list"))


def test_a_refused_answer_gives_its_connection_back(serve) -> None:
    from jobsys.storage.memory import MemoryStorage

    exchange = Exchange(serve(MemoryStorage()).url, "the-token", ())
    with ExitStack() as stack, pytest.raises(StorageError, match="status 405"):
        exchange.send(Request("PUT", "/list"), stack)
    with exchange.sessions.borrow() as session:
        assert session.headers["User-Agent"] == "jobsys"
    exchange.sessions.close()


def test_a_view_is_read_again_from_its_beginning() -> None:
    view = View(memoryview(b"0123456789")[2:])
    assert len(view) == 8
    for _ in range(2):
        view.seek(0)
        assert [bytes(view.read(5)), bytes(view.read(5)), bytes(view.read(5))] == [b"23456", b"789", b""]
    view.seek(0)
    assert b"".join(view) == b"23456789"
