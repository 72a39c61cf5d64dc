"""What goes over the wire, seen by a client that is not ours."""

import json
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from jobsys.errors import IntegrityError, StorageError
from jobsys.storage import handler, wire
from jobsys.storage.base import Stat, Storage
from jobsys.storage.local import LocalStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.server import ObjectServer

DATA = bytes(range(256)) * 8192
AUTH = {"Authorization": "Bearer the-token"}


@pytest.fixture
def server(serve: Callable[[Storage], ObjectServer], tmp_path: Path) -> ObjectServer:
    storage = LocalStorage(tmp_path / "root", durable=False)
    storage.put("a/b", DATA)
    return serve(storage)


@pytest.fixture
def connection(server: ObjectServer) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    yield connection
    connection.close()


def ask(connection: HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[HTTPResponse, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, AUTH | named)
    response = connection.getresponse()
    return response, response.read()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/o/a/b"), ("HEAD", "/o/a/b"), ("PUT", "/o/a/b"), ("GET", "/list"), ("POST", "/delete"), ("GET", "/x")]
)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer the-toke"}, {"Authorization": "Basic the-token"}])
def test_nothing_without_the_token(
    server: ObjectServer, connection: HTTPConnection, method: str, path: str, header: dict[str, str]
) -> None:
    connection.request(method, path, b'["a/b"]' if method in ("PUT", "POST") else None, header)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert b"\0" not in body
    assert server.storage.get("a/b") == DATA


def test_one_connection_serves_many_requests(connection: HTTPConnection) -> None:
    connection.connect()
    first = connection.sock
    for method, path, body, status in (
        ("GET", "/o/a/b", None, 200),
        ("HEAD", "/o/none", None, 404),
        ("PUT", "/o/c", b"x" * 100, 201),
        ("PUT", "/o/bad key", b"x" * 3_000_000, 500),
        ("POST", "/delete", b'["c"]', 204),
        ("POST", "/nowhere", b"body", 404),
        ("DELETE", "/o/a/b", b"body", 405),
        ("BREW", "/o/a/b", b"body", 405),
        ("GET", "/list", b"a body that nobody reads", 200),
    ):
        assert ask(connection, method, path.replace(" ", "%20"), body)[0].status == status, (method, path)
        assert connection.sock is first


@pytest.mark.parametrize("size", [0, 10, wire.SMALL, wire.SMALL + 1])
@pytest.mark.parametrize("if_absent", [False, True])
def test_put(server: ObjectServer, connection: HTTPConnection, size: int, if_absent: bool) -> None:
    headers = {"If_None_Match": "*"} if if_absent else {}
    assert ask(connection, "PUT", "/o/new", DATA[:size], **headers)[0].status == 201
    assert ask(connection, "PUT", "/o/new", DATA[1 : size + 1], **headers)[0].status == (412 if if_absent else 201)
    begin = 0 if if_absent else 1
    assert server.storage.get("new") == DATA[begin : size + begin]


def test_executable(server: ObjectServer, connection: HTTPConnection) -> None:
    assert ask(connection, "PUT", "/o/tool", b"#!/bin/sh", **{wire.EXECUTABLE: "1"})[0].status == 201
    assert Path(server.storage.local_path("tool") or "").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("text", "wanted", "status"),
    [
        ("bytes=0-9", slice(0, 10), 206),
        ("bytes=5-", slice(5, None), 206),
        ("bytes=2097000-9999999", slice(2097000, None), 206),
        ("bytes=0-1999999", slice(0, 2000000), 206),
        ("bytes=2097152-", None, 416),
        ("bytes=2097152-2097160", None, 416),
        ("bytes=-5", slice(None), 200),
    ],
)
def test_ranges(connection: HTTPConnection, text: str, wanted: slice | None, status: int) -> None:
    response, body = ask(connection, "GET", "/o/a/b", Range=text)
    assert response.status == status
    if wanted:
        assert body == DATA[wanted]
        assert int(response.headers["Content-Length"]) == len(body)
    if status == 206 and wanted:
        first, _, _ = wanted.indices(len(DATA))
        assert response.headers["Content-Range"].startswith(f"bytes {first}-{first + len(body) - 1}/")


def test_a_version_is_known_by_its_tag(server: ObjectServer, connection: HTTPConnection) -> None:
    tag = ask(connection, "GET", "/o/a/b")[0].headers["ETag"]
    response, body = ask(connection, "GET", "/o/a/b", Range="bytes=9-", If_Match=tag)
    assert (response.status, body) == (206, DATA[9:])
    server.storage.put("a/b", DATA[::-1])
    assert ask(connection, "GET", "/o/a/b", Range="bytes=9-", If_Match=tag)[0].status == 412


