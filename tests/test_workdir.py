"""Directories of workers: in use as long as a process lives that has the lock, removed by the next one else."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from batch import offspring  # type: ignore[import-not-found]
from jobsys import processes
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.testing.batch import collect, is_gone
from jobsys.testing.orders import job
from jobsys.workdir import WorkDirectory, sweep

HERE = os.path.join(os.path.dirname(__file__), "batch")
COMMAND = [sys.executable, "-m", "jobsys.worker", "--executor", "deeds:prepare"]

USER = """
import os, subprocess, sys, time
from jobsys import processes
from jobsys.workdir import WorkDirectory
made = WorkDirectory.make(sys.argv[1])
(made.path / "file").write_text("x")
os.environ[processes.MARK] = made.path.name + ".1"
child = subprocess.Popen(["sleep", "100"], start_new_session=True, stdout=-3, stderr=-3)
fork = os.fork() if len(sys.argv) > 2 else 0
if not fork and len(sys.argv) > 2:
    time.sleep(100)
print(made.path, child.pid, fork, flush=True)
time.sleep(100)
"""


@pytest.fixture
def user(tmp_path):
    """Start a process that uses a directory; give the process, the directory, the process of a job, and a fork."""
    started = []

    def start(*arguments):
        process = subprocess.Popen([sys.executable, "-c", USER, str(tmp_path), *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        path, child, fork = process.stdout.readline().split()
        return process, tmp_path / path, int(child), int(fork)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_dead_users_left_is_removed_with_the_processes_of_their_jobs(tmp_path, user):
    process, path, child, _ = user()
    process.kill()
    process.wait()
    assert (path / "file").exists()
    assert processes.is_running(child)
    made = WorkDirectory.make(tmp_path)
    assert list(tmp_path.iterdir()) == [made.path]
    assert is_gone(child, 1)
    made.remove()
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_use_stays(tmp_path, user):
    process, path, child, _ = user()
    sweep(tmp_path)
    assert (path / "file").exists()
    assert processes.is_running(child)
    os.kill(process.pid, signal.SIGSTOP)  # it lives all the same
    sweep(tmp_path)
    assert (path / "file").exists()
    os.kill(child, signal.SIGKILL)


def test_who_was_given_the_lock_uses_it_too(tmp_path, user):
    process, path, child, fork = user("fork")
    process.kill()
    process.wait()
    sweep(tmp_path)
    assert path.exists()
    os.kill(fork, signal.SIGKILL)
    assert is_gone(fork, 1)
    sweep(tmp_path)
    assert not path.exists()
    assert is_gone(child, 1)


def test_directories_of_others_stay(tmp_path, monkeypatch):
    names = [f"jobsys-{os.getuid()}-abcdefgh", f"jobsys-{os.getuid()}-away-x", f"jobsys-{os.getuid() + 1}-0-x", "x"]
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    other = WorkDirectory.make(tmp_path)
    os.close(other.lock)
    monkeypatch.undo()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names, other.path.name}


def test_the_process_that_sweeps_is_none_of_the_dead_ones_jobs(tmp_path, monkeypatch):
    """A job that outlived its run may start one of its own: it must not end itself."""
    made = WorkDirectory.make(tmp_path)
    os.close(made.lock)
    monkeypatch.setenv(processes.MARK, f"{made.path.name}.1:other")
    sweep(tmp_path)
    assert made.path.exists()


def test_one_that_is_swept_as_it_is_made_is_made_anew(tmp_path, monkeypatch):
    really = tempfile.mkdtemp
    taken: list[Path] = []

    def swept_before_it_is_locked(**options):
        path = Path(really(**options))
        if not taken:
            taken.append(path)
            path.rmdir()
        return str(path)

    monkeypatch.setattr("tempfile.mkdtemp", swept_before_it_is_locked)
    made = WorkDirectory.make(tmp_path)
    assert taken[0] != made.path
    assert made.path.is_dir()
    made.remove()


def test_one_that_a_sweep_is_looking_at_is_left_to_it(tmp_path, monkeypatch):
    really = tempfile.mkdtemp
    looking: list[int] = []

    def looked_at(**options):
        path = really(**options)
        if not looking:
            looking.append(os.open(path, os.O_RDONLY))
            fcntl.flock(looking[0], fcntl.LOCK_EX)
        return path

    monkeypatch.setattr("tempfile.mkdtemp", looked_at)
    made = WorkDirectory.make(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    os.close(looking[0])
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [made.path]
    made.remove()


def test_without_descriptors_there_is_an_error_and_no_end_of_directories(tmp_path, monkeypatch):
    def none_left(*_, **__):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("os.open", none_left)
    with pytest.raises(OSError, match="too many"):
        WorkDirectory.make(tmp_path)


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    made = WorkDirectory.make(tmp_path)
    os.close(made.lock)

    def flock(*_):
        raise OSError(9, "no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    other = WorkDirectory.make(tmp_path)
    assert made.path.exists()
    assert other.path.exists()
    os.close(other.lock)


LEADER = """
import sys
from jobsys.batch.base import BatchState
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.testing.orders import job
system = LocalBatchSystem([sys.executable, "-m", "jobsys.worker", "--executor", "deeds:prepare"],
                          machine=Machine(2, 16 * 10**9, 10**10), directory=sys.argv[1])
system.submit([job(1, "daemonize", seconds=60)])
while True:
    for update in system.updates(1):
        if update.state is BatchState.MESSAGE:
            print(update.payload.decode(), flush=True)
"""


@pytest.fixture
def path_of_deeds(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.crash
def test_leader_host_and_guard_killed_at_once_leave_nothing_after_the_next_leader(tmp_path, path_of_deeds):
    """Then nobody is left to clear up; the processes of jobs live on until then."""
    leader = subprocess.Popen([sys.executable, "-c", LEADER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    daemon = int(leader.stdout.readline())
    [host] = processes.children(leader.pid)
    family = [leader.pid, host, *processes.children(host)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in family:
            processes.send(pid, number)
    leader.communicate()
    assert all(is_gone(pid) for pid in family)
    [left] = tmp_path.iterdir()
    assert processes.is_running(daemon)
    WorkDirectory.make(tmp_path).remove()
    assert not left.exists()
    assert is_gone(daemon, 1)


@pytest.mark.crash
def test_a_host_whose_directory_was_removed_is_followed_by_another(tmp_path, path_of_deeds):
    """Cleaners of temporary files do that."""
    system = LocalBatchSystem(COMMAND, machine=Machine(2, 16 * 10**9, 10**10), directory=tmp_path)
    try:
        system.submit([job(1, "echo")])
        collect(system, [1])
        [before] = tmp_path.iterdir()
        shutil.rmtree(before)
        [host] = [child.pid for child in offspring.left() if child.ppid() == os.getpid()]
        os.kill(host, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while host in processes.children(os.getpid()) and time.monotonic() < deadline:
            system.updates(0.1)
        system.submit([job(2, "echo")])
        collect(system, [2])
    finally:
        system.shutdown()
    assert list(tmp_path.iterdir()) == []
