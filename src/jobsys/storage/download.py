"""One object on its way from the server of a storage, or from where that sends its readers; gone on with where a connection broke."""

import io
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from jobsys.errors import StorageError
from jobsys.storage import wire
from jobsys.storage.elsewhere import Elsewhere, Gone, Part, Replaced
from jobsys.storage.exchange import Exchange, PassingError, Request
from jobsys.storage.wire import Range

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from requests import Response

_SENT_ON: Final = 307
_BEHIND_THE_END: Final = 416
_CHANGED: Final = 412
_PIECE: Final = 1 << 24  # what is lost at most when a connection breaks; one piece is not copied again
_MISSES: Final = 2
"""So often in a row another place may fail before the server itself is asked for the bytes."""


class Download(io.RawIOBase):
    """An object, or a range of it, on its way here; all of it is one version."""

    def __init__(self, exchange: Exchange, elsewhere: Elsewhere, key: str, wanted: Range) -> None:
        """Ask for it, and wait for the beginning of the answer."""
        self._exchange = exchange
        self._elsewhere = elsewhere
        self._key = key
        self._start = wanted.start
        self._left: int | None = wanted.length  # None until the size is known
        self._tag: str | None = None
        self._misses = 0
        self._is_elsewhere = False
        self._response: Response | None = None
        self._stack = ExitStack()
        exchange.persist(self._open)

    def readable(self) -> bool:
        """Tell that this can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def content(self) -> bytes:
        """Read to the end."""
        return b"".join(iter(lambda: self._next(_PIECE), b""))

    def close(self) -> None:
        """Give the connection back."""
        self._stack.close()
        super().close()

    def _next(self, size: int) -> bytes:
        size = min(size, self._left or 0)
        return self._exchange.persist(lambda: self._read(size)) if size else b""

    def _read(self, size: int) -> bytes:
        response = self._response or self._open()
        if response is None:
            raise PassingError(f"{self._key} ends before the end that it had")
        try:
            data = self._exchange.read_some(response, size)
        except PassingError:
            self._misses += self._is_elsewhere  # else a place that begins and never brings anything would be asked until all tries are over
            self._response = None
            self._stack.close()
            raise
        self._misses = 0
        self._start += len(data)
        self._left = (self._left or 0) - len(data)
        return data

    def _open(self) -> "Response | None":
        """Ask for what is left, of the same version as before; give the answer to read it from, None where nothing is left."""
        try:
            part = self._ask(Range(self._start, self._left))
        except Replaced:
            self._stack.close()
            raise StorageError(
                f"{self._key} was replaced in the job store at {self._exchange.url} while it was being read; read it again"
            ) from None
        except StorageError:
            self._stack.close()
            raise
        if self._tag is None:
            self._tag, self._left = part.tag, part.size
        self._response = part.response
        return part.response

    def _ask(self, wanted: Range) -> Part:
        headers = {"Range": wanted.header()} if wanted != (0, None) else {}
        self._is_elsewhere = False
        if self._misses < _MISSES and self._elsewhere.usable:
            headers[wire.ELSEWHERE] = "1"
        expected: tuple[int, ...] = (200, 206, _BEHIND_THE_END, _SENT_ON)
        if self._tag is not None:
            headers["If-Match"] = self._tag
            expected = (206, _CHANGED, _SENT_ON)
        response = self._exchange.send(Request("GET", wire.object_path(self._key), expected, headers), self._stack)
        if response.status_code == _SENT_ON:
            return self._go(self._left_behind(response), wanted)
        if response.status_code == _CHANGED:
            raise Replaced
        if response.status_code == _BEHIND_THE_END:
            return Part(None, "", 0)
        # a tag that nothing has: a server that gave none can't go on with the same version
        return Part(response, response.headers.get("ETag", '""'), int(response.headers.get("Content-Length", 0)))

    def _left_behind(self, response: "Response") -> str:
        """Read where the server sends us, and give its connection back."""
        self._exchange.read(response, None)
        self._stack.close()
        return response.headers.get("Location", "")

    def _go(self, url: str, wanted: Range) -> Part:
        try:
            part = self._elsewhere.open(url, wanted, self._tag, self._stack)
        except Gone:
            self._misses += _MISSES
            self._stack.close()
        except PassingError:
            self._misses += 1
            raise
        else:
            self._is_elsewhere = True
            return part
        return self._ask(wanted)  # the server itself, at once
