"""Code is brought to a host once, whole or not at all, and an interrupted transfer goes on where it was."""

import errno
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from jobsys import fetch
from jobsys.errors import IntegrityError, StorageError, TransferError
from jobsys.fetch import Wanted, local_file, make_once, obtain
from jobsys.package import pack
from jobsys.scan import read_tree
from layered import image, needs_root, run_on_image  # type: ignore[import-not-found]

PROGRAM = "import json, sys; from jobsys.fetch import Wanted, obtain; print(obtain(Wanted(*json.loads(sys.argv[1])), sys.argv[2]))"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "code").mkdir()
    return str(tmp_path / "code" / ("a" * 64 + "-01234567"))


@pytest.fixture
def wanted(tmp_path):
    """A tree and its archive, as a ``file:`` URL."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "mod.py").write_text("VALUE = 8\n")
    (project / "data").write_bytes(os.urandom(2_000_000))
    tree = read_tree(str(project))
    with open(tmp_path / "tree.zip", "wb") as stream:
        pack(tree, stream, compress=False)
    return Wanted("file://" + quote(str(tmp_path / "tree.zip")), "project", tree.md5, tree.sha256, True)


class Server:
    """Serves one file; sends ``portion`` bytes of it a request, if that is set, and ``halts`` in the middle until it is told to go on."""

    def __init__(self, path):
        self.path, self.portion, self.halts = path, 0, False
        self.ranges: list[str | None] = []
        self.halted, self.go_on = threading.Event(), threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                data, asked = server.path.read_bytes(), self.headers.get("Range")
                server.ranges.append(asked)
                start = int(asked[6:-1]) if asked else 0
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(data) - start))
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                end = start + server.portion if server.portion else len(data)
                if server.halts:
                    server.halts = False
                    self.wfile.write(data[: len(data) // 2])
                    server.halted.set()
                    server.go_on.wait(30)
                else:
                    self.wfile.write(data[start:end])

            def log_message(self, *arguments):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            request_queue_size = 32

            def handle_error(self, request, client_address):
                """A client that was killed is what is tested."""

        self.listening = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listening.server_port}/tree.zip"


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "tree.zip")
    thread = threading.Thread(target=made.listening.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.go_on.set()
    made.listening.shutdown()
    thread.join()
    made.listening.server_close()


def start(wanted, place):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(wanted), place], stdout=subprocess.PIPE, text=True)


def content(place):
    return Path(place, "project", "mod.py").read_text()


def test_sixteen_processes_download_once(server, wanted, place):
    processes = [start(wanted._replace(url=server.url), place) for _ in range(16)]
    said = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 16
    assert sorted(said) == ["False"] * 15 + ["True"]
    assert server.ranges == [None]
    name = os.path.basename(place)
    assert sorted(os.listdir(os.path.dirname(place))) == [name, f"{name}.lock", f"{name}.used"]


def test_what_a_killed_process_transferred_is_gone_on_with(server, wanted, place):
    wanted = wanted._replace(url=server.url)
    size = server.path.stat().st_size
    server.halts = True
    with start(wanted, place) as process:
        assert server.halted.wait(30)
        until = time.monotonic() + 30
        while (have := fetch._size(f"{place}.transfer")) < size // 2 - 1_000_000 or have == 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    have = os.path.getsize(f"{place}.transfer")
    assert not os.path.exists(place)
    assert obtain(wanted, place)
    assert server.ranges == [None, f"bytes={have}-"]
    assert content(place) == "VALUE = 8\n"
    assert not os.path.exists(f"{place}.transfer")
    assert not [name for name in os.listdir(os.path.dirname(place)) if fetch.PART in name]


def test_a_transfer_that_was_whole_is_not_repeated(server, wanted, place):
    Path(f"{place}.transfer").write_bytes(server.path.read_bytes()[:-1])
    assert obtain(wanted._replace(url=server.url), place)
    assert len(server.ranges) == 1


def test_a_wrong_beginning_is_started_anew(server, wanted, place):
    Path(f"{place}.transfer").write_bytes(b"x" * 1000)
    assert obtain(wanted._replace(url=server.url), place)
    assert server.ranges == ["bytes=1000-", None]


def test_tries_are_not_used_up_while_bytes_arrive(server, wanted, place):
    server.portion = 150_000
    assert obtain(wanted._replace(url=server.url), place)
    assert len(server.ranges) == -(-server.path.stat().st_size // 150_000) > 2 * fetch.TRIES


def test_a_damaged_archive_is_refused_after_so_many_tries(server, wanted, place):
    data = bytearray(server.path.read_bytes())
    data[data.index(b"VALUE")] ^= 1
    server.path.write_bytes(data)
    with pytest.raises(IntegrityError):
        obtain(wanted._replace(url=server.url), place)
    assert server.ranges == [None] * fetch.TRIES
    assert not [name for name in os.listdir(os.path.dirname(place)) if not name.endswith((".lock", ".used"))]


def test_what_came_so_far_waits_for_another_day(server, wanted, place):
    server.portion = 0
    Path(f"{place}.transfer").write_bytes(server.path.read_bytes()[:1000])
    server.listening.RequestHandlerClass.do_GET = lambda self: self.send_error(503)
    with pytest.raises(TransferError, match="503"):
        obtain(wanted._replace(url=server.url), place)
    assert os.path.getsize(f"{place}.transfer") == 1000


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_damaged_place_is_replaced_and_what_others_noted_of_it_stays(wanted, place, monkeypatch, exchanged):
    assert obtain(wanted, place)
    path = Path(place, "project", "mod.py")
    before = path.stat()
    path.write_text("VALUE = 9\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    Path(place, ".jobsys-leader").write_text("noted")
    exchange = fetch._exchange
    done: list[bool] = []

    def counted(one, other):
        done.append(exchanged and exchange(one, other))
        return done[-1]

    monkeypatch.setattr(fetch, "_exchange", counted)
    assert obtain(wanted, place)
    assert content(place) == "VALUE = 8\n"
    assert Path(place, ".jobsys-leader").read_text() == "noted"
    assert done == [exchanged]
    assert not obtain(wanted, place)
    assert not [name for name in os.listdir(os.path.dirname(place)) if fetch.PART in name]


REPAIR = """
import json, os, sys
from jobsys.fetch import Wanted, obtain

