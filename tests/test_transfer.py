"""Downloads over HTTP: what is asked for, who gets to see the token, and what is an error that may pass."""

import http.server
import threading
from contextlib import contextmanager

import pytest

from bucket import bucket  # type: ignore[import-not-found]
from jobsys.errors import NotFoundError, TransferError
from jobsys.storage.server import ObjectServer
from jobsys.transfer import fetch

DATA = bytes(range(256)) * 40


@contextmanager
def serving(answer):
    """Run a server; ``answer`` gets the handler, and what was asked for is listed as path and headers."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            answer(self)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", seen
        finally:
            listening.shutdown()
            thread.join()


def send(handler, status=200, data=DATA, **headers):
    handler.send_response(status)
    for name, value in ({"Content_Length": len(data)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


def test_all_of_it(target):
    with serving(send) as (url, seen):
        fetch(f"{url}/x?signature=1#sha256=2", str(target))
    assert target.read_bytes() == DATA
    assert seen[0][0] == "/x?signature=1"
    assert "Range" not in seen[0][1]


@pytest.mark.parametrize("part", ["bytes 100-10239/10240", None])
def test_the_rest_of_it(target, part):
    target.write_bytes(DATA[:100])
    with serving(lambda each: send(each, 206, DATA[100:], **({"Content_Range": part} if part else {}))) as (url, seen):
        fetch(f"{url}/x", str(target))
    assert target.read_bytes() == DATA
    assert seen[0][1]["Range"] == "bytes=100-"


def test_another_part_than_was_asked_for(target):
    target.write_bytes(DATA[:100])
    other = "bytes 50-10239/10240"
    with serving(lambda each: send(each, 206, DATA[50:], Content_Range=other)) as (url, _), pytest.raises(TransferError, match="another"):
        fetch(f"{url}/x", str(target))
    assert target.read_bytes() == b""


@pytest.mark.parametrize(("size", "whole"), [(len(DATA), True), (5, False)])
def test_nothing_is_left_to_be_sent(target, size, whole):
    target.write_bytes(DATA)
    with serving(lambda each: send(each, 416, b"", Content_Range=f"bytes */{size}")) as (url, _):
        if whole:
            fetch(f"{url}/x", str(target))
        else:
            with pytest.raises(TransferError, match="416"):
                fetch(f"{url}/x", str(target))
    assert target.read_bytes() == (DATA if whole else b"")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass(target, status):
    with serving(lambda each: send(each, status)) as (url, _), pytest.raises(TransferError, match=f"answered {status}"):
        fetch(f"{url}/x", str(target))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_will_not_pass(target, status):
    with serving(lambda each: send(each, status)) as (url, _), pytest.raises(NotFoundError, match=f"answered {status}"):
        fetch(f"{url}/x", str(target))


def test_a_transfer_that_breaks_off_keeps_what_came(target):
    more = len(DATA) + 7
    with serving(lambda each: send(each, Content_Length=more)) as (url, _), pytest.raises(TransferError, match="7 bytes are missing"):
        fetch(f"{url}/x", str(target))
    assert target.read_bytes() == DATA


def test_a_server_that_says_nothing_useful(target):
    with serving(lambda each: each.wfile.write(b"what?\r\n\r\n")) as (url, _), pytest.raises(TransferError, match="broke off"):
        fetch(f"{url}/x", str(target))


@pytest.mark.parametrize(
    ("below", "sent"), [("", True), ("/", True), ("/store", True), ("/store/", True), ("/sto", False), ("/store/x/y", False)]
)
def test_the_token_goes_to_the_store_only(target, monkeypatch, below, sent):
    with serving(send) as (url, seen):
        monkeypatch.setenv("JOBSYS_STORE_URL", url + below)
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", "secret")
        fetch(f"{url}/store/x", str(target))
    assert seen[0][1].get("Authorization") == ("Bearer secret" if sent else None)


@pytest.mark.parametrize("look_alike", ["{}0", "{}.evil.example", "{}@evil.example"])
def test_a_name_that_begins_like_the_store_s_is_not_the_store(monkeypatch, look_alike):
    import urllib.request

    from jobsys.transfer import _authorize

    monkeypatch.setenv("JOBSYS_STORE_URL", "http://store:80")
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", "secret")
    request = urllib.request.Request(look_alike.format("http://store:80") + "/x")
    _authorize(request)
    assert not request.has_header("Authorization")


def test_a_redirect_takes_the_token_nowhere_else(target, monkeypatch, caplog):
    with serving(send) as (other, seen_there):

        def answer(handler):
            goal = {"/away": f"{other}/x", "/here": "/x", "/file": "file:///etc/passwd"}.get(handler.path)
            send(handler) if goal is None else send(handler, 302, b"", Location=goal)

        with serving(answer) as (url, seen):
            monkeypatch.setenv("JOBSYS_STORE_URL", url)
            monkeypatch.setenv("JOBSYS_STORE_TOKEN", "secret")
            for path in ("/away", "/here"):
                fetch(url + path, str(target))
                assert target.read_bytes() == DATA
                target.unlink()
            with pytest.raises((NotFoundError, TransferError)):
                fetch(f"{url}/file", str(target))
    assert [headers.get("Authorization") for _, headers in seen] == ["Bearer secret"] * 4
    assert [headers.get("Authorization") for _, headers in seen_there] == [None]
    assert "secret" not in caplog.text


@pytest.fixture
def sent_on(monkeypatch, tmp_path):
    """Have a store whose server sends readers on to a bucket."""
    with bucket() as far, ObjectServer(far, "secret", "127.0.0.1:0") as server:
        far.put("x", DATA)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("JOBSYS_STORE_URL", server.url)
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", "secret")
        try:
            yield far, f"{server.url}/o/x"
        finally:
            server.shutdown()
            thread.join()


def test_the_rest_of_it_comes_from_where_the_store_sends_us(target, sent_on):
    far, url = sent_on
    target.write_bytes(DATA[:100])
    fetch(url, str(target))
    assert target.read_bytes() == DATA
    ((path, status, headers),) = far.asked
    assert (path, status, headers["Range"]) == ("/x", 206, "bytes=100-")
    assert "secret" not in str(headers)


@pytest.mark.parametrize("trouble", [403, 404, 503])
def test_what_can_not_be_had_there_comes_through_the_store(target, sent_on, trouble):
    far, url = sent_on
    far.plan = [trouble]
    target.write_bytes(DATA[:100])
    fetch(url, str(target))
    assert target.read_bytes() == DATA
    assert far.statuses() == [trouble]


def test_a_place_that_can_not_be_reached(target, sent_on, monkeypatch):
    far, url = sent_on
    monkeypatch.setattr(far, "signed", lambda key: f"http://127.0.0.1:1/{key}")
    fetch(url, str(target))
    assert target.read_bytes() == DATA


def test_a_transfer_that_breaks_off_there_goes_on_there(target, sent_on):
    far, url = sent_on
    far.plan = ["half"]
    with pytest.raises(TransferError, match="broke off") as caught:
        fetch(url, str(target))
    assert "Signature" not in str(caught.value)
    fetch(url, str(target))
    assert target.read_bytes() == DATA
    assert [headers.get("Range") for _, _, headers in far.asked] == [None, f"bytes={len(DATA) // 2}-"]


def test_nothing_is_anywhere(target, sent_on):
    _, url = sent_on
    with pytest.raises(NotFoundError, match="answered 404"):
        fetch(url[:-1] + "none", str(target))


def test_a_user_and_password_in_the_url(target):
    with serving(send) as (url, seen):
        fetch(url.replace("//", "//me:w%20rd@") + "/x", str(target))
    assert seen[0][1]["Authorization"] == "Basic bWU6dyByZA=="
