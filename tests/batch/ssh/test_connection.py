"""The way to one host, with small shell commands at the other end."""

import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from jobsys import framing
from jobsys.batch.ssh.connection import Connection, arguments
from jobsys.framing import Frame
from jobsys.testing.batch import is_gone

MAGIC = r"printf '\njobsys stream 1\n'"
ECHO = f"{MAGIC}; exec cat"  # says back what it is told


class Ear:
    """Starts a connection and collects what it says."""

    def __init__(self, command: str, preamble: bytes = b""):
        self.selector = selectors.DefaultSelector()
        self.frames: list[Frame] = []
        self.notes: list[str] = []
        self.connection = Connection(["sh", "-c", command], preamble, self.selector, self._hear, self.notes.append)

    def _hear(self, frames):
        self.frames += frames

    def until(self, condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            for key, mask in self.selector.select(0.1):
                key.data(mask)

    def until_end(self):
        self.until(lambda: not self.connection.open)
        return self.connection.end()


@pytest.fixture
def ear() -> Iterator:
    made: list[Ear] = []

    def listen(command: str, preamble: bytes = b"") -> Ear:
        made.append(Ear(command, preamble))
        return made[-1]

    yield listen
    for each in made:
        if not each.connection._over:
            each.connection.end()
        assert not each.selector.get_map()
        each.selector.close()


def test_frames_go_there_and_come_back(ear):
    line = ear(ECHO)
    line.connection.send(framing.pack(framing.PING, 7, 8, b"payload"))
    line.until(lambda: line.frames)
    assert line.frames == [(framing.PING, 7, 8, b"payload")]


def test_much_more_than_a_pipe_takes(ear):
    line = ear(ECHO)
    frame = framing.pack(framing.SUBMIT, payload=bytes(3_000_000))
    line.connection.send(frame)
    line.connection.send(frame)
    line.until(lambda: len(line.frames) == 2)
    assert {len(payload) for *_, payload in line.frames} == {3_000_000}


def test_the_end_of_the_input_comes_after_what_was_sent(ear):
    line = ear(ECHO)
    line.connection.send(framing.pack(framing.SUBMIT, payload=bytes(1_000_000)))
    line.connection.end_input()
    line.connection.send(b"nobody gets this")
    assert line.until_end() == (0, "")
    assert [len(payload) for *_, payload in line.frames] == [1_000_000]


@pytest.mark.parametrize("noise", ["", "Welcome\n", "jobsys stream 2\n\n\njobsys str", "x" * 5000, "\xff" * 3])
@pytest.mark.parametrize("step", [7, 10_000])
def test_noise_before_the_magic_line_is_no_frame(ear, noise, step):
    written = f"\njobsys stream 1\n{framing.pack(framing.PONG).decode('latin-1')}"
    code = f"import os; data = {noise + written!r}.encode('latin-1'); step = {step}\n"
    code += "for start in range(0, len(data), step): os.write(1, data[start : start + step])"
    line = ear(shlex.join([sys.executable, "-c", code]))
    status, _ = line.until_end()
    assert status == 0
    assert line.frames == [(framing.PONG, 0, 0, b"")]


def test_how_it_ended_and_the_last_it_printed(ear):
    line = ear("echo 'This account is closed'; head -c 100000 /dev/zero | tr '\\0' x >&2; echo 'no shell' >&2; exit 3")
    status, printed = line.until_end()
    assert status == 3
    assert len(printed) <= 4096
    assert printed.endswith("no shell")


def test_what_it_said_in_place_of_the_magic_line_is_told(ear):
    assert ear("echo 'This account is closed'").until_end() == (0, "This account is closed")


def test_a_signal_shows_in_the_status(ear):
    assert ear("kill -9 $$").until_end()[0] == -signal.SIGKILL


def test_the_end_ends_all_that_was_started(ear):
    line = ear(f"sleep 1000 & echo $! >&2; {MAGIC}; wait")
    line.until(lambda: line.connection._errors)
    child = int(line.connection._errors)
    assert line.connection.end()[0] is None
    assert is_gone(child)
    assert not line.connection.open


def test_a_process_that_keeps_running_without_output_is_ended(ear):
    assert ear("exec >&- 2>&-; exec sleep 1000").until_end()[0] is None


def test_a_program_that_is_not_there():
    with selectors.DefaultSelector() as selector, pytest.raises(FileNotFoundError):
        Connection(["/not/there"], b"", selector, lambda _: None)


def test_a_remote_shell_sees_the_command_as_it_was_given():
    command = ["printf", "%s|", "two words", "$HOME", "it's", "", "*"]
    argv = arguments(["sh", "-c", 'shift; exec sh -c "$1"', "ssh"], "node1", command)
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "two words|$HOME|it's||*|"


def test_what_a_host_says_of_itself_is_noted_line_by_line(ear):
    there = ear("printf 'noise\\njobsys, ho' >&2; sleep 0.1; printf 'st n1: 5 MB\\njobsys is not meant\\njobsys, host n1: 6' >&2")
    assert "host n1: 6" in there.until_end()[1]
    assert there.notes == ["host n1: 5 MB"]