wanted, place = Wanted(*json.loads(sys.argv[1])), sys.argv[2]
module = f"{place}/{wanted.name}/mod.py"
for _ in range(2):
    print(obtain(wanted, place), open(module).read().strip(), obtain(wanted, place))
    os.unlink(module)
"""


@needs_root
def test_a_damaged_place_in_an_image_is_repaired_again_and_again(wanted, tmp_path):
    """Its directory can't be renamed: it is of the layer below."""
    name = "a" * 64 + "-01234567"
    below = image(tmp_path)
    assert obtain(wanted, str(below / name))
    (below / name / "project/mod.py").write_text("VALUE = 9\n")
    assert run_on_image(tmp_path, REPAIR, json.dumps(wanted), f"{tmp_path}/root/{name}") == ["True VALUE = 8 False"] * 2


def test_a_damaged_place_whose_archive_is_damaged_too_is_refused(wanted, place):
    assert obtain(wanted, place)
    Path(place, "project", "mod.py").write_text("VALUE = 9\n")
    archive = Path(local_file(wanted.url) or "")
    data = bytearray(archive.read_bytes())
    data[data.index(b"VALUE")] ^= 1
    archive.write_bytes(data)
    with pytest.raises(IntegrityError, match="not what was packed"):
        obtain(wanted, place)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_to_be_full(wanted, place, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fetch, "unpack", fail)
    with pytest.raises(StorageError, match="JOBSYS_CACHE") as caught:
        obtain(wanted, place)
    assert os.path.dirname(place) in str(caught.value)
    assert not isinstance(caught.value, TransferError)
    assert not [name for name in os.listdir(os.path.dirname(place)) if not name.endswith((".lock", ".used"))]


def test_a_place_of_another_kind_is_made_once(place):
    def build(part):
        Path(part, "x").write_text("1")

    assert make_once(place, lambda: os.path.exists(f"{place}/x"), build)
    assert not make_once(place, lambda: os.path.exists(f"{place}/x"), build)
    with pytest.raises(ZeroDivisionError):
        make_once(place + "b", lambda: False, lambda _: print(1 // 0))
    assert not os.path.exists(place + "b")
