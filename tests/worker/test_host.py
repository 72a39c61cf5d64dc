"""A worker host and its workers, spoken to over their sockets as a leader does; and the watch over their limits."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from jobsys import framing, processes, slots
from jobsys.framing import FrameReader, pack
from jobsys.slots import Slots
from jobsys.testing.batch import is_gone
from jobsys.testing.orders import order
from jobsys.worker import watch


class Leader:
    """The other end: blocking, one frame at a time."""

    def __init__(self, directory: Path, executor: str = "jobsys.testing.orders:prepare", pid: int | None = None):
        self.control, theirs = socket.socketpair()
        self.control.settimeout(20)
        self.slots = Slots.create(4)
        self.readers: dict[socket.socket, tuple[FrameReader, list]] = {}
        passed = (theirs.fileno(), self.slots.descriptor)
        arguments = ["--connect", str(passed[0]), "--slots", str(passed[1]), "--directory", str(directory)]
        arguments += ["--leader", str(pid or os.getpid()), "--mark", "test-mark", "--executor", executor]
        environment = {**os.environ, processes.MARK: "test-mark"}
        with theirs:
            self.host = subprocess.Popen([sys.executable, "-m", "jobsys.worker", *arguments], pass_fds=passed, env=environment)

    def fork(self, slot: int, *, once: int = 0) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        with theirs:
            socket.send_fds(self.control, [pack(framing.FORK, slot, once, msgspec.msgpack.encode([]))], [theirs.fileno()])
        self.readers[ours] = (FrameReader(), [])
        return ours

    def read(self, link: socket.socket):
        reader, frames = self.readers.setdefault(link, (FrameReader(), []))
        while not frames:
            data = link.recv(65536)
            if not data:
                return None
            frames += reader.feed(data)
        return frames.pop(0)

    def close(self) -> None:
        self.control.close()
        self.host.wait(20)
        for link in self.readers:
            link.close()
        self.slots.close()


@pytest.fixture
def leader(tmp_path):
    made = Leader(tmp_path / "run")
    (tmp_path / "run").mkdir()
    assert made.read(made.control)[0] == framing.READY
    yield made
    made.close()
    assert not (tmp_path / "run").exists()


def test_orders_are_answered_in_order_and_one_after_the_other(leader):
    link = leader.fork(0)
    link.sendall(b"".join(pack(framing.ORDER, id, 0, order("echo", text=str(id))) for id in range(50)))
    assert [leader.read(link)[3] for _ in range(50)] == [str(id).encode() for id in range(50)]


def test_a_worker_of_one_job_leaves_after_it(leader):
    link = leader.fork(0, once=1)
    link.sendall(pack(framing.ORDER, 1, 0, order("echo")))
    assert leader.read(link)[0] == framing.DONE
    assert leader.read(link) is None
    kind, slot, _, payload = leader.read(leader.control)
    assert (kind, slot) == (framing.DIED, 0)
    assert framing.unpack_death(payload).reason == ""


def test_of_workers_forked_in_a_row_each_has_its_own_socket_and_no_other(leader):
    pairs = [socket.socketpair() for _ in range(3)]
    asked = b"".join(pack(framing.FORK, slot, 1, msgspec.msgpack.encode([])) for slot in range(3))
    socket.send_fds(leader.control, [asked], [theirs.fileno() for _, theirs in pairs])
    for _, theirs in pairs:
        theirs.close()
    for number, (ours, _) in reversed([*enumerate(pairs)]):  # those forked first are there to the end
        ours.settimeout(5)
        ours.sendall(pack(framing.ORDER, number, 0, order("echo", text=str(number))))
        assert leader.read(ours)[3] == str(number).encode()
        assert leader.read(ours) is None, "another one, which still waits, holds the socket, too"
        ours.close()
        del leader.readers[ours]
    assert sorted(leader.read(leader.control)[:2] for _ in range(3)) == [(framing.DIED, slot) for slot in range(3)]


def test_recall_gives_back_what_was_not_begun_and_nothing_else(leader):
    link = leader.fork(1)
    link.sendall(pack(framing.ORDER, 1, 0, order("sleep", seconds=0.5)) + pack(framing.ORDER, 2, 0, order("echo")))
    time.sleep(0.2)
    link.sendall(pack(framing.RECALL))
    kind, _, _, payload = leader.read(link)
    assert kind == framing.GAVE_BACK
    assert framing.unpack_ids(payload) == [2]
    assert leader.read(link)[:2] == (framing.DONE, 1)
    link.sendall(pack(framing.RECALL) + pack(framing.ORDER, 3, 0, order("echo")))
    assert leader.read(link)[0] == framing.GAVE_BACK
    assert leader.read(link)[:2] == (framing.DONE, 3)


def test_kill_of_a_job_that_is_over_harms_nobody(leader):
    link = leader.fork(0)
    link.sendall(pack(framing.ORDER, 1, 0, order("echo")))
    assert leader.read(link)[1] == 1
    leader.control.sendall(pack(framing.KILL, 1, 0))
    link.sendall(pack(framing.ORDER, 2, 0, order("echo")))
    assert leader.read(link)[1] == 2


def test_time_for_which_a_host_and_its_workers_are_stopped_counts_for_no_walltime(leader):
    link, row = leader.fork(0), leader.slots[0]
    link.sendall(pack(framing.LIMITS, 0, 60_000) + pack(framing.ORDER, 1, 0, order("sleep", seconds=60)))
    while row[slots.STATE] != slots.RUNNING:
        time.sleep(0.01)
    stopped = (leader.host.pid, row[slots.PID])
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(watch.STOOD_STILL + 0.3)
    assert row[slots.STILL] == 0
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while row[slots.STILL] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert row[slots.STILL] > watch.STOOD_STILL * 1e9
    assert row[slots.STILL_JOB] == 1


def test_a_host_that_had_nothing_to_watch_for_long_excuses_nobody(leader):
    link, row = leader.fork(0), leader.slots[0]
    link.sendall(pack(framing.ORDER, 1, 0, order("echo")))
    assert leader.read(link)[1] == 1
    time.sleep(watch.STOOD_STILL + 1.2)  # it sleeps until it is woken
    leader.control.sendall(pack(framing.WAKE))
    link.sendall(pack(framing.ORDER, 2, 0, order("sleep", seconds=1)))
    assert leader.read(link)[1] == 2
    assert row[slots.BEGUN] < time.monotonic_ns() - 0.9e9
    assert row[slots.STILL] == 0


def test_the_slot_tells_what_runs(leader):
    link = leader.fork(2)
    link.sendall(pack(framing.LIMITS, 10**9, 5000) + pack(framing.ORDER, 77, 0, order("sleep", seconds=0.5)))
    time.sleep(0.4)
    row = leader.slots[2]
    assert (row[slots.JOB], row[slots.STATE]) == (77, slots.RUNNING)
    assert (row[slots.MEMORY_LIMIT], row[slots.TIME_LIMIT]) == (10**9, 5_000_000_000)
    assert psutil.Process(row[slots.PID]).ppid() == leader.host.pid
    assert 0 < time.monotonic_ns() - row[slots.BEGUN] < 10**9
    assert leader.read(link)[0] == framing.DONE


def test_a_worker_is_offered_to_the_oom_killer_and_has_a_session_of_its_own(leader):
    link = leader.fork(0)
    link.sendall(pack(framing.ORDER, 1, 0, order("sleep", seconds=0.3)))
    time.sleep(0.2)
    pid = leader.slots[0][slots.PID]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    assert Path(f"/proc/{leader.host.pid}/oom_score_adj").read_text().strip() == "0"
    assert os.getsid(pid) == pid
    assert leader.read(link)[0] == framing.DONE


def test_the_log_of_a_worker_does_not_grow_for_ever(leader, tmp_path):
    link = leader.fork(0)
    for id in range(30):
        link.sendall(pack(framing.ORDER, id, 0, order("print", text="x" * 200_000)))
        assert leader.read(link)[0] in (framing.DONE, framing.FAILED)
    (log,) = (tmp_path / "run").glob("host-*/worker-*/log")
    assert log.stat().st_size < 2_000_000


def test_a_host_sees_deaths_although_its_leader_had_blocked_signals(tmp_path):
    (tmp_path / "run").mkdir()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    try:
        leader = Leader(tmp_path / "run")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert leader.read(leader.control)[0] == framing.READY
    leader.fork(0, once=1).sendall(pack(framing.ORDER, 1, 0, order("echo", text="1")))
    assert leader.read(leader.control)[0] == framing.DIED
    leader.host.terminate()
    leader.close()


def test_workers_die_with_their_host(leader, tmp_path):
    link = leader.fork(0)
    link.sendall(pack(framing.ORDER, 1, 0, order("sleep", seconds=60)))
    time.sleep(0.3)
    pid = leader.slots[0][slots.PID]
    leader.host.kill()
    assert is_gone(pid, 2)
    processes.sweep("test-mark")
    for file in sorted((tmp_path / "run").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (tmp_path / "run").rmdir()


def test_a_host_whose_leader_has_died_leaves_no_directory_though_somebody_else_holds_the_socket(tmp_path):
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        leader = Leader(tmp_path / "run", pid=process.pid)
        assert leader.read(leader.control)[0] == framing.READY
        process.kill()
    leader.host.wait(20)
    assert not (tmp_path / "run").exists()
    leader.close()


@pytest.mark.parametrize(("once", "threads"), [(1, 1), (0, 2)])
def test_only_a_worker_of_many_jobs_listens_beside_them(leader, once, threads):
    link = leader.fork(0, once=once)
    link.sendall(pack(framing.ORDER, 1, 0, order("sleep", seconds=0.3)))
    while leader.slots[0][slots.STATE] != slots.RUNNING:
        time.sleep(0.01)
    assert len(os.listdir(f"/proc/{leader.slots[0][slots.PID]}/task")) == threads
    assert leader.read(link)[0] == framing.DONE


@pytest.mark.parametrize("once", [0, 1])
def test_a_job_is_told_what_it_waits_for(leader, once):
    link = leader.fork(0, once=once)
    link.sendall(pack(framing.ORDER, 7, 0, order("serve")))
    assert leader.read(link)[::3] == (framing.SAY, b"ready")
    link.sendall(pack(framing.TELL, 7, 0, b"hello"))
    assert leader.read(link)[::3] == (framing.SAY, b"heard hello")
    link.sendall(pack(framing.TELL, 7, 0, b"stop"))
    assert leader.read(link)[0] == framing.DONE


def test_a_job_that_waits_to_be_told_something_ends_with_its_leader(leader):
    link = leader.fork(0, once=1)
    link.sendall(pack(framing.ORDER, 7, 0, order("serve")))
    assert leader.read(link)[3] == b"ready"
    pid = leader.slots[0][slots.PID]
    link.shutdown(socket.SHUT_RDWR)
    assert is_gone(pid, 5)


def test_a_worker_that_left_nothing_passes_its_directory_on(leader, tmp_path):
    for text, place in (("", "worker-1"), ("", "worker-1"), ("printed", None), ("", "worker-2"), ("", "worker-2")):
        link = leader.fork(0, once=1)
        link.sendall(pack(framing.ORDER, 1, 0, order("print", text=text)))
        assert leader.read(link)[0] == framing.DONE
        assert leader.read(leader.control)[:2] == (framing.DIED, 0)
        if place:  # else it is being removed
            assert [path.name for path in (tmp_path / "run").glob("host-*/worker-*")] == [place]


# ── watch ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def busy_row(**words):
    shared = Slots.create(1)
    row = shared[0]
    row[slots.STATE], row[slots.JOB], row[slots.BEGUN] = slots.RUNNING, 5, time.monotonic_ns()
    for name, value in words.items():
        row[getattr(slots, name)] = value
    return row


def test_measure_notes_memory_and_peak():
    row = busy_row()
    assert watch.measure(os.getpid(), row) is None
    assert row[slots.MEMORY] > 10_000_000
    assert (row[slots.PEAK_JOB], row[slots.PEAK]) == (5, row[slots.MEMORY])


def test_measure_takes_off_what_the_worker_had_before():
    row = busy_row(BASELINE=10**12, MEMORY_LIMIT=1)
    assert watch.measure(os.getpid(), row) is None
    assert row[slots.MEMORY] == 0


def test_measure_names_the_limit_that_was_broken():
    excess = watch.measure(os.getpid(), busy_row(MEMORY_LIMIT=1000))
    assert excess is not None
    assert (excess.job, excess.reason, excess.limit) == (5, "memory", 1000)
    late = watch.measure(os.getpid(), busy_row(BEGUN=time.monotonic_ns() - 2 * 10**9, TIME_LIMIT=10**9))
    assert late is not None
    assert late.reason == "time limit"


@pytest.mark.parametrize("state", [slots.UNUSED, slots.IDLE, slots.DELIVERING])
def test_a_worker_that_runs_nothing_breaks_no_limit(state):
    assert watch.measure(os.getpid(), busy_row(STATE=state, MEMORY_LIMIT=1)) is None


HOUR = 3600.0


@pytest.mark.parametrize(
    ("age", "words", "seconds"),
    [
        (0.2, {}, 0.1),
        (5.0, {}, 0.5),
        (HOUR, {}, 1.0),
        (HOUR, {"MEMORY_LIMIT": 10**9}, 0.1),
        (HOUR, {"TIME_LIMIT": 2 * int(HOUR) * 10**9}, 1.0),
        (HOUR - 0.4, {"TIME_LIMIT": int(HOUR) * 10**9}, 0.4),
        (HOUR, {"TIME_LIMIT": 10**9}, 0.1),
    ],
)
def test_a_job_is_looked_at_as_often_as_its_limits_ask_for(age, words, seconds):
    now = int(10 * HOUR * 1e9)
    assert watch.pause([busy_row(BEGUN=now - int(age * 1e9), **words)], now) == pytest.approx(seconds)


def test_the_worker_that_asks_for_most_decides():
    rows = [busy_row(BEGUN=0), busy_row(BEGUN=0, MEMORY_LIMIT=10**9), busy_row(STATE=slots.IDLE)]
    assert watch.pause(rows, int(HOUR * 1e9)) == 0.1
    assert watch.pause(rows[:1], int(HOUR * 1e9)) == 1.0
    assert watch.pause([], int(HOUR * 1e9)) == 0.1


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tree_is_ended_whole():
    script = "import subprocess, time; p = subprocess.Popen(['sleep', '100'], start_new_session=True)\n"
    script += "print(p.pid, flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        child = int(top.stdout.readline())
        assert child in processes.descendants(top.pid)
        assert processes.family(top.pid) == [top.pid, child]
        processes.end_tree(top.pid)
    assert is_gone(child, 1)
    assert top.returncode == -signal.SIGKILL


def test_sweep_finds_what_has_no_parent_any_more_and_spares_others():
    script = "import subprocess; print(subprocess.Popen(['sleep', '100'], stdout=-3, stderr=-3, start_new_session=True).pid)"
    swept, spared = (
        int(subprocess.run([sys.executable, "-c", script], env={**os.environ, processes.MARK: mark}, capture_output=True).stdout)
        for mark in ("outer:mark-one", "mark-two")
    )
    assert processes.sweep("mark-one")
    assert is_gone(swept, 1)
    assert processes.is_running(spared)
    os.kill(spared, signal.SIGKILL)


def test_own_children_are_those_that_were_not_waited_for():
    own = processes.OwnChildren()
    many = [subprocess.Popen(["sleep", "100"]) for _ in range(3)]
    try:
        assert {process.pid for process in many} <= set(own.pids())
        many[1].kill()
        many[1].wait()
        assert {process.pid for process in many} & set(own.pids()) == {many[0].pid, many[2].pid}
    finally:
        for process in many:
            process.kill()
            process.wait()
        os.close(own.file)


def test_the_end_of_a_process_is_seen_by_a_descriptor_of_any_number():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2000)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1030)]
    try:
        with subprocess.Popen(["sleep", "0.1"]) as process:
            processes.wait_for_end([process.pid], 20)
            assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_gone_has_no_memory_and_no_children():
    process = subprocess.Popen(["true"])
    process.wait()
    assert processes.resident(process.pid) == 0
    assert processes.children(process.pid) == []
    assert not processes.send(process.pid, 0)
    assert not processes.is_running(process.pid)
