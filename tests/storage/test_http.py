import gzip
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage import http
from jobsys.storage.http import redact
from jobsys.storage.urls import read_url, url_name, url_size, write_url

DATA = bytes(range(256)) * 8192


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: /ok, /status/N, /flaky/N (fails N times), /short, /chunked, /reset …"""

    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path))
        kind, _, argument = self.path.split("?")[0].lstrip("/").partition("/")
        if kind == "status":
            self.answer(int(argument))
        elif kind == "flaky" and self.count() <= int(argument):
            self.answer(503)
        elif kind == "reset" and self.count() <= int(argument):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
        elif kind == "short":
            self.answer(200, DATA[:-1000], {"Content-Length": str(len(DATA))})
        elif kind == "broken-chunks":
            self.answer(200, b"1000\r\nabc", {"Transfer-Encoding": "chunked"})
        elif kind == "chunked":
            self.answer(200, b"3\r\nabc\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})
        elif kind == "gzip":
            self.answer(200, gzip.compress(DATA), {"Content-Encoding": "gzip", "Content-Length": str(len(gzip.compress(DATA)))})
        elif kind == "redirect":
            self.answer(302, b"", {"Location": "/ok", "Content-Length": "0"})
        else:
            self.answer(200, self.server.put.get(self.path, DATA))

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self.server.asked.append((self.command, self.path))
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/flaky") and self.count() < 3:
            self.answer(500)
        elif self.path.startswith("/status"):
            self.answer(403)
        else:
            self.server.put[self.path] = data
            self.answer(201)

    def count(self) -> int:
        return self.server.asked.count((self.command, self.path))

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Remembers what was asked and put."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.put: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def read(url: str) -> bytes:
    with read_url(url) as stream:
        return stream.read()


def interrupted() -> Iterator[bytes]:
    yield DATA
    raise KeyboardInterrupt


@pytest.mark.parametrize("path", ["/ok", "/redirect", "/flaky/2", "/reset/3"])
def test_read_in_spite_of_a_weak_server(server: Server, path: str) -> None:
    assert read(server.url + path) == DATA


def test_read_in_pieces_and_left_early(server: Server) -> None:
    with read_url(server.url + "/ok") as stream:
        assert stream.read(3) + stream.read(5) == DATA[:8]


def test_chunked_answers(server: Server) -> None:
    assert read(server.url + "/chunked") == b"abc"


def test_nothing_is_decompressed_on_the_way(server: Server) -> None:
    assert gzip.decompress(read(server.url + "/gzip")) == DATA


@pytest.mark.parametrize("path", ["/short", "/broken-chunks"])
def test_a_truncated_answer_is_found_out_and_not_repeated(server: Server, path: str) -> None:
    with pytest.raises(StorageError, match=f"{path} broke off"):
        read(server.url + path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (404, NotFoundError, 1),
        (410, NotFoundError, 1),
        (403, StorageError, 1),
        (501, StorageError, 1),
        (500, StorageError, 4),
        (429, StorageError, 4),
    ],
)
def test_refusals(server: Server, status: int, kind: type[Exception], tries: int) -> None:
    with pytest.raises(StorageError, match=f"status {status}") as caught:
        read(f"{server.url}/status/{status}")
    assert type(caught.value) is kind
    assert len(server.asked) == tries


def test_size(server: Server) -> None:
    assert url_size(server.url + "/ok") == len(DATA)
    assert url_size(server.url + "/chunked") is None
    assert url_size(server.url + "/status/403") is None
    with pytest.raises(NotFoundError):
        url_size(server.url + "/status/404")


def test_put_whole_and_again_if_need_be(server: Server) -> None:
    for path in ("/new", "/flaky/new"):
        with write_url(server.url + path) as stream:
            stream.write(DATA)
            stream.flush()
            assert path not in server.put
        assert server.put[path] == DATA
    with pytest.raises(KeyboardInterrupt), write_url(server.url + "/half") as stream:
        stream.writelines(interrupted())
    assert "/half" not in server.put
    with pytest.raises(StorageError, match=r"PUT .*access denied"), write_url(server.url + "/status/403") as stream:
        stream.write(DATA)


def test_nobody_there(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(StorageError, match=r"can't reach .*network"):
            read(f"http://127.0.0.1:{unused.getsockname()[1]}/a")


@pytest.mark.parametrize("path", ["/status/403", "/short", "/broken-chunks"])
def test_no_secret_in_any_message(server: Server, path: str) -> None:
    url = server.url.replace("//", "//user:secret@") + path + "?sig=secret"
    with pytest.raises(StorageError) as caught:
        read(url)
    assert "secret" not in str(caught.value)
    assert path in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(StorageError) as caught:
        read("http://user:secret@127.0.0.1:1/a?sig=secret")
    assert "secret" not in str(caught.value)


def test_redact() -> None:
    assert redact("https://u:p@host:1/a@b?x=y#z") == "https://host:1/a@b?…"
    assert redact("s3://bucket/key") == "s3://bucket/key"
    assert redact("/a?b") == "/a?b"
    assert redact("https://h/a?x=1\n2") == "https://h/a?…"
    assert url_name("https://u:p@host/a%2Fb.txt?sig=1") == "a_b.txt"
