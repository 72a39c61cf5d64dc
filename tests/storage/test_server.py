"""The server as a process: how it begins and ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsys import processes
from jobsys.errors import StorageError, UsageError
from jobsys.storage.local import LocalStorage
from jobsys.storage.served import ServedStorage
from jobsys.storage.server import ObjectServer, make_url, split_address

TOKEN = "the-token"


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobsys.storage.server", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with start("--root", str(tmp_path / "root"), "--listen", "127.0.0.1:0", "--no-sync", JOBSYS_STORE_TOKEN=TOKEN) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_asked(process: subprocess.Popen[str], number: int, tmp_path: Path) -> None:
    storage = ServedStorage(said(process), TOKEN, ())
    assert storage.put("a/b", b"1")
    assert (tmp_path / "root" / "a" / "b").read_bytes() == b"1"
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    with pytest.raises(StorageError, match="can't reach"):
        storage.get("a/b")
    storage.close()


def test_the_token_is_in_no_command_line(process: subprocess.Popen[str]) -> None:
    said(process)
    assert TOKEN not in Path(f"/proc/{process.pid}/cmdline").read_text()


@pytest.mark.crash
@pytest.mark.parametrize("size", [1 << 19, 20 << 20])
def test_a_kill_in_the_middle_of_a_put_leaves_nothing_to_see(process: subprocess.Popen[str], tmp_path: Path, size: int) -> None:
    url = said(process)
    ServedStorage(url, TOKEN, ()).put("there", b"1")
    head = f"PUT /o/new HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20) as raw:
        raw.sendall(head.encode() + bytes(size - 1))
        process.kill()
        process.wait()
    again = LocalStorage(tmp_path / "root", durable=False)
    assert list(again.list("")) == ["there"]
    assert not (tmp_path / "root" / "new").exists()


@pytest.mark.crash
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    words = ["-m", "jobsys.storage.server", "--root", str(tmp_path), "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-c", code, sys.executable, *words]
    environment = os.environ | {"JOBSYS_STORE_TOKEN": TOKEN}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        pid = int(said(parent))
        assert said(parent).startswith("http:")
        assert processes.is_running(pid)
        parent.kill()
    end = time.monotonic() + 20
    while processes.is_running(pid) and time.monotonic() < end:
        processes.wait_for_end([pid], 1)
    assert not processes.is_running(pid)


@pytest.mark.parametrize(
    ("listen", "token", "reason"),
    [
        ("127.0.0.1:0", "", "JOBSYS_STORE_TOKEN"),
        ("127.0.0.1:0", "two words", "JOBSYS_STORE_TOKEN"),
        ("nowhere", TOKEN, "'nowhere' is no address to listen at"),
        ("192.0.2.1:0", TOKEN, "can't listen at 192.0.2.1:0"),
    ],
)
def test_why_it_does_not_begin(tmp_path: Path, listen: str, token: str, reason: str) -> None:
    with start("--root", str(tmp_path / "root"), "--listen", listen, JOBSYS_STORE_TOKEN=token) as process:
        out, err = process.communicate(timeout=20)
    assert out.startswith("error: ")
    assert reason in out
    assert (process.returncode, err) == (1, "")


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
