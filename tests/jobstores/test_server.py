"""The server of a job store as a process: how it begins and ends, and what it says of shared files."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsys import processes
from jobsys.errors import StorageError
from jobsys.jobstores import JobStore, create, file, s3
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.jobstores.commons import Commons
from jobsys.jobstores.server import serve
from jobsys.storage import wire
from jobsys.storage.base import PassingError
from jobsys.storage.local import LocalStorage
from jobsys.storage.s3.options import Options
from jobsys.storage.served import ServedStorage

TOKEN = "the-token"


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobsys.jobstores.server", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with start("--store", str(tmp_path / "root"), "--listen", "127.0.0.1:0", "--no-sync", JOBSYS_STORE_TOKEN=TOKEN) as process:
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
    words = ["-m", "jobsys.jobstores.server", "--store", str(tmp_path), "--listen", "127.0.0.1:0"]
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
    with start("--store", str(tmp_path / "root"), "--listen", listen, JOBSYS_STORE_TOKEN=token) as process:
        out, err = process.communicate(timeout=20)
    assert out.startswith("error: ")
    assert reason in out
    assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_file_is_found_by_its_name(tmp_path: Path, shared: bool) -> None:
    """Also in what many runs share, where the server's own process has written nothing."""
    create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)

    def opened() -> JobStore:
        commons = Commons(LocalStorage(tmp_path / "commons", durable=False)) if shared else None
        return JobStore(f"file:{tmp_path / 'store'}", file.storage(str(tmp_path / "store"), durable=False), commons=commons)

    with serve(opened(), TOKEN, "127.0.0.1:0") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def ask(name: str, **headers: str) -> bytes:
            request = urllib.request.Request(server.url + wire.shared_path(name), headers=headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()

        allowed = {"Authorization": f"Bearer {TOKEN}"}
        try:
            with pytest.raises(urllib.error.HTTPError) as early:
                ask("resources/a b.zip", **allowed)
            early.value.close()
            with opened().write_shared_file("resources/a b.zip") as stream:
                stream.write(b"code")
            assert (tmp_path / "store" / "shared").exists() is not shared
            assert ask("resources/a b.zip", **allowed) == b"code"
            assert ask("resources/a b.zip", Range="bytes=2-", **allowed) == b"de"
            for name, headers, status in (
                ("resources/a b.zip", {}, 401),
                ("resources/none", allowed, 404),
                ("../jobsys-store.json", allowed, 404),
            ):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    ask(name, **headers)
                assert caught.value.code == status
                caught.value.close()
        finally:
            server.shutdown()
            thread.join()


def test_who_asks_for_a_bucket_that_is_out_of_order_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And soon: requests do not pile up in the server, and none is done long after it was sent once more."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setattr("jobsys.jobstores.server.PATIENCE", 0.1)
    out_of_order = s3.storage("s3://bucket/run", Options(endpoint_url="http://127.0.0.1:1"))
    with serve(JobStore("s3://bucket/run", out_of_order), TOKEN, "127.0.0.1:0") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        far = ServedStorage(server.url, TOKEN, (0.0,))
        try:
            began = time.monotonic()
            for call in (lambda: far.get("a", 0, 5), lambda: far.put("a", b"1"), lambda: list(far.list(""))):
                with pytest.raises(PassingError, match="check the endpoint"):
                    call()
            assert time.monotonic() - began < 10
        finally:
            far.close()
            server.shutdown()
            thread.join()


def test_a_store_that_can_not_be_there_is_told(tmp_path: Path) -> None:
    with start("--store", "gopher:x", JOBSYS_STORE_TOKEN=TOKEN) as process:
        out, err = process.communicate(timeout=20)
    assert out.startswith("error: 'gopher:x' names no job store")
    assert (process.returncode, err) == (1, "")