def test_stat(connection: HTTPConnection) -> None:
    response, body = ask(connection, "HEAD", "/o/a/b")
    assert (response.status, body, response.headers["Content-Length"]) == (200, b"", str(len(DATA)))
    response, _ = ask(connection, "HEAD", "/o/none")
    assert response.status == 404
    told = wire.decode_error(b"", response.headers[wire.ERROR])
    assert told is not None
    assert "none" in str(told)


def test_lists_in_pages(connection: HTTPConnection, server: ObjectServer) -> None:
    for number in range(5):
        server.storage.put(f"k/{number}", b"")
    assert json.loads(ask(connection, "GET", "/list?prefix=k%2F&after=k%2F0&limit=3")[1]) == {"keys": ["k/1", "k/2", "k/3"], "more": True}
    assert json.loads(ask(connection, "GET", "/list?prefix=k/&after=k/3&limit=3")[1]) == {"keys": ["k/4"], "more": False}
    assert len(json.loads(ask(connection, "GET", "/list?limit=99999999999999999999")[1])["keys"]) == 6
    assert ask(connection, "GET", "/list?prefix=../")[0].status == 500


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"[", json.dumps(["k"] * (wire.PAGE + 1)).encode(), b" " * (handler.LARGEST_LIST + 1)]
)
def test_what_is_no_list_of_keys_deletes_nothing(connection: HTTPConnection, server: ObjectServer, body: bytes) -> None:
    assert ask(connection, "POST", "/delete", body)[0].status in (400, 413)
    assert list(server.storage.list("")) == ["a/b"]


@pytest.mark.parametrize("key", ["../a", "%2e%2e/a", ".tmp/x", "a//b", "a%00", "%FF", ""])
def test_no_key_leads_out(connection: HTTPConnection, server: ObjectServer, tmp_path: Path, key: str) -> None:
    for method in ("GET", "PUT"):
        response, body = ask(connection, method, f"/o/{key}", b"x" if method == "PUT" else None)
        assert response.status == 500
        assert "is no key" in json.loads(body)["message"]
    assert list(server.storage.list("")) == ["a/b"]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize(
    "head", ["Transfer-Encoding: chunked", "Content-Length: x", "Content-Length: -1", f"Content-Length: {'9' * 30}", ""]
)
def test_a_body_whose_end_is_unknown_is_refused(server: ObjectServer, head: str) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), 20) as raw:
        raw.sendall(
            f"PUT /o/new HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the-token\r\n{head}\r\n\r\n".replace(
                "\r\n\r\n\r\n", "\r\n\r\n"
            ).encode()
        )
        assert raw.recv(1000).startswith(b"HTTP/1.1 411 ")
    assert list(server.storage.list("")) == ["a/b"]


@pytest.mark.parametrize("extra", [[], ["If-None-Match: *"], [f"{wire.EXECUTABLE}: 1"]])
@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_body_that_breaks_off_is_never_visible(server: ObjectServer, tmp_path: Path, size: int, extra: list[str]) -> None:
    lines = ["PUT /o/new HTTP/1.1", "Host: x", "Authorization: Bearer the-token", f"Content-Length: {size}", *extra, "", ""]
    with socket.create_connection(("127.0.0.1", server.server_port), 20) as raw:
        raw.sendall("\r\n".join(lines).encode() + DATA[: size // 2])
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1000) == b"", "there is no answer: nothing was done"
    assert list(server.storage.list("")) == ["a/b"]
    assert list((tmp_path / "root" / ".tmp").iterdir()) == []


class Failing(MemoryStorage):
    """Fails in every way."""

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        raise StorageError("can't write there: the disk is full (0.0 MiB free in there)")

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        raise IntegrityError("it was changed")

    def stat(self, key: str) -> Stat:
        raise ZeroDivisionError


def test_errors_of_the_storage_are_told(serve: Callable[[Storage], ObjectServer]) -> None:
    connection = HTTPConnection("127.0.0.1", serve(Failing()).server_port, timeout=20)
    response, body = ask(connection, "PUT", "/o/a", DATA)
    assert (response.status, json.loads(body)["error"]) == (500, "StorageError")
    assert "disk is full" in json.loads(body)["message"]
    response, body = ask(connection, "GET", "/o/a", Range="bytes=0-1")
    assert (response.status, json.loads(body)) == (409, {"error": "IntegrityError", "message": "it was changed"})
    connection.close()


def test_a_mistake_of_ours_ends_the_connection_and_no_more(
    serve: Callable[[Storage], ObjectServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(Failing())
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", server.server_port), 20) as raw:
            raw.sendall(b"HEAD /o/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the-token\r\n\r\n")
            assert raw.recv(1000) == b""
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 2
