"""How a worker of Dask runs a script: its end, its time, its group, and what is left should the worker be killed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsys.batch.cluster.dask_worker import End, Hidden, run_script

ENVIRONMENT = {"PATH": os.environ["PATH"]}
WORKER = """
import sys
from jobsys.batch.cluster.dask_worker import run_script
run_script(sys.argv[1], {"PATH": sys.argv[2]}, "", None, lambda: "")
"""


def run(script: str, seconds: float | None = None, log: str = "", why: str = "") -> End:
    return run_script(script, ENVIRONMENT, log, seconds, lambda: why)


def pid_of(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def goes(pid: int) -> bool:
    deadline = time.monotonic() + 10
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def test_ends() -> None:
    assert run("exit 0") == End("")
    assert run("echo out; echo err >&2; exit 3") == End("failed", 3, "out\nerr")
    assert run("kill -KILL $$") == End("killed", -9, "")
    assert run("exec sleep 600", seconds=0.1) == End("time limit", None, "its time was over")
    assert run("exec sleep 600", why="canceled") == End("canceled", None, "")
    assert run("cat; read -r line; [ $? = 1 ]") == End(""), "its input is empty"


def test_only_the_end_of_what_it_prints_is_told() -> None:
    end = run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; exit 1")
    assert end.message.endswith("line 2999")
    assert len(end.message) <= 2000


def test_what_it_prints_goes_where_it_was_told_if_that_is_there(tmp_path: Path) -> None:
    assert run("echo one; exit 2", log=str(tmp_path / "log")).message == "one"
    assert (tmp_path / "log").read_text() == "one\n"
    assert run("echo one; exit 2", log=str(tmp_path / "no" / "log")).message == "one"


def test_nothing_of_its_group_is_left(tmp_path: Path) -> None:
    own = shlex.quote(str(tmp_path / "pid"))
    assert run(f"trap '' TERM; sleep 600 & echo $! > {own}") == End("")
    assert goes(pid_of(tmp_path / "pid"))


def test_a_script_may_tidy_up_when_it_is_ended(tmp_path: Path) -> None:
    own = shlex.quote(str(tmp_path / "tidy"))
    assert run(f"trap 'echo tidied > {own}; exit 0' TERM; sleep 600 & wait", seconds=0.3).reason == "time limit"
    assert (tmp_path / "tidy").read_text() == "tidied\n"


def test_a_worker_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    own = shlex.quote(str(tmp_path / "pid"))
    worker = subprocess.Popen([sys.executable, "-c", WORKER, f"echo $$ > {own}; exec sleep 600", ENVIRONMENT["PATH"]])
    pid = pid_of(tmp_path / "pid")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert goes(pid)


def test_a_script_is_seen_by_nobody(tmp_path: Path) -> None:
    """It is no argument of a process, and no file that has a name."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    code = f"import tempfile; tempfile.tempdir = {str(folder)!r}\n{WORKER}"
    own = shlex.quote(str(tmp_path / "pid"))
    with subprocess.Popen([sys.executable, "-c", code, f": hunter2\necho $$ > {own}; sleep 600 & wait", ENVIRONMENT["PATH"]]) as worker:
        shell = psutil.Process(pid_of(tmp_path / "pid"))
        assert not any("hunter2" in word for process in [shell, *shell.children()] for word in process.cmdline())
        assert list(folder.iterdir()) == []
        worker.kill()
    assert "hunter2" not in f"{Hidden('hunter2')}{Hidden('hunter2')!r}"


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
def test_any_text_arrives(text: str) -> None:
    assert run(f"printf %s {shlex.quote(text)}; exit 1").message == text.strip()
