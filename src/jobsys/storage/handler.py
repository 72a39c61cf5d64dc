"""What the server of a storage answers to one connection. Which storage, and who may, the server knows."""

import io
import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import islice
from typing import BinaryIO, Final, Protocol, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from jobsys.errors import StorageError
from jobsys.storage import wire
from jobsys.storage.base import Storage, Stretch, storage_error
from jobsys.storage.wire import Range

logger = logging.getLogger(__name__)

PIECE: Final = 1 << 18
IDLE: Final = 120.0
"""After so many seconds without a byte a connection is closed."""
LARGEST_LIST: Final = 2 << 20
_IN_ONE_GO: Final = 1 << 16
_PATIENCE: Final = 1 << 24  # what is read of a body that will not be used, from somebody who may not send one


class Serves(Protocol):
    """What an answer needs of its server."""

    storage: Storage
    token: str

    def shared(self, name: str) -> tuple[Storage, str]:
        """Tell in which storage, under which key, a shared file lies."""
        ...


class Refusal(Exception):
    """A request that is no business of the storage."""

    def __init__(self, status: int, reason: str) -> None:
        """Take the status of the answer and the text in it."""
        super().__init__(reason)
        self.status = status


class BrokenOff(ConnectionError):
    """The other side went away before the end of what it sends."""


