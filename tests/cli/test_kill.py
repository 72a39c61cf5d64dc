"""`jobsys kill` ends a leader in order, or says why there is none to end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from recorded import Recorded, job  # type: ignore[import-not-found]

OBEYS = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); print(flush=True); time.sleep(100)"
DEAF = OBEYS.replace("lambda *_: sys.exit()", "signal.SIG_IGN")


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", OBEYS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_leader_on_this_host_is_told_by_signal_and_in_the_store(jobsys, tmp_path, leader):
    run = Recorded(str(tmp_path / "s")).lead(pid=leader.pid).script(job("a"), job("b")).commit(1).status("running")
    reaper = threading.Thread(target=leader.wait)
    reaper.start()
    said = jobsys("kill", run.locator)
    reaper.join()
    assert said.status == 0
    assert said.out.splitlines() == [
        f"the run in {run.locator} has stopped",
        "1 of 2 jobs done, 1 left",
        f"resume it with: jobsys restart {run.locator}",
    ]
    assert leader.returncode == 0
    assert f"jobsys kill by process {os.getpid()}".encode() in (run.store.asked_to_stop() or b"")


def test_a_leader_elsewhere_is_asked_in_the_store(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead(host="elsewhere", pid=1).script(job("a")).status("running")

    def obey() -> None:
        while run.store.asked_to_stop() is None:
            time.sleep(0.02)
        run.cancel("kill").status("canceled").leave()

    thread = threading.Thread(target=obey)
    thread.start()
    said = jobsys("kill", run.locator, "--json")
    thread.join()
    assert said.json == {
        "stopped": True,
        "state": "canceled",
        "counts": {"total": 1, "done": 0, "failed": 0, "waiting": 0, "ready": 1},
        "canceled": 0,
    }


def test_a_leader_that_does_not_leave(jobsys, tmp_path):
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        run = Recorded(str(tmp_path / "s")).lead(pid=deaf.pid).script(job("a")).status("running")
        said = jobsys("kill", run.locator, "--wait", "0.3")
        deaf.kill()
    assert said.status == 1
    assert "was asked to stop and is still there after 300 ms" in said.err
    assert f"kill -9 {deaf.pid}" in said.err


def test_a_silent_leader_elsewhere(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead(host="elsewhere", pid=1).script(job("a")).status("running")
    run.store.beat(1, 2, time.time() - 300)
    said = jobsys("kill", run.locator, "--wait", "0.3")
    assert said.status == 1
    assert "it seems to have died" in said.err


def test_a_dead_leader(jobsys, tmp_path, leader):
    run = Recorded(str(tmp_path / "s")).lead(pid=leader.pid).script(job("a")).status("running")
    leader.kill()
    leader.wait()
    said = jobsys("kill", run.locator)
    assert said.status == 0
    assert f"there is nothing to stop: the leader (process {leader.pid} on" in said.out
    assert "died without a word" in said.out


def test_another_process_of_the_same_number_is_left_alone(jobsys, tmp_path, leader):
    run = Recorded(str(tmp_path / "s"))
    real = run.lead(pid=leader.pid).lease
    assert real is not None
    run.store.storage.put("lease/00000001", run.store.storage.get("lease/00000001").replace(b'"process_started":', b'"process_started":1'))
    assert "died without a word" in jobsys("kill", run.locator).out
    assert leader.poll() is None


def test_what_has_ended(jobsys, finished):
    said = jobsys("kill", finished.locator)
    assert said.status == 0
    assert "has left, the run is done" in said.out
    assert "resume" not in said.out
    assert finished.store.asked_to_stop() is None, "the next leader would find the request"
