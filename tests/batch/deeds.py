"""Orders that hurt: an executor for tests of the local batch system, chosen with ``--executor deeds:prepare``."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobsys.testing import orders
from jobsys.testing.orders import run_order


def hog_in_steps(channel, megabytes):
    held = []
    for _ in range(megabytes // 10):
        held.append(bytearray(10_000_000))
        time.sleep(0.01)
    time.sleep(30)
    return b"survived"


def hog_at_once(channel, megabytes, seconds=30.0):
    held = b"x" * (megabytes * 1_000_000)
    time.sleep(seconds)
    return str(len(held)).encode()


def hog_in_child(channel, megabytes):
    subprocess.run([sys.executable, "-c", f"import time; x = b'x' * {megabytes * 1_000_000}; time.sleep(30)"])
    return b"survived"


def fork_shares(channel, megabytes):
    """Eight forks that share one large block: little memory, counted eight times by a naive sum."""
    held = b"x" * (megabytes * 1_000_000)
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            time.sleep(1.0)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return str(len(held)).encode()


def hold_gil(channel, seconds):
    channel.say(str(os.getpid()).encode())
    time.sleep(0.2)
    sys.setswitchinterval(100)  # else the listening thread, which waits for the lock, may get it before this job has returned
    ctypes.PyDLL(None).sleep(int(seconds))
    return b"survived"


def daemonize(channel, seconds):
    """Fork twice, with a session of its own, as daemons do."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            for descriptor in (0, 1, 2, reading, writing):
                os.close(descriptor)
            time.sleep(1000)
        os._exit(0)
    os.wait()
    pid = os.read(reading, 20)
    channel.say(pid)
    time.sleep(seconds)
    return pid


def scrubbed_daemon(channel, seconds):
    """A daemon that has also thrown its environment away."""
    code = "import os,sys,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True)\n"
    code += "time.sleep(1000)"
    process = subprocess.Popen([sys.executable, "-c", code], env={}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = process.stdout.readline().strip()
    process.wait()
    channel.say(pid)
    time.sleep(seconds)
    return pid


def zombie(channel):
    subprocess.Popen(["true"])
    time.sleep(0.1)
    return str(os.getpid()).encode()


def child_comes_back(channel):
    """A forked child that falls out of the job's function."""
    if os.fork() == 0:
        return b"from the child"
    os.wait()
    return b"from the parent"


def child_raises(channel):
    if os.fork() == 0:
        raise SystemExit(0)
    os.wait()
    return b"from the parent"


def touch_later(channel, path, seconds):
    time.sleep(seconds)
    Path(path).write_text("done")
    return path.encode()


def pid(channel):
    return str(os.getpid()).encode()


def environment(channel, name):
    return os.environ.get(name, "").encode()


def say_and_sleep(channel, seconds):
    channel.say(str(os.getpid()).encode())
    time.sleep(seconds)
    return b"slept"


def append(channel, path, text, seconds=0.0):
    with open(path, "a") as file:
        file.write(text + "\n")
    time.sleep(seconds)
    return b"appended"


def kill_parent(channel):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
    return b"survived"


DEEDS = {
    function.__name__: function
    for function in (
        hog_in_steps, hog_at_once, hog_in_child, fork_shares, hold_gil, daemonize, scrubbed_daemon, zombie, child_comes_back, child_raises,
        touch_later, pid, environment, say_and_sleep, append, kill_parent,
    )
}  # fmt: skip


class Executor:
    def run(self, order, channel):
        return run_order(order, channel)

    def undelivered(self, report):
        place = os.environ.get("UNDELIVERED")
        if place:
            Path(place).write_bytes(report)

    def after_death(self, directory):
        place = os.environ.get("AFTER_DEATH")
        if place:
            Path(place).write_text(f"{directory} {directory.is_dir()}")


def prepare(arguments):
    orders.DEEDS.update(DEEDS)
    return Executor()


def prepare_broken(arguments):
    raise ImportError("No module named 'surely_not_there'")


def prepare_dying(arguments):
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def prepare_slow(arguments):
    time.sleep(60)