class Handler(BaseHTTPRequestHandler):
    """One connection: many requests, one after the other."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    disable_nagle_algorithm = True
    wbufsize = _IN_ONE_GO  # headers and a small body leave in one packet
    _left = 0  # bytes of the request's body that are not read yet
    _begun = False

    def answer_request(self) -> None:
        """Answer one request, whatever its method."""
        self._left, self._begun = 0, False
        allowed = wire.are_credentials(self.headers["Authorization"], self.server_side.token)
        try:
            self._left = self._announced()
            self._route(allowed)()
        except StorageError as error:
            if self._begun:
                raise  # the connection ends here, and the other side sees that something is missing
            self._skip_body(self._left)
            self._send_error(*wire.encode_error(error))
        except Refusal as refusal:
            self._skip_body(self._left if allowed else _PATIENCE)
            self._send_error(refusal.status, str(refusal).encode(), "text/plain; charset=utf-8")
        self._skip_body(self._left if allowed else 0)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Have every method answered by one function; the base class looks for ``do_GET`` and the like."""
        if name.startswith("do_"):
            return self.answer_request
        raise AttributeError(name)

    @property
    def server_side(self) -> Serves:
        """The server, as what it is."""
        return cast("Serves", self.server)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say it where one looks for faults only."""
        logger.debug("%s %s", self.client_address[0], format % arguments)

    # -- one method a kind of request ------------------------------------------------------------------------

    def _route(self, allowed: bool) -> Callable[[], None]:
        if not allowed:
            raise Refusal(401, "this needs the store's token, as 'Authorization: Bearer TOKEN'")
        path = self.path.partition("?")[0]
        kind = next((kind for kind in (wire.OBJECTS, wire.SHARED) if path.startswith(kind)), path)
        routes = {
            ("GET", wire.OBJECTS): self._get,
            ("HEAD", wire.OBJECTS): self._head,
            ("GET", wire.SHARED): self._get,
            ("HEAD", wire.SHARED): self._head,
            ("PUT", wire.OBJECTS): self._put,
            ("GET", wire.LIST): self._list,
            ("POST", wire.DELETE): self._delete,
        }
        if (self.command, kind) not in routes:
            known = kind in {route[1] for route in routes}
            raise Refusal(405 if known else 404, f"a job store does not answer {self.command} {path[:100]}")
        return routes[self.command, kind]

    def _place(self) -> tuple[Storage, str]:
        path = self.path.partition("?")[0]
        if path.startswith(wire.SHARED):
            return self.server_side.shared(unquote(path.removeprefix(wire.SHARED)))
        return self.server_side.storage, unquote(path.removeprefix(wire.OBJECTS))

    def _get(self) -> None:
        wanted, (storage, key) = wire.read_range_header(self.headers["Range"]), self._place()
        if wanted and wanted.length is not None and wanted.length <= wire.SMALL and "If-Match" not in self.headers:
            data = storage.get(key, *wanted)
            if not data:
                raise Refusal(416, "the object ends before that")
            self._send(206, {"Content-Range": f"bytes {wanted.start}-{wanted.start + len(data) - 1}/*"}, data)
            return
        elsewhere = storage.signed(key) if wire.ELSEWHERE in self.headers else None
        if elsewhere is not None and (self._asks_from_here() or not wire.is_loopback(urlsplit(elsewhere).hostname)):
            self._send(307, {"Location": elsewhere})
            return
        stretch = storage.stretch(key, *(wanted or ()))
        if stretch is not None:
            self._send_stretch(stretch, wanted)
            return
        with storage.reader(key) as stream:
            self._send_stream(stream, wanted)

    def _asks_from_here(self) -> bool:
        """Tell whether this machine's own addresses mean the same to who asks."""
        asks: str = self.client_address[0]
        return wire.is_loopback(asks) or asks == self.connection.getsockname()[0]

    def _head(self) -> None:
        storage, key = self._place()
        found = storage.stat(key)
        self._begin(200, {wire.MODIFIED: repr(found.modified), "Accept-Ranges": "bytes"}, found.size)

    def _put(self) -> None:
        (storage, key), length = self._place(), self._left
        if "Content-Length" not in self.headers:
            raise Refusal(411, "an object needs its Content-Length")
        if_absent = self.headers["If-None-Match"] == "*"
        if wire.EXECUTABLE in self.headers or (length > wire.SMALL and not if_absent):
            with storage.writer(key, executable=wire.EXECUTABLE in self.headers) as stream:
                self._copy_body(stream)
            written = True
        elif length > wire.SMALL:
            with self._spooled_body() as data:
                written = storage.put(key, data, if_absent=True)
        else:
            written = storage.put(key, self._body(wire.SMALL), if_absent=if_absent)
        self._send(201 if written else 412)

    def _list(self) -> None:
        asked = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        prefix, after, limit = (asked.get(name, [""])[0] for name in ("prefix", "after", "limit"))
        most = min(int(limit), wire.PAGE) if limit.isdecimal() and len(limit) < 10 else wire.PAGE
        keys = list(islice(self.server_side.storage.list(prefix, after), most))
        self._send(200, {"Content-Type": "application/json"}, msgspec.json.encode(wire.Keys(keys, len(keys) == most)))

    def _delete(self) -> None:
        try:
            keys = msgspec.json.decode(self._body(LARGEST_LIST), type=list[str])
        except msgspec.DecodeError as error:
            raise Refusal(400, f"to delete, send a list of keys as JSON: {error}") from None
        if len(keys) > wire.PAGE:
            raise Refusal(413, f"at most {wire.PAGE} keys can be deleted by one request")
        self.server_side.storage.delete(keys)
        self._send(204)

    # -- what comes ------------------------------------------------------------------------------------------

    def _announced(self) -> int:
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (text.isdecimal() and len(text) < 19):
            self.close_connection = True  # where the next request begins can't be known
            raise Refusal(411, "a body needs a Content-Length, and nothing else to tell its end")
        return int(text)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(min(size, self._left))
        self._left -= len(data)
        return data

    def _body(self, most: int) -> bytes:
        if self._left > most:
            raise Refusal(413, f"the body has {self._left} bytes, {most} are allowed")
        data = self._read(self._left)
        if self._left:
            raise BrokenOff
        return data

    def _copy_body(self, stream: BinaryIO) -> None:
        while self._left:
            data = self._read(PIECE)
            if not data:
                raise BrokenOff
            stream.write(data)

    @contextmanager
    def _spooled_body(self) -> Iterator[memoryview]:
        """Give a large body as memory that is a file."""
        try:
            with tempfile.TemporaryFile(prefix="jobsys-") as spool:
                self._copy_body(cast("BinaryIO", spool))
                spool.flush()
                with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                    yield view
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            raise storage_error(error, "write", tempfile.gettempdir()) from error

    def _skip_body(self, most: int) -> None:
        """Read what was not used, so that the answer arrives and the next request can be read."""
        most = min(most, self._left)
        while most > 0:
            data = self._read(min(PIECE, most))
            most -= len(data)
            if not data:
                break
        if self._left:
            self.close_connection = True

    # -- what goes -------------------------------------------------------------------------------------------

    def _send_stream(self, stream: BinaryIO, wanted: Range | None) -> None:
        size, start = stream.seek(0, io.SEEK_END), 0 if wanted is None else wanted.start
        status, headers, count = self._announce(size, _tag(stream), wanted)
        if count <= _IN_ONE_GO:
            stream.seek(start)
            self._send(status, headers, stream.read(count))
            return
        self._begin(status, headers, count)
        self.wfile.flush()
        if self.connection.sendfile(stream, start, count) < count:
            self.close_connection = True

    def _send_stretch(self, stretch: Stretch, wanted: Range | None) -> None:
        status, headers, count = self._announce(stretch.size, stretch.tag, wanted)
        self._begin(status, headers, count)
        for piece in stretch.pieces:
            self.wfile.write(piece)
            count -= len(piece)
        if count:
            self.close_connection = True

    def _announce(self, size: int, tag: str, wanted: Range | None) -> tuple[int, dict[str, str], int]:
        """Give the status of an answer, its headers, and how many bytes come."""
        start, length = wanted or (0, None)
        count = size - start if length is None else min(length, size - start)
        headers = {"Accept-Ranges": "bytes"} | ({"ETag": tag} if tag else {})
        if self.headers.get("If-Match", tag) != tag:
            raise Refusal(412, "the object was replaced")
        if wanted is None:
            return 200, headers, count
        if count <= 0:
            raise Refusal(416, "the object ends before that")
        return 206, headers | {"Content-Range": f"bytes {start}-{start + count - 1}/{size}"}, count

    def _send_error(self, status: int, body: bytes, kind: str = "application/json") -> None:
        headers = {"Content-Type": kind}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.command == "HEAD":
            headers[wire.ERROR] = quote(body[:8192])
        self._send(status, headers, body)

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self._begin(status, headers or {}, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str], length: int) -> None:
        self._begun = True
        self.log_request(status)
        self.send_response_only(status)
        if status != 204:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in ({"Content-Type": "application/octet-stream"} | headers).items():
            self.send_header(name, value)
        self.send_header(wire.COMPLETE, wire.complete(length))
        self.end_headers()


def _tag(stream: BinaryIO) -> str:
    """Give a name to this very version of a file, so that a reader who comes back knows it again; "" where there is no file."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:
        return ""
    return f'"{found.st_dev:x}-{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
