"""The server of a storage: where it listens."""

import socket
from pathlib import Path

import pytest

from jobsys.errors import StorageError, UsageError
from jobsys.storage.local import LocalStorage
from jobsys.storage.server import ObjectServer, make_url, split_address

TOKEN = "the-token"


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageError, match=f"can't listen at {listen}: .*free port"):
            ObjectServer(LocalStorage(tmp_path), TOKEN, listen)


@pytest.mark.parametrize(("text", "address"), [("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:80", ("::1", 80)), ("h.o:9", ("h.o", 9))])
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:65536", "host:-1", "80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="write HOST:PORT"):
        split_address(text)


def test_urls() -> None:
    assert make_url("::1", 80) == "http://[::1]:80"
    assert make_url("node7", 80) == "http://node7:80"
