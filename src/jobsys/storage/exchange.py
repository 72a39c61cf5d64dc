"""Requests to the server of a storage, sent again as long as the server or the way to it fails. Knows no keys and no meaning."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeVar, cast

from jobsys.errors import StorageError
from jobsys.storage import wire
from jobsys.storage.base import PassingError as PassingError
from jobsys.storage.sessions import Sessions

if TYPE_CHECKING:
    from requests import Response, Session

logger = logging.getLogger(__name__)
T = TypeVar("T")

PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Seconds between tries, each made shorter or longer by chance."""
_CONNECT: Final = 20.0  # also for each piece of a body to be taken
_ANSWER: Final = 60.0
_SLOWEST: Final = 4 << 20  # bytes a second that a server syncs to its disk
_UNAUTHORIZED: Final = 401
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_PASSING: Final = {408, 425, 429, 500, 502, 503, 504}


class View:
    """Bytes in memory as a file: sent in pieces, each with its own time limit, and never copied."""

    def __init__(self, data: bytes | memoryview) -> None:
        """Begin at the first byte."""
        self._data = memoryview(data).cast("B")
        self._at = 0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        return iter(lambda: self.read(wire.SMALL), memoryview(b""))

    def seek(self, position: int) -> int:
        """Go on reading from there."""
        self._at = position
        return position

    def read(self, size: int) -> memoryview:
        """Give the next bytes."""
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece


class Request(NamedTuple):
    """What is asked; an answer with another status than those expected is an error."""

    method: str
    path: str
    expected: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = _NONE
    body: bytes | BinaryIO | View = b""
    size: int = 0


class Answer(NamedTuple):
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Exchange:
    """The way to one server, for all threads and for processes forked off."""

    def __init__(self, url: str, token: str, pauses: tuple[float, ...] = PAUSES) -> None:
        """Take the server's URL, without a slash at its end."""
        self.url = url
        self.pauses = pauses
        self.sessions = Sessions(url, {"Authorization": wire.credentials(token), "Accept-Encoding": "identity", "User-Agent": "jobsys"})

    def ask(self, request: Request) -> Answer:
        """Send a request and read the whole answer."""

        def once() -> Answer:
            with ExitStack() as stack:
                response = self.send(request, stack)
                return Answer(response.status_code, response.headers, self.read(response, None))

        return self.persist(once)

    def persist(self, attempt: Callable[[], T]) -> T:
        """Do what may fail in passing until it succeeds, or the pauses are used up."""
        for pause in self.pauses:
            try:
                return attempt()
            except PassingError as error:
                logger.debug("Trying again: %s", error)
            time.sleep(pause * random.uniform(0.5, 1.5))
        return attempt()

    def send(self, request: Request, stack: ExitStack) -> "Response":
        """Send a request once; ``stack`` keeps the answer's connection until it is closed.

        Raises:
            PassingError: it should be sent again.
        """
        import requests  # noqa: PLC0415 - see jobsys.storage.sessions

        session = stack.enter_context(self.sessions.borrow())
        try:
            response = stack.enter_context(closing(self._request(session, request)))
        except requests.exceptions.SSLError as error:
            raise StorageError(f"the job store at {self.url} can't be trusted: {_root(error)}; check its certificate") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise PassingError(
                f"can't reach the job store at {self.url} ({_root(error)}); does its server still run, "
                "and does the network let this host through?"
            ) from error
        except requests.RequestException as error:
            raise StorageError(f"can't ask the job store at {self.url}: {error}; check the URL") from error
        if response.headers.get(wire.COMPLETE) != wire.complete(response.headers.get("Content-Length", 0)):
            status = response.status_code
            raise PassingError(
                f"what {self.url} answers (status {status}) is cut off, or not from the server of a job store; check the URL"
            )
        if response.status_code not in request.expected:
            raise self._refusal(request, response)
        return response

    def read(self, response: "Response", size: int | None) -> bytes:
        """Read so many bytes of an answer, or all; a connection that breaks is a PassingError."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - belongs to requests

        try:
            data: bytes = response.raw.read(size, decode_content=False)
        except (HTTPError, OSError) as error:
            raise PassingError(f"an answer of the job store at {self.url} broke off ({_root(error)})") from error
        return data

    def read_some(self, response: "Response", size: int) -> bytes:
        """Read up to so many bytes of an answer, at least one."""
        data = self.read(response, size)
        if not data:
            raise PassingError(f"an answer of the job store at {self.url} broke off")
        return data

    def _request(self, session: "Session", request: Request) -> "Response":
        if not isinstance(request.body, bytes):
            request.body.seek(0)
        return session.request(
            request.method,
            self.url + request.path,
            data=cast("bytes", request.body),  # what can be read or iterated over will do as well
            headers=request.headers,
            timeout=(_CONNECT, _ANSWER + request.size / _SLOWEST),
            stream=True,
            allow_redirects=False,  # the token is for this server only
        )

    def _refusal(self, request: Request, response: "Response") -> StorageError:
        status = response.status_code
        content = self.read(response, None)
        told = wire.decode_error(content, response.headers.get(wire.ERROR))
        if told is not None:
            return told
        if status == _UNAUTHORIZED:
            return StorageError(
                f"the job store at {self.url} does not accept the token in {wire.TOKEN_VARIABLE}: "
                "set it to the one that its server was started with"
            )
        text = content[:200].decode("utf-8", "replace").strip() or response.reason
        what = f"the job store at {self.url} answered {request.method} {request.path[:200]} with status {status} ({text})"
        return PassingError(what) if status in _PASSING else StorageError(f"{what}; is it the server of a job store?")


def _root(error: BaseException) -> str:
    """Say what was behind an error that others have wrapped."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"
