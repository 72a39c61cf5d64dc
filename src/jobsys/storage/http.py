"""Files behind ``http:`` and ``https:``: read as streams, put whole. Repeats a request as long as no byte of the answer was used."""

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

from jobsys.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from requests import Response

PAUSES = (0.5, 1.0, 2.0, 4.0)
TIMEOUT = (10.0, 60.0)
BUFFER = 1 << 18
_TOO_MANY, _SERVER_ERROR, _NOT_IMPLEMENTED = 429, 500, 501
_MEANINGS = {401: "it asks for credentials", 403: "access denied", 405: "it does not offer this", 413: "too large for it"}


def redact(url: str) -> str:
    """Leave out of a URL what may be secret: user, password and query (signatures)."""
    return re.sub(r"[?#].*", "?…", re.sub(r"://[^/?#]*@", "://", url), flags=re.DOTALL) if "://" in url else url


def cause(url: str, error: Exception) -> Exception | None:
    """Give the error to raise ``from``, unless the URL has secrets that its text may repeat."""
    return error if redact(url) == url else None


class RemoteStream(io.RawIOBase):
    """What a server sends; an end before ``expected`` bytes is a StorageError."""

    def __init__(self, url: str, read: Callable[[int], bytes], expected: int | None = None) -> None:
        """Take the function that reads up to so many bytes and raises nothing but StorageError."""
        self._url = url
        self._read = read
        self._expected = expected
        self._count = 0

    def readable(self) -> bool:
        """Tell that this can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        self._count += len(data)
        if not data and self._expected is not None and self._count < self._expected:
            raise StorageError(f"reading {redact(self._url)} broke off after {self._count} of {self._expected} bytes")
        view[: len(data)] = data
        return len(data)


@contextmanager
def read_http(url: str) -> Iterator[BinaryIO]:
    """Read the bytes as the server keeps them: nothing is decompressed on the way."""
    response = _request("GET", url, stream=True)
    try:
        with io.BufferedReader(RemoteStream(url, _reader(url, response), _length(response)), BUFFER) as stream:
            yield stream
    finally:
        response.close()


def put_http(url: str, content: BinaryIO) -> None:
    """Send a file's content by one PUT."""
    _request("PUT", url, content).close()


def http_size(url: str) -> int | None:
    """Ask for the size; None where the server does not tell."""
    try:
        with _request("HEAD", url, allow_redirects=True) as response:
            return _length(response)
    except NotFoundError:
        raise
    except StorageError:  # a signed URL may be good for GET only
        return None


def _requests() -> ModuleType:
    """Load requests at its first use: it takes longer to import than all of a worker's own code."""
    import requests  # noqa: PLC0415 - only runs that import or export over the network pay for it

    return requests


def _request(method: str, url: str, body: BinaryIO | None = None, **options: bool) -> "Response":
    """Send a request, again after a pause where the server or the way to it failed."""
    requests = _requests()
    headers = {"Accept-Encoding": "identity"}
    for pause in (*PAUSES, None):
        if body:
            body.seek(0)
        try:
            response: Response = requests.request(method, url, data=body, headers=headers, timeout=TIMEOUT, **options)
        except requests.RequestException as error:
            if pause is None or not isinstance(error, (requests.ConnectionError, requests.Timeout)):
                message = f"can't reach {redact(url)} ({type(error).__name__}); check the address and the network"
                raise StorageError(message) from cause(url, error)
        else:
            status = response.status_code
            if response.ok:
                return response
            response.close()
            if pause is None or not _is_transient(status):
                raise _refusal(method, url, status)
        time.sleep(pause)
    raise AssertionError("the last pause ends the loop")


def _is_transient(status: int) -> bool:
    return status == _TOO_MANY or (status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED)


def _refusal(method: str, url: str, status: int) -> StorageError:
    if status in (404, 410):
        return NotFoundError(f"there is nothing at {redact(url)} (status {status})")
    meaning = f": {_MEANINGS[status]}" if status in _MEANINGS else ""
    return StorageError(f"the server refused {method} {redact(url)} (status {status}{meaning})")


def _length(response: "Response") -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _reader(url: str, response: "Response") -> Callable[[int], bytes]:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - belongs to requests, see there

    def read(size: int) -> bytes:
        try:
            data: bytes = response.raw.read(size, decode_content=False)
        except (HTTPError, OSError) as error:
            raise StorageError(f"reading {redact(url)} broke off ({type(error).__name__})") from cause(url, error)
        return data

    return read
