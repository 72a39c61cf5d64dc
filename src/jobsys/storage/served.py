"""Storage behind a server (``jobsys.storage.server``), for hosts that do not reach it themselves. Repeating is left to ``exchange.py``."""

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, Final, cast
from urllib.parse import urlencode

import msgspec

from jobsys.errors import StorageError
from jobsys.storage import blocks, wire
from jobsys.storage.base import Stat, Storage, check_key, check_prefix, check_range, storage_error
from jobsys.storage.download import Download
from jobsys.storage.elsewhere import Elsewhere
from jobsys.storage.exchange import PAUSES, Exchange, Request, View
from jobsys.storage.openfiles import BUFFER, WritingFile
from jobsys.storage.wire import Range

_CREATED: Final = 201
_BEHIND_THE_END: Final = 416
_CHANGED: Final = 412


class ServedStorage(Storage):
    """Objects behind a server.

    Whatever fails on the way is tried again for some ten seconds, so a call may happen twice: a create-once whose first answer was lost
    is refused the second time, as by every storage.
    """

    def __init__(
        self, url: str, token: str, pauses: tuple[float, ...] = PAUSES, *, immutable: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Take the server's URL and its token; nothing is sent yet. Pieces of ``immutable`` objects are kept for reads to come."""
        self._exchange = Exchange(url.rstrip("/"), token, pauses)
        self._elsewhere = Elsewhere()
        self._immutable = immutable
        self._blocks = blocks.Blocks(self._get_range)

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Send an object whole."""
        check_key(key)
        size = memoryview(data).nbytes
        body = bytes(data) if size <= wire.SMALL else View(data)
        headers = {"If-None-Match": "*"} if if_absent else {}
        expected = (_CREATED, _CHANGED) if if_absent else (_CREATED,)
        return self._exchange.ask(Request("PUT", wire.object_path(key), expected, headers, body, size)).status == _CREATED

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it; a large one goes on where a connection broke."""
        check_key(key)
        check_range(start, length)
        if length is None or length > wire.SMALL:
            with Download(self._exchange, self._elsewhere, key, Range(start, length)) as download:
                return download.content()
        if not length:
            self.stat(key)
            return b""
        in_blocks = length <= blocks.SIZE and self._immutable(key)
        return self._blocks.get(key, start, length) if in_blocks else self._get_range(key, start, length)

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        headers = {"Range": Range(start, length).header()}
        answer = self._exchange.ask(Request("GET", wire.object_path(key), (206, _BEHIND_THE_END), headers))
        return b"" if answer.status == _BEHIND_THE_END else answer.content

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Read a stream; where the connection breaks, the next one goes on with the same version of the object, or there is an error."""
        check_key(key)
        with Download(self._exchange, self._elsewhere, key, Range(0, None)) as download, io.BufferedReader(download, BUFFER) as stream:
            yield stream

    @contextmanager
    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> Iterator[BinaryIO]:  # noqa: ARG002
        """Collect what is written in a file of this machine and send it at a clean exit."""
        check_key(key)
        try:
            spool = tempfile.TemporaryFile(prefix="jobsys-")  # noqa: SIM115 - closed below; without a name, nothing can be left of it
        except OSError as error:
            raise storage_error(error, "write", tempfile.gettempdir()) from error
        with spool:
            with WritingFile(os.dup(spool.fileno()), f"{tempfile.gettempdir()}/jobsys-spool", sync=False).buffered() as stream:
                yield stream
            size = os.fstat(spool.fileno()).st_size
            headers = {wire.EXECUTABLE: "1"} if executable else {}
            body = cast("BinaryIO", spool) if size else b""
            self._exchange.ask(Request("PUT", wire.object_path(key), (_CREATED,), headers, body, size))

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Ask for one page of keys after the other."""
        check_prefix(prefix)
        more = True
        while more:
            query = urlencode({"prefix": prefix, "after": after, "limit": wire.PAGE})
            page = self._page(f"{wire.LIST}?{query}")
            yield from page.keys
            more = page.more and bool(page.keys)
            after = page.keys[-1] if more else ""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete many objects by each request."""
        self._delete(keys)

    def destroy(self) -> None:
        """Delete every object; the directory stays with the server, which has it open, and so does what is no object."""
        self._delete(list(self.list("")))

    def stat(self, key: str) -> Stat:
        """Ask for size and time."""
        check_key(key)
        headers = self._exchange.ask(Request("HEAD", wire.object_path(key))).headers
        try:
            return Stat(int(headers["Content-Length"]), float(headers[wire.MODIFIED]))
        except (KeyError, ValueError):
            raise StorageError(f"what answers at {self._exchange.url} is not the server of a job store; check the URL") from None

    def url(self, key: str) -> str:
        """Make the object's URL, which asks for the token as a header and never holds it."""
        check_key(key)
        return self._exchange.url + wire.object_path(key)

    def close(self) -> None:
        """Close the connections that are kept open; the storage can be used on."""
        self._exchange.sessions.close()
        self._elsewhere.close()

    def _delete(self, keys: Iterable[str]) -> None:
        waiting = map(str, keys)  # a file's id is more than a text
        while batch := list(islice(waiting, wire.PAGE)):
            for key in batch:
                check_key(key)
            body = msgspec.json.encode(batch)
            self._exchange.ask(Request("POST", wire.DELETE, (204,), {"Content-Type": "application/json"}, body, len(body)))

    def _page(self, path: str) -> wire.Keys:
        content = self._exchange.ask(Request("GET", path)).content
        try:
            return msgspec.json.decode(content, type=wire.Keys)
        except msgspec.DecodeError as error:
            raise StorageError(f"what answers at {self._exchange.url} is not the server of a job store ({error}); check the URL") from error
