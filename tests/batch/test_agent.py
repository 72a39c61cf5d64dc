"""The agent at the other end of two pipes: what it says, what it leaves, and that nothing else gets into its stream."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason
from jobsys.framing import Frame, FrameReader
from jobsys.requirements import Requirements
from jobsys.testing.batch import is_gone
from jobsys.testing.orders import job
from jobsys.version import VERSION

LIMITS = ["--max-cores", "2", "--max-memory", "8000000000", "--max-disk", "1000000"]
EXECUTOR = ["--", "--executor", "jobsys.testing.orders:prepare"]
PATIENCE = 20.0


class Leader:
    """The other end of an agent's stream."""

    def __init__(self, *options: str, rest=EXECUTOR, python=()):
        command = [sys.executable, *python, "-m", "jobsys.batch.agent", *LIMITS, *options, *rest]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self.updates: list[BatchUpdate] = []

    def magic(self) -> bytes:
        return b"".join(self._read() for _ in framing.MAGIC)

    def _read(self, size=1) -> bytes:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the agent is silent"
        return os.read(self.process.stdout.fileno(), size)

    def frame(self, *kinds: int) -> Frame:
        """Wait for the next frame of these kinds; collect the news on the way."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame[0] == framing.UPDATES:
                    self.updates += wire.unpack_updates(frame[3], "host")
                if frame[0] in kinds:
                    return frame
            data = self._read(1 << 20)
            assert data, "the agent has ended"
            self._frames = self._reader.feed(data)

    def hello(self) -> wire.Hello:
        return wire.unpack_hello(self.frame(framing.HELLO)[3])

    def start(self) -> wire.Hello:
        assert self.magic() == framing.MAGIC
        return self.hello()

    def send(self, kind: int, id: int = 0, payload: bytes = b"") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(framing.pack(kind, id, 0, payload))

    def submit(self, *jobs: BatchJob) -> None:
        self.send(framing.SUBMIT, payload=wire.pack_jobs(jobs))

    def until(self, id: int, *states: BatchState) -> BatchUpdate:
        while not (found := [update for update in self.updates if update.id == id and update.state in states]):
            self.frame(framing.UPDATES)
        return found[0]

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None  # which communicate() would flush

    def end(self) -> tuple[int, bytes]:
        """Wait until the agent has ended; return its exit status and what it printed."""
        self.process.wait(PATIENCE)  # first: communicate() ends the input
        _, printed = self.process.communicate()
        return self.process.returncode, printed


@pytest.fixture
def lead() -> Iterator[Callable[..., Leader]]:
    leaders: list[Leader] = []

    def start(*options: str, **arguments) -> Leader:
        leaders.append(Leader(*options, **arguments))
        return leaders[-1]

    yield start
    for leader in leaders:
        leader.process.kill()
        with leader.process:
            pass


def below(leader: Leader) -> list[int]:
    return [child.pid for child in psutil.Process(leader.process.pid).children(recursive=True)]


def spawned(leader: Leader) -> list[int]:
    """Run a job that has a child, and list all processes that must go with the agent."""
    leader.submit(job(1, "spawn", seconds=60))
    child = int(leader.until(1, BatchState.MESSAGE).payload)
    return [child, *below(leader)]


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_says_who_it_is_and_what_jobs_can_have(lead):
    leader = lead()
    hello = leader.start()
    assert hello.host == os.uname().nodename
    assert (hello.pid, hello.version) == (leader.process.pid, VERSION)
    assert 0 < hello.machine.cores <= 2
    assert 0 < hello.machine.memory <= 8_000_000_000
    assert hello.machine.disk == 1_000_000


def test_what_runs_in_front_of_it_can_write_the_magic_line_itself(lead):
    assert lead("--quiet-start").hello().version == VERSION


def test_it_relays_jobs_messages_and_cancellations_both_ways(lead):
    leader = lead()
    leader.start()
    leader.submit(job(1, "serve", service=True), job(2, "echo", text="x"), job(3, "spawn", seconds=60))
    assert leader.until(2, BatchState.COMPLETED).payload == b"x"
    assert leader.until(1, BatchState.MESSAGE).payload == b"ready"
    leader.send(framing.TELL, 1, b"stop")
    assert leader.until(1, BatchState.COMPLETED).payload == b"stopped"
    leader.until(3, BatchState.MESSAGE)
    leader.send(framing.CANCEL, payload=framing.pack_ids([3]))
    assert leader.until(3, BatchState.ENDED).reason is Reason.CANCELED


def test_it_tells_what_runs_as_long_as_something_does(lead):
    leader = lead()
    leader.start()
    leader.submit(job(1, "sleep", seconds=2.5))
    while 1 not in (running := wire.unpack_running(leader.frame(framing.RUNNING)[3], "host")):
        assert leader.process.poll() is None
    assert abs(running[1].since - time.time()) < PATIENCE
    assert running[1].pid in below(leader)
    leader.until(1, BatchState.COMPLETED)
    leader.send(framing.PING)
    assert leader.frame(framing.PONG, framing.RUNNING)[0] == framing.PONG


def test_it_gives_back_what_has_not_begun_and_nothing_else(lead):
    leader = lead()
    leader.start()
    whole = Requirements(cores=2, memory=10**9)
    leader.submit(*(job(id, "spawn", seconds=1, requirements=whole) for id in (1, 2)))
    leader.until(1, BatchState.MESSAGE)
    leader.send(framing.GIVE_BACK, payload=framing.pack_ids([1, 2, 3]))
    assert leader.until(2, BatchState.RETURNED).id == 2
    leader.until(1, BatchState.COMPLETED)
    leader.send(framing.PING)
    leader.frame(framing.PONG)
    assert [update.id for update in leader.updates if update.state is BatchState.RETURNED] == [2]
    assert not [update for update in leader.updates if update.id == 2 and update.state is not BatchState.RETURNED]


def test_a_leader_that_does_not_read_loses_nothing(lead):
    leader = lead()
    leader.start()
    leader.submit(*(job(id, "echo", size=1_000_000) for id in range(20)))
    time.sleep(1.0)  # the pipe takes 64 KiB
    leader.send(framing.PING)
    leader.frame(framing.PONG)
    for id in range(20):
        assert len(leader.until(id, BatchState.COMPLETED).payload) == 1_000_001


def test_code_that_cannot_be_loaded_is_told(lead):
    leader = lead(rest=["--", "--executor", "surely_not_there:prepare"])
    leader.start()
    leader.submit(job(1, "echo"))
    assert b"surely_not_there" in leader.frame(framing.CANNOT_START)[3]
    assert leader.end()[0] == 1


def test_a_work_directory_that_is_not_there_is_told_in_place_of_hello(lead, tmp_path):
    leader = lead("--work-dir", str(tmp_path / "missing"))
    leader.magic()
    text = leader.frame(framing.CANNOT_START, framing.HELLO)[3].decode()
    assert "missing" in text
    assert "--work-dir" in text
    assert leader.end()[0] == 1


def test_files_of_jobs_are_below_the_work_directory_and_go(lead, tmp_path):
    leader = lead("--work-dir", str(tmp_path))
    leader.start()
    spawned(leader)
    assert list(tmp_path.iterdir())
    leader.close_input()
    leader.end()
    assert not list(tmp_path.iterdir())


def test_a_process_for_each_job_if_that_is_wanted(lead):
    leader = lead("--isolation", "process")
    leader.start()
    leader.submit(*(job(id, "echo") for id in range(5)))
    assert len({leader.until(id, BatchState.COMPLETED).pid for id in range(5)}) == 5


# ── its stream ───────────────────────────────────────────────────────────────────────────────────────────────────────

NOISY = """
import json, os, sys
from jobsys.testing.orders import run_order

