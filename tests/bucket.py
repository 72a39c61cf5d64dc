"""A pretend bucket: a server that gives objects of a storage to whoever has a URL that it signed, until it forgets its signatures."""

import contextlib
import secrets
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from jobsys.errors import NotFoundError
from jobsys.storage.base import Stretch
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.wire import read_range_header


class Bucket(MemoryStorage):
    """Objects in memory that are read at signed URLs of a server, or in stretches."""

    def __init__(self) -> None:
        super().__init__()
        self.signatures: set[str] = set()
        self.asked: list[tuple[str, int, dict[str, str]]] = []  # path, status, headers
        self.plan: list[int | str] = []  # what the next requests get: a status, or a kind of trouble
        self.signs = True
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.bucket = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def signed(self, key: str) -> str | None:
        if not self.signs:
            return None
        self.signatures.add(signature := secrets.token_hex(8))
        return f"{self.origin}/{key}?X-Amz-Signature={signature}"

    def stretch(self, key: str, start: int = 0, length: int | None = None) -> Stretch:
        whole = self.get(key)
        data = whole[start:] if length is None else whole[start : start + length]
        return Stretch(len(whole), tag(whole), (data[at : at + 100_000] for at in range(0, len(data), 100_000)))

    def statuses(self) -> list[int]:
        return [status for _, status, _ in self.asked]


def tag(data: bytes) -> str:
    """Name a version."""
    return f'"{hash(data):x}"'


@contextlib.contextmanager
def bucket() -> Iterator[Bucket]:
    """Have a bucket as long as the block lasts."""
    with contextlib.closing(Bucket()) as made:
        yield made


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: Bucket

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            raise


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bucket = cast("_Server", self.server).bucket
        trouble = bucket.plan.pop(0) if bucket.plan else ""
        try:
            status, headers, body = _answer(bucket, self.path, self.headers)
        except NotFoundError:
            status, headers, body = 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        if isinstance(trouble, int):
            status, headers, body = trouble, {}, b"<Error/>"
        bucket.asked.append((urlsplit(self.path).path, status, dict(self.headers)))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if trouble != f"no {name}":
                self.send_header(name, "1" if trouble == f"wrong {name}" else value)
        self.end_headers()
        self.wfile.write(body[: {"half": len(body) // 2, "nothing": 0}.get(str(trouble))])
        self.close_connection = self.close_connection or bool(trouble)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _answer(bucket: Bucket, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(path)
    if "Authorization" in headers:
        return 400, {}, b"<Error><Code>InvalidArgument</Code></Error>"  # as S3: only one way to say who one is
    if parts.query.partition("=")[2] not in bucket.signatures:
        return 403, {}, b"<Error><Code>AccessDenied</Code></Error>"
    data = bucket.get(parts.path[1:])
    named = {"ETag": tag(data)}
    if headers.get("If-Match", tag(data)) != tag(data):
        return 412, {}, b""
    wanted = read_range_header(headers.get("Range"))
    if wanted is None:
        return 200, named, data
    if wanted.start >= len(data):
        return 416, {}, b""
    part = data[wanted.start :][: wanted.length]
    return 206, named | {"Content-Range": f"bytes {wanted.start}-{wanted.start + len(part) - 1}/{len(data)}"}, part
