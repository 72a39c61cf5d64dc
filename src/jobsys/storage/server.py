"""The server of a storage: ``python -m jobsys.storage.server`` gives a directory to workers that do not share it, over HTTP.

What it answers is in ``handler.py``. Who may ask is told by a token in the environment variable JOBSYS_STORE_TOKEN.
"""

import argparse
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Final

from jobsys.errors import StorageError, UsageError
from jobsys.processes import die_with_parent
from jobsys.storage import wire
from jobsys.storage.base import Storage
from jobsys.storage.handler import Handler
from jobsys.storage.local import LocalStorage
from jobsys.storage.packed import PackedStorage

logger = logging.getLogger(__name__)

ANYWHERE: Final = "0.0.0.0:0"
"""Every address of this machine, and a free port."""


class ObjectServer(ThreadingHTTPServer):
    """Listens, and answers each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, storage: Storage, token: str, listen: str = ANYWHERE) -> None:
        """Listen at ``HOST:PORT``; nothing is answered before ``serve_forever``.

        Raises:
            StorageError: that address can't be had.
        """
        self.storage = storage
        self.token = token
        host, port = split_address(listen)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise StorageError(
                f"can't listen at {listen}: {error}; choose an address of this machine and a free port (0 is any)"
            ) from error

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


def main(arguments: Sequence[str]) -> int:
    """Serve a directory until the parent ends or asks for it."""
    parser = argparse.ArgumentParser(prog="python -m jobsys.storage.server", description=__doc__)
    parser.add_argument("--root", metavar="PATH", required=True, help="the directory to serve")
    parser.add_argument("--listen", metavar="HOST:PORT", default=ANYWHERE, help="where to listen (default: %(default)s)")
    parser.add_argument("--no-sync", action="store_true", help="do not wait until what is written would survive a power cut")
    parser.add_argument("--immutable", metavar="PREFIX", action="append", default=[], help="files of such keys never change")
    parser.add_argument("--packed", metavar="PREFIX", default="", help="objects of such keys lie in packs")
    parser.add_argument("--parent", metavar="PID", type=int, default=os.getppid(), help="the process with which this one ends")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_parent(options.parent)
    token = os.environ.get(wire.TOKEN_VARIABLE, "")
    if not wire.is_token(token):
        return _refuse(f"set the environment variable {wire.TOKEN_VARIABLE} to a token of letters and digits, without which nobody may ask")
    logging.basicConfig()
    allow_many_connections()
    prefixes = tuple(options.immutable)
    storage = _storage(options.root, not options.no_sync, lambda key: key.startswith(prefixes), options.packed)
    with suppress(StorageError):  # what an earlier server left; a directory that can't be used is told about by who asks for something
        storage.sweep()
    try:
        server = ObjectServer(storage, token, options.listen)
    except (StorageError, UsageError) as error:
        return _refuse(str(error))
    with server, suppress(KeyboardInterrupt):
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


def _storage(root: str, durable: bool, immutable: Callable[[str], bool], packed: str) -> Storage:
    return PackedStorage(root, durable, immutable, packed=packed) if packed else LocalStorage(root, durable, immutable)


def _refuse(reason: str) -> int:
    """Say, as the one line that whoever started this waits for, why there is no URL."""
    sys.stdout.write(f"error: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