class Executor:
    def run(self, order, channel):
        print("from a job")
        os.write(1, b"from a job")
        flags = sys.flags
        return json.dumps([os.read(0, 9).decode(), flags.optimize, flags.safe_path, sys.warnoptions, sys._xoptions]).encode()

def prepare(_):
    print("from the code")
    return Executor()
"""


def test_nothing_that_jobs_print_or_read_touches_the_stream(lead, tmp_path, monkeypatch):
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    leader = lead(rest=["--", "--executor", "noisy:prepare"])
    leader.start()
    leader.submit(job(1, "any"))
    assert json.loads(leader.until(1, BatchState.COMPLETED).payload)[0] == ""
    leader.close_input()
    assert leader.end() == (0, b"")


def test_workers_get_the_options_of_its_interpreter(lead, tmp_path, monkeypatch):
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    leader = lead(rest=["--", "--executor", "noisy:prepare"], python=["-OO", "-W", "ignore::ImportWarning", "-X", "utf8", "-X", "own=1"])
    leader.start()
    leader.submit(job(1, "any"))
    _, optimize, safe_path, warnings, options = json.loads(leader.until(1, BatchState.COMPLETED).payload)
    assert (optimize, safe_path) == (2, True)
    assert "ignore::ImportWarning" in warnings
    assert options == {"utf8": True, "own": "1"}


# ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.crash
@pytest.mark.parametrize("how", ["end of input", "stop", "SIGTERM", "SIGHUP", "silence"])
def test_however_it_ends_no_process_is_left(lead, how):
    leader = lead(*(["--patience", "2"] if how == "silence" else []))
    leader.start()
    pids = spawned(leader)
    if how == "end of input":
        leader.close_input()
    elif how == "stop":
        leader.send(framing.STOP)
    elif how != "silence":
        leader.process.send_signal(signal.Signals[how])
    status, printed = leader.end()
    assert status == 0
    assert (b"the leader has said nothing for 2 s" in printed) == (how == "silence")
    assert [pid for pid in pids if not is_gone(pid, 0.2)] == []


@pytest.mark.crash
def test_an_agent_that_is_killed_leaves_no_process_and_no_file(lead, tmp_path):
    leader = lead("--work-dir", str(tmp_path))
    leader.start()
    pids = spawned(leader)
    leader.process.kill()
    leader.end()
    assert [pid for pid in pids if not is_gone(pid)] == []
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())


def test_a_leader_that_pings_keeps_it_alive(lead):
    leader = lead("--patience", "2")
    leader.start()
    for _ in range(13):
        leader.send(framing.PING)
        leader.frame(framing.PONG)
        time.sleep(0.2)
    assert leader.process.poll() is None


def test_an_idle_agent_uses_no_processor_time(lead):
    leader = lead()
    leader.start()
    process = psutil.Process(leader.process.pid)
    time.sleep(0.2)
    before = process.cpu_times()[:2]
    time.sleep(1.0)
    assert process.cpu_times()[:2] == before
    assert not list(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
