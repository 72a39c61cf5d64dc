"""A server that speaks as much of S3 as a job store needs, and looks before it writes: between the two, others may win as well."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

GAP = 0.05  # seconds between the look and the write


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        body = self._body()
        if self.headers.get("If-None-Match") == "*":
            if self._key() in self.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            time.sleep(GAP)
        self.objects[self._key()] = body
        return self._answer(200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "versioning" in query:
            return self._answer(200, b"<VersioningConfiguration/>")
        if "uploads" in query:
            return self._answer(200, b"<ListMultipartUploadsResult/>")
        if "list-type" in query:
            prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
            rows = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>" for key in keys)
            return self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode())
        data = self.objects.get(self._key())
        if data is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._part(data)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.objects.pop(self._key(), None)
        self._answer(204)

    def do_POST(self) -> None:
        for key in re.findall(rb"<Key>(.*?)</Key>", self._body()):
            self.objects.pop(key.decode(), None)
        self._answer(200, b"<DeleteResult/>")

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _part(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, data)
        start = int(asked[1])
        if start >= len(data):
            return self._answer(416, b"<Error><Code>InvalidRange</Code></Error>")
        part = data[start : int(asked[2]) + 1 if asked[2] else None]
        return self._answer(206, part, {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        fields = {"Content-Length": str(len(body)), "ETag": '"1"', "Last-Modified": "Sat, 28 Nov 2026 08:00:00 GMT"} | (headers or {})
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Waits for no connection that is kept open."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@contextmanager
def racy() -> Iterator[str]:
    """Run the server; give its endpoint."""
    handler = type("Own", (Handler,), {"objects": {}})
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
