"""Where the server of a storage sends its readers: objects read at URLs that need no token and get none. Does not try again.

Such a URL opens its object to whoever has it: none gets into an error or a log.
"""

import logging
import re
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from jobsys.storage.exchange import PassingError
from jobsys.storage.sessions import Sessions
from jobsys.storage.wire import Range

if TYPE_CHECKING:
    from requests import Response

_CONNECT: Final = 10.0
_ANSWER: Final = 20.0
_FAILURES: Final = 4
_AVOIDED: Final = 60.0
"""Seconds for which nobody is sent on where a place did not answer."""
_STRETCH: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Gone(PassingError):
    """There is nothing at that place, or nothing any more there; only the server knows what that means."""


class Part(NamedTuple):
    """What came: an answer whose body is to be read, the name of the version, and how many bytes it has; no answer where there are none."""

    response: "Response | None"
    tag: str
    size: int


class Replaced(Exception):
    """Another version of the object lies there now."""


class Elsewhere:
    """The places that one server has sent us to, for all threads and for processes forked off."""

    def __init__(self) -> None:
        """Know of none."""
        self._sessions: dict[str, Sessions] = {}
        self._failures = 0
        self._avoided_until = 0.0

    @property
    def usable(self) -> bool:
        """Whether to be sent there: not for a while after a place could not be reached, or failed several times in a row."""
        return time.monotonic() >= self._avoided_until

    def open(self, url: str, wanted: Range, tag: str | None, stack: ExitStack) -> Part:
        """Ask for a stretch of an object, of the version ``tag`` if that is given; ``stack`` keeps the connection.

        Raises:
            PassingError: nothing came that can be used.
            Replaced: the object has another version now.
        """
        try:
            part = self._open(url, wanted, tag, stack)
        except Gone:
            raise
        except PassingError:
            self.failed()
            raise
        self._failures = 0
        return part

    def failed(self, times: int = 1) -> None:
        """Note that a place did not do."""
        self._failures += times
        if self._failures >= _FAILURES:
            self._failures = 0
            self._avoided_until = time.monotonic() + _AVOIDED

    def close(self) -> None:
        """Close the connections that are kept open."""
        for sessions in self._sessions.values():
            sessions.close()

    def _open(self, url: str, wanted: Range, tag: str | None, stack: ExitStack) -> Part:
        response = self._send(url, wanted, tag, stack)
        status = response.status_code
        if status in {412, 416} and tag is not None:
            raise Replaced
        if status in {404, 416}:
            raise Gone(f"{_place(url)} has no such object, or it ends before")
        if status != 206:
            raise PassingError(f"{_place(url)} answered with status {status}")
        found = response.headers.get("ETag", "")
        count = _count(response.headers.get("Content-Range", ""), response.headers.get("Content-Length", ""), wanted)
        if count is None or not found:  # a head that was cut off would pass for a whole one
            raise PassingError(f"what {_place(url)} answers is cut off, or not the part that was asked for")
        if tag not in (None, found):
            raise Replaced
        return Part(response, found, count)

    def _send(self, url: str, wanted: Range, tag: str | None, stack: ExitStack) -> "Response":
        import requests  # noqa: PLC0415 - see jobsys.storage.sessions

        logging.getLogger("urllib3.connectionpool").addFilter(_without_queries)
        origin = _place(url)
        if not origin.startswith(("http:", "https:")):
            raise PassingError(f"the job store sends us to {origin}, which is no server")
        sessions = self._sessions.setdefault(origin, Sessions(origin, {"Accept-Encoding": "identity", "User-Agent": "jobsys"}))
        session = stack.enter_context(sessions.borrow())
        headers = {"Range": wanted.header()} | ({} if tag is None else {"If-Match": tag})
        try:
            return stack.enter_context(
                closing(session.get(url, headers=headers, timeout=(_CONNECT, _ANSWER), stream=True, allow_redirects=False))
            )
        except requests.RequestException as error:
            if _is_unreachable(error):
                self.failed(_FAILURES)
            problem = f"can't read at {origin} ({type(error).__name__})"
        raise PassingError(problem)  # out here, for the library's error has the URL in its text


def _is_unreachable(error: Exception) -> bool:
    """Tell whether trying again soon is no use."""
    import requests  # noqa: PLC0415 - see jobsys.storage.sessions
    from urllib3.exceptions import NewConnectionError  # noqa: PLC0415 - belongs to requests

    if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ProxyError, requests.ConnectTimeout)):
        return True
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NewConnectionError):
        cause = cause.__context__
    return cause is not None


def _count(stretch: str, length: str, wanted: Range) -> int | None:
    """Read how many bytes come; None where what is told does not agree, or is not what was asked for."""
    match = _STRETCH.fullmatch(stretch)
    if match is None:
        return None
    first, last, size = map(int, match.groups())
    end = size if wanted.length is None else min(size, wanted.start + wanted.length)
    count = last + 1 - first
    return count if (first, last + 1, str(count)) == (wanted.start, end, length) else None


def _place(url: str) -> str:
    """Say where a URL leads, without what it opens."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _without_queries(record: logging.LogRecord) -> bool:
    """Cut signatures out of what the library below would log of its requests."""
    if isinstance(record.args, tuple):
        record.args = tuple(re.sub(r"\?.*", "?…", each, flags=re.DOTALL) if isinstance(each, str) else each for each in record.args)
    return True
