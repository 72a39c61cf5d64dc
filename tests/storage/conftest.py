"""A server in this process, and a bad way to it."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from badway import BadWay  # type: ignore[import-not-found]
from jobsys.storage.base import Storage
from jobsys.storage.server import ObjectServer

TOKEN = "the-token"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Storage], ObjectServer]]:
    """Serve a storage in a thread of this process."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.ExitStack() as stack:

        def start(storage: Storage) -> ObjectServer:
            server = stack.enter_context(ObjectServer(storage, TOKEN, "127.0.0.1:0"))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def bad_way() -> Iterator[Callable[[ObjectServer], BadWay]]:
    """Put a proxy before a server."""
    with contextlib.ExitStack() as stack:

        def start(server: ObjectServer) -> BadWay:
            way = BadWay(server.server_port)
            stack.callback(way.close)
            return way

        yield start
