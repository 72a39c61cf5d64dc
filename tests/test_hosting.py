"""Starting a worker host: what it is given, and that it outlasts the program which started it."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from jobsys import hosting
from jobsys.slots import Slots

ANSWERS = """
import os, socket, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
os.pwrite(int(given["--slots"]), b"S", 0)
connection = socket.socket(fileno=int(given["--connect"]))
connection.sendall(f"{os.environ['JOBSYS_PROCESSES']} {os.environ.get('OWN')} {given['--leader']}".encode())
connection.recv(1)
sys.exit(3)
"""
COMMAND = [sys.executable, "-c", ANSWERS]
FIRST = """
import os, sys
from jobsys import hosting
lock = os.open(sys.argv[2], os.O_RDONLY)
started = hosting.start([sys.executable, "-c", sys.argv[1]], sys.argv[2], lock, {"OWN": "yes"})
os.execv(sys.executable, [sys.executable, "-c", sys.argv[3], started.leave()])
"""
THEN = """
import os, socket, sys
from jobsys import hosting
started = hosting.found(sys.argv[1])
connection = socket.socket(fileno=started.connection)
said = connection.recv(1000).decode()
inherited = [os.get_inheritable(each) for each in (started.connection, started.slots, started.lock)]
connection.close()
print(said == f"{started.mark} yes {os.getpid()}", os.pread(started.slots, 1, 0), inherited, started.process.wait(), started.process.wait())
"""


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_host_gets_a_socket_shared_memory_a_mark_and_its_own_variables_only(tmp_path, lock, monkeypatch):
    monkeypatch.setenv("OWN", "not passed")
    started = hosting.start(COMMAND, tmp_path, lock, {"SOME": "thing"})
    with socket.socket(fileno=started.connection) as connection:
        assert connection.recv(1000).decode() == f"{started.mark} None {os.getpid()}"
    assert started.mark.startswith(f"{tmp_path.name}.")
    assert started.process.wait() == 3
    shared = Slots(started.slots)
    assert (shared.count, shared[0][0]) == (hosting.SLOTS, ord("S"))
    shared.close()
    assert (tmp_path / hosting.LOG).read_bytes() == b""


def test_what_the_process_becomes_that_started_it_takes_it_over(tmp_path):
    words = [sys.executable, "-c", FIRST, ANSWERS, str(tmp_path), THEN]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("True b'S' [False, False, False] 3 3\n", "")


@pytest.mark.parametrize(("how", "status"), [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)])
def test_a_child_is_ended_once_and_its_number_left_alone_after(monkeypatch, how, status):
    child = hosting.Child(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"))
    getattr(child, how)()
    assert (child.wait(), child.wait()) == (status, status)
    monkeypatch.setattr(hosting, "send", lambda *_: pytest.fail("it may be another's by now"))
    child.terminate()
    child.kill()


def test_a_program_that_is_not_there_leaves_nothing_open(tmp_path, lock):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        hosting.start([str(tmp_path / "none")], tmp_path, lock, {})
    assert len(os.listdir("/proc/self/fd")) == before
