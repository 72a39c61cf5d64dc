"""Objects read where the server of a storage sends its readers: a pretend bucket, with every trouble that a place may make."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bucket import Bucket, bucket  # type: ignore[import-not-found]
from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import PassingError, Storage
from jobsys.storage.served import ServedStorage
from jobsys.storage.server import ObjectServer

DATA = os.urandom(3_000_000)
TOKEN = "the-token"
AT_ONCE = (0.0,) * 5


@pytest.fixture
def far() -> Iterator[Bucket]:
    with bucket() as made:
        made.put("a/b", DATA)
        made.put("small", b"little")
        made.put("empty", b"")
        yield made


@pytest.fixture
def storage(serve: Callable[[Storage], ObjectServer], far: Bucket) -> Iterator[ServedStorage]:
    made = ServedStorage(serve(far).url, TOKEN, AT_ONCE)
    yield made
    made.close()


def read(storage: ServedStorage, key: str) -> bytes:
    with storage.reader(key) as stream:
        return stream.read()


def test_what_may_be_large_comes_from_there_without_the_token(storage: ServedStorage, far: Bucket) -> None:
    assert storage.get("a/b") == read(storage, "a/b") == DATA
    assert storage.get("a/b", 1000, 2_000_000) == DATA[1000:2_001_000]
    assert storage.get("small") == b"little"
    assert far.statuses() == [206] * 4
    assert not [headers for _, _, headers in far.asked if "Authorization" in headers or TOKEN in str(headers)]


def test_what_is_small_and_what_changes_goes_to_the_server(storage: ServedStorage, far: Bucket) -> None:
    assert storage.get("a/b", 1000, 5000) == DATA[1000:6000]
    assert storage.stat("a/b").size == len(DATA)
    assert storage.put("new", DATA)
    storage.delete(["new"])
    assert list(storage.list("")) == ["a/b", "empty", "small"]
    assert far.asked == []


def test_what_needs_more_than_a_url_comes_through_the_server(storage: ServedStorage, far: Bucket) -> None:
    far.signs = False
    assert storage.get("a/b") == read(storage, "a/b") == DATA
    assert storage.get("a/b", 1000, 2_000_000) == DATA[1000:2_001_000]
    assert storage.get("a/b", 5_000_000) == storage.get("empty") == b""
    assert far.asked == []


def test_the_end_of_an_object(storage: ServedStorage, far: Bucket) -> None:
    assert storage.get("empty") == read(storage, "empty") == b""
    assert storage.get("a/b", len(DATA)) == b""
    assert storage.get("a/b", len(DATA) - 5) == storage.get("a/b", len(DATA) - 5, 2_000_000) == DATA[-5:]
    assert far.statuses() == [416, 416, 416, 206, 206]


def test_only_the_server_says_where_an_object_ends(storage: ServedStorage, far: Bucket) -> None:
    far.plan = [416, 416]
    assert storage.get("a/b") == read(storage, "a/b") == DATA
    assert far.statuses() == [416, 416]


@pytest.mark.parametrize("key", ["none", "none/at/all"])
def test_what_is_not_there_is_told_by_the_server(storage: ServedStorage, far: Bucket, key: str) -> None:
    for call in (storage.get, lambda key: read(storage, key)):
        with pytest.raises(NotFoundError, match=f"nothing under {key} in the memory storage"):
            call(key)
    assert far.statuses() == [404, 404], "once each"


@pytest.mark.parametrize(
    "plan",
    [
        [500],
        [503, 503],
        [403],
        [301],
        ["half"],
        ["half", "half", 503, "half"],
        ["no ETag"],
        ["no Content-Range"],
        ["no Content-Length"],
        ["wrong Content-Range"],
        ["wrong Content-Length"],
        [403] * 9,
        ["half"] * 3 + [400] * 9,
    ],
)
def test_trouble_there(storage: ServedStorage, far: Bucket, plan: list[int | str]) -> None:
    for call in (lambda: storage.get("a/b"), lambda: read(storage, "a/b"), lambda: storage.get("a/b", 7, 2_500_000)):
        far.plan = list(plan)
        assert call() in (DATA, DATA[7:2_500_007])


def test_a_place_that_begins_and_never_goes_on(storage: ServedStorage, far: Bucket) -> None:
    far.plan = ["nothing"] * 9
    assert storage.get("a/b") == DATA
    assert far.statuses() == [206] * 2


def test_what_may_pass_is_told_as_that(storage: ServedStorage, far: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    get, left = far.get, [3]

    def out_of_order(*arguments: Any) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise PassingError("SlowDown")
        return get(*arguments)

    monkeypatch.setattr(far, "get", out_of_order)
    assert storage.get("a/b", 5, 10) == DATA[5:15]
    left[0] = 99
    with pytest.raises(PassingError, match="SlowDown"):
        storage.get("a/b", 5, 10)
    assert left[0] == 99 - len(AT_ONCE) - 1


def test_nobody_is_sent_to_his_own_machine(storage: ServedStorage, far: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobsys.storage.handler.Handler._asks_from_here", lambda _: False)
    assert storage.get("a/b") == DATA
    assert far.asked == []


def test_a_url_that_has_expired_is_asked_for_again(storage: ServedStorage, far: Bucket) -> None:
    far.plan = ["half"]
    with storage.reader("a/b") as stream:
        begin = stream.read(1000)
        far.signatures.clear()
        assert begin + stream.read() == DATA
    assert far.statuses() == [206, 206]
    assert far.asked[1][2]["If-Match"] == far.stretch("a/b").tag
    assert int(far.asked[1][2]["Range"].removeprefix("bytes=").split("-")[0]) > 1_000_000, "it goes on where it was"


@pytest.mark.parametrize("later", ["there", "through the server"])
def test_two_versions_are_never_mixed(storage: ServedStorage, far: Bucket, later: str) -> None:
    far.plan = ["half"] + [403] * (9 if later != "there" else 0)
    with storage.reader("a/b") as stream:
        stream.read(10)
        far.put("a/b", DATA[::-1])
        with pytest.raises(StorageError, match=r"a/b was replaced .* read it again"):
            stream.read()


def test_a_place_that_minds_no_version_is_found_out(storage: ServedStorage, far: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import bucket as module

    far.plan = ["half"]
    with storage.reader("a/b") as stream:
        stream.read(10)
        other, answer = DATA[::-1], module._answer
        far.put("a/b", other)
        monkeypatch.setattr(module, "_answer", lambda it, path, headers: answer(it, path, {"Range": headers["Range"]}))
        with pytest.raises(StorageError, match=r"a/b was replaced"):
            stream.read()


def test_what_began_there_goes_on_through_the_server(storage: ServedStorage, far: Bucket) -> None:
    far.plan = ["half"] + [403] * 9
    assert storage.get("a/b") == DATA
    assert far.statuses() == [206, 403]


def test_a_place_that_can_not_be_reached_is_left_alone_for_a_while(
    storage: ServedStorage, far: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{unused.getsockname()[1]}"
        signed: list[str] = []

        def sign(key: str) -> str:
            signed.append(key)
            return f"{origin}/{key}?secret"

        monkeypatch.setattr(far, "signed", sign)
        for _ in range(5):
            assert storage.get("a/b") == DATA
    assert signed == ["a/b"]
    monkeypatch.undo()
    monkeypatch.setattr("jobsys.storage.elsewhere.time.monotonic", lambda: 1e12)
    assert storage.get("a/b") == DATA
    assert far.statuses() == [206]


def test_no_url_is_shown_or_logged(
    storage: ServedStorage, far: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    far.plan = [500, 403]
    assert storage.get("a/b") == DATA
    monkeypatch.setattr(storage._exchange, "pauses", ())
    shown = []
    far.plan = [403]
    for url in (None, "http://127.0.0.1:1/x?X-Amz-Signature=1", "ftp://x/?X-Amz-Signature=1"):
        if url is not None:
            monkeypatch.setattr(far, "signed", lambda _, url=url: url)
        with pytest.raises(StorageError) as caught:
            storage.get("a/b")
        shown.append(str(caught.value))
        behind: BaseException | None = caught.value
        while (behind := behind and behind.__context__) is not None:
            shown.append(str(behind))
        monkeypatch.setattr(storage._elsewhere, "_avoided_until", 0.0)
    assert "403" in shown[0]
    logged = [record.getMessage() for record in caplog.records]
    assert [line for line in logged if "GET /a/b?…" in line], "the library below does log requests"
    assert not [line for line in (*shown, *logged) if "Signature" in line or TOKEN in line]
