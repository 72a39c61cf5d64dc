"""The server of a storage: gives it to workers that do not reach it themselves, over HTTP. What it answers is in ``handler.py``."""

import logging
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Final

from jobsys.errors import NotFoundError, StorageError, UsageError
from jobsys.storage.base import Storage
from jobsys.storage.handler import Handler

logger = logging.getLogger(__name__)

ANYWHERE: Final = "0.0.0.0:0"
"""Every address of this machine, and a free port."""


class ObjectServer(ThreadingHTTPServer):
    """Listens, and answers each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self, storage: Storage, token: str, listen: str = ANYWHERE, shared: Callable[[str], tuple[Storage, str]] | None = None
    ) -> None:
        """Listen at ``HOST:PORT``; nothing is answered before ``serve_forever``.

        Args:
            storage: what is served.
            token: what those must have who ask.
            listen: the address.
            shared: tells in which storage, under which key, a shared file lies; the server of a storage alone has none.

        Raises:
            StorageError: that address can't be had.
        """
        self.storage = storage
        self.token = token
        self._shared = shared
        host, port = split_address(listen)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise StorageError(
                f"can't listen at {listen}: {error}; choose an address of this machine and a free port (0 is any)"
            ) from error

    def shared(self, name: str) -> tuple[Storage, str]:
        """Tell in which storage, under which key, a shared file lies.

        Raises:
            NotFoundError: it is nowhere.
        """
        if self._shared is None:
            raise NotFoundError(f"this serves objects only, and no shared file {name[:200]!r}")
        return self._shared(name)

    @property
    def url(self) -> str:
        """The URL at which this listens."""
        return make_url(*self.server_address[:2])

    def server_bind(self) -> None:
        """Bind, without asking a name server for this machine's name as the base class does."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Note what ended a connection; that the other side went away is nothing special."""
        if isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            logger.debug("%s went away", client_address)
        else:
            logger.exception("An answer to %s broke off", client_address)


def split_address(listen: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        UsageError: it is none.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"{listen!r} is no address to listen at; write HOST:PORT, such as {ANYWHERE} (port 0 is any free one)")
    return host.strip("[]"), int(port)


def make_url(host: str | bytes | bytearray, port: int) -> str:
    """Write host and port as a URL."""
    name = host if isinstance(host, str) else host.decode()
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def allow_many_connections() -> None:
    """Raise the number of files that this process may have open as far as it is allowed to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems name a limit that can't be set
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
