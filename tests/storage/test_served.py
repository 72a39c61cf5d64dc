"""The client, against servers that are out of order and ways that break."""

import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from badway import BUSY, LOST, RESET, BadWay, Fault  # type: ignore[import-not-found]
from jobsys.errors import IntegrityError, NotFoundError, StorageError
from jobsys.storage import wire
from jobsys.storage.base import Stat, Storage
from jobsys.storage.exchange import Answer, Exchange, Request
from jobsys.storage.local import LocalStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.served import ServedStorage
from jobsys.storage.server import ObjectServer
from jobsys.testing.racing import in_threads

DATA = os.urandom(3_000_000)
TOKEN = "the-token"
AT_ONCE = (0.0,) * 5


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "root", durable=False)
    storage.put("a/b", DATA)
    storage.put("small", b"little")
    return storage


@pytest.fixture
def way(serve: Callable[[Storage], ObjectServer], bad_way: Callable[[ObjectServer], BadWay], local: LocalStorage) -> BadWay:
    return bad_way(serve(local))


@pytest.fixture
def storage(way: BadWay) -> ServedStorage:
    return ServedStorage(way.url, TOKEN, AT_ONCE)


FAULTS = {
    "reset": [RESET] * 3,
    "busy": [BUSY] * 3,
    "lost": [LOST] * 3,
    "cut in the head": [Fault(down=20), Fault(down=20, reset=False)],
    "cut in the body": [Fault(down=500), Fault(down=100_000), Fault(down=1_000_000, reset=False), Fault(down=1_500_000)],
    "cut on the way up": [Fault(up=200), Fault(up=100_000), Fault(up=1_000_000, reset=False)],
    "one after the other": [RESET, BUSY, LOST, Fault(down=100), Fault(up=100)],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_everything_in_spite_of_a_bad_way(way: BadWay, faults: list[Fault], local: LocalStorage) -> None:
    def read(storage: ServedStorage) -> bytes:
        with storage.reader("a/b") as stream:
            return stream.read()

    def write(storage: ServedStorage) -> bytes:
        with storage.writer("new/written") as stream:
            stream.write(DATA)
        return local.get("new/written")

    for call, wanted in (
        (lambda storage: storage.get("a/b"), DATA),
        (lambda storage: storage.get("a/b", 1000, 2_000_000), DATA[1000:2_001_000]),
        (lambda storage: storage.get("a/b", 1000, 900_000), DATA[1000:901_000]),
        (lambda storage: storage.get("small"), b"little"),
        (read, DATA),
        (lambda storage: storage.put("new/put", DATA) and local.get("new/put"), DATA),
        (lambda storage: storage.put("new/small", b"x") and local.get("new/small"), b"x"),
        (write, DATA),
        (lambda storage: storage.stat("a/b").size, len(DATA)),
        (lambda storage: list(storage.list("a")), ["a/b"]),
        (lambda storage: storage.delete(["new/put"]), None),
    ):
        way.plan = [Fault()] * way.connections + faults
        storage = ServedStorage(way.url, TOKEN, AT_ONCE)
        assert call(storage) == wanted
        storage.close()


def test_a_transfer_goes_on_where_it_broke(way: BadWay, storage: ServedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    send = Exchange.send

    def note(self, request, stack):
        asked.append(request.headers.get("Range", "all"))
        return send(self, request, stack)

    monkeypatch.setattr(Exchange, "send", note)
    way.plan = [Fault(down=1_000_000, reset=False), Fault(down=500_000, reset=False)]
    with storage.reader("a/b") as stream:
        assert stream.read() == DATA
    starts = [int(text.removeprefix("bytes=").split("-")[0]) for text in asked[1:]]
    assert asked[0] == "all"
    assert 900_000 < starts[0] < 1_000_000
    assert 1_300_000 < starts[1] < 1_500_000


def test_an_answer_cut_off_anywhere_passes_for_no_whole_one(way: BadWay, local: LocalStorage) -> None:
    """Also in the middle of a number in its head, which would still be a number."""
    whole = local.stat("a/b")
    for cut in range(1, 300, 3):
        way.plan = [Fault()] * way.connections + [Fault(down=cut, reset=False)] * 2
        storage = ServedStorage(way.url, TOKEN, AT_ONCE)
        assert storage.stat("a/b") == whole, cut
        assert storage.get("a/b") == DATA, cut
        storage.close()


def test_two_versions_are_never_mixed(way: BadWay, storage: ServedStorage, local: LocalStorage) -> None:
    way.plan = [Fault(down=1_000_000, reset=False)]
    with storage.reader("a/b") as stream:
        stream.read(10)
        local.put("a/b", DATA[::-1])
        with pytest.raises(StorageError, match=r"a/b was replaced .* read it again"):
            stream.read()
    storage.close()
    way.plan = [Fault()] * way.connections + [Fault(down=1_000_000, reset=False)]
    with storage.reader("a/b") as stream:
        stream.read(10)
        local.delete(["a/b"])
        with pytest.raises(NotFoundError):
            stream.read()


def test_a_create_once_whose_answer_was_lost_is_refused(way: BadWay, storage: ServedStorage, local: LocalStorage) -> None:
    way.plan = [LOST]
    assert not storage.put("once", b"mine", if_absent=True)
    assert storage.get("once") == b"mine"


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for call in (lambda storage: storage.get("a"), lambda storage: storage.put("a", b""), lambda storage: list(storage.list(""))):
            with pytest.raises(
                StorageError, match=rf"can't reach the job store at {url} \(ConnectionRefusedError: .*does its server still run"
            ):
                call(ServedStorage(url, TOKEN, AT_ONCE))


def test_a_wrong_token_is_not_tried_again(way: BadWay) -> None:
    storage = ServedStorage(way.url, "wrong", (30.0,))
    for call in (storage.get, storage.stat, lambda key: storage.put(key, DATA), lambda key: storage.delete([key])):
        with pytest.raises(StorageError, match="does not accept the token in JOBSYS_STORE_TOKEN: set it") as caught:
            call("a/b")
        assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /o/small", b"404 Not Found", b"200 OK", b"403 Forbidden"])
def test_another_server_is_found_out(way: BadWay, status: bytes) -> None:
    answer = Fault(answer=b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    for call in (lambda it: it.stat("a"), lambda it: list(it.list("")), lambda it: it.put("a", b"")):
        way.plan = [Fault()] * way.connections + [answer] * 2
        with pytest.raises(StorageError, match="server of a job store") as caught:
            call(ServedStorage(way.url, TOKEN, (0.0,)))
        assert not isinstance(caught.value, NotFoundError)


class Full(MemoryStorage):
    """Fails with texts of its own."""

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        raise StorageError(f"can't write /data/{key}: the disk is full (0.0 MiB free in /data)")

    def stat(self, key: str) -> Stat:
        raise StorageError(f"can't find /data/{key}: ünï permission denied")

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        raise IntegrityError("the object was changed")


def test_what_the_server_s_storage_says_arrives(serve: Callable[[Storage], ObjectServer]) -> None:
    storage = ServedStorage(serve(Full()).url, TOKEN, (30.0,))
    for data in (b"x", DATA * 10):
        for if_absent in (False, True):
            with pytest.raises(StorageError, match=r"can't write /data/a: the disk is full \(0.0 MiB free in /data\)"):
                storage.put("a", data, if_absent=if_absent)
    with pytest.raises(StorageError, match=r"disk is full"), storage.writer("a") as stream:
        stream.write(DATA)
    with pytest.raises(StorageError, match=r"ünï permission denied"):
        storage.stat("a")
    for length in (5, None):
        with pytest.raises(IntegrityError, match=r"^the object was changed$"):
            storage.get("a", 0, length)
    storage.close()


def test_what_is_not_there_is_named_by_its_place(storage: ServedStorage, local: LocalStorage) -> None:
    for call in (storage.get, storage.stat, lambda key: storage.get(key, 0, 5), lambda key: storage.get(key, 0, 0)):
        with pytest.raises(NotFoundError, match=local.local_path("none")):
            call("none")


def test_many_pages_and_batches(storage: ServedStorage, local: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PAGE", 10)
    keys = [f"k/{number:03}" for number in range(35)]
    for key in keys:
        local.put(key, b"")
    assert list(storage.list("k/")) == keys
    assert list(storage.list("k/", "k/029")) == keys[30:]
    assert list(storage.list("none/")) == []
    storage.delete(key for key in keys[:25])
    assert list(storage.list("k/")) == keys[25:]


def test_urls_hold_no_token(storage: ServedStorage, way: BadWay) -> None:
    assert storage.url("shared/a%2Fb") == f"{way.url}/o/shared/a%252Fb"
    assert ServedStorage("http://h:1/", TOKEN).url("a") == "http://h:1/o/a"


def test_sixteen_threads(storage: ServedStorage, way: BadWay) -> None:
    way.plan = [RESET, Fault(), LOST, BUSY] * 4

    def work(number: int) -> None:
        for turn in range(10):
            assert storage.put(f"t/{number}/{turn}", b"%d" % number * 1000)
            assert storage.get(f"t/{number}/{turn}") == b"%d" % number * 1000
            assert storage.get("a/b", turn * 1000, 50) == DATA[turn * 1000 : turn * 1000 + 50]

    in_threads(work)
    assert len(list(storage.list("t/"))) == 160
    assert way.connections < 60, "connections are used again"
    storage.close()


def test_reading_and_writing_in_flat_memory(serve: Callable[[Storage], ObjectServer], tmp_path: Path) -> None:
    """Client and server are both in this process, and neither holds the object."""
    storage = ServedStorage(serve(LocalStorage(tmp_path / "root", durable=False)).url, TOKEN, ())
    data = bytes(64 << 20)
    tracemalloc.start()
    try:
        assert storage.put("a", data)
        assert storage.put("b", data, if_absent=True)
        with storage.reader("a") as stream:
            while stream.read(1 << 20):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(data) // 4, f"{peak >> 20} MiB"
    storage.close()


def test_small_reads_of_what_never_changes_share_requests(way: BadWay, local: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    local.put("kept/a", DATA[:5000])
    storage = ServedStorage(way.url, TOKEN, AT_ONCE, immutable=lambda key: key.startswith("kept/"))
    asked: list[str] = []
    ask = Exchange.ask

    def noting(exchange: Exchange, request: Request) -> Answer:
        asked.append(request.path)
        return ask(exchange, request)

    monkeypatch.setattr(Exchange, "ask", noting)
    for start in range(0, 5000, 500):
        assert storage.get("kept/a", start, 700) == DATA[:5000][start : start + 700]
    assert len(asked) == 1
    for _ in range(3):
        assert storage.get("small", 1, 3) == b"itt"
    assert len(asked) == 4
    with pytest.raises(NotFoundError):
        storage.get("kept/none", 0, 5)
    storage.close()
