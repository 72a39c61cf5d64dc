"""Connections to one server, lent to one thread of one process at a time. Sends nothing by itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from requests import Session

MOST_IDLE: Final = 32


class Sessions:
    """Sessions of requests for one URL, with the headers that all requests have.

    There is no lock that a fork could copy while it is held: lists are changed by single operations. A forked process finds no session
    of its own, makes new ones, and leaves alone those that it was born with.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        """Begin without a session."""
        self._url = url
        self._headers = headers
        self._idle: dict[int, list[Session]] = {}  # by process; what was inherited is kept, for closing it may wait for a dead thread

    @contextmanager
    def borrow(self) -> "Iterator[Session]":
        """Lend a session that nobody else uses meanwhile."""
        idle = self._idle.setdefault(os.getpid(), [])
        try:
            session = idle.pop()
        except IndexError:
            session = self._new()
        try:
            yield session
        finally:
            if len(idle) < MOST_IDLE:
                idle.append(session)
            else:
                session.close()

    def close(self) -> None:
        """Close the sessions of this process that are not in use; others can be borrowed on."""
        idle = self._idle.pop(os.getpid(), [])
        while idle:
            idle.pop().close()

    def _new(self) -> "Session":
        import requests  # noqa: PLC0415 - takes longer to import than all of a worker's own code; only a served store needs it

        session = requests.Session()
        settings = session.merge_environment_settings(self._url, {}, None, None, None)
        session.proxies, session.verify, session.cert = settings["proxies"], settings["verify"], settings["cert"]
        session.trust_env = False  # the environment was read once; a .netrc would replace the token
        session.headers.clear()
        session.headers.update(self._headers)
        return session
