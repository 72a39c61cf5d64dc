"""What `jobsys status` says of a run: under way, ended, interrupted, not there."""

import os
import socket
import subprocess
import sys
import threading
import time

import msgspec

from jobsys.cli import standing
from recorded import Recorded, job  # type: ignore[import-not-found]


def test_a_run_under_way(jobsys, under_way):
    said = jobsys("status", under_way.locator)
    assert said.status == 0
    assert f"{under_way.locator}  RUNNING" in said.out
    assert "6 of 10 jobs done · 2 running · 1 waiting · 1 failed" in said.out
    assert f"leader: process {os.getpid()} on {socket.gethostname()}, at work for" in said.out
    assert "  8  square         2  2 h  123 MB  node7" in said.out
    assert "job 7 (square) failed: on node2, after 2 attempts\n  ZeroDivisionError: division by zero\n" in said.out
    assert f"jobsys logs {under_way.locator} 7" in said.out
    assert "restart" not in said.out


def test_nothing_is_coloured_where_nobody_looks(jobsys, under_way):
    assert "\x1b" not in jobsys("status", under_way.locator).out


def test_status_is_read_without_the_journal(jobsys, under_way, monkeypatch):
    monkeypatch.setattr(standing, "replay", lambda store: 1 / 0)
    assert jobsys("status", under_way.locator).status == 0


def test_a_leader_that_died_is_told_and_counts_come_from_the_journal(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as leader:
        run.lead(pid=leader.pid).script(job("a"), job("b", refs=(0,))).status("running")
        assert jobsys("status", run.locator, "--json").json["state"] == "running"
        leader.kill()
    run.commit(1).flush()  # was written after the last status
    said = jobsys("status", run.locator)
    assert said.status == 1
    assert "INTERRUPTED" in said.out
    assert "died without a word; its last sign of life was" in said.out
    assert "1 of 2 jobs done · 1 ready" in said.out
    assert "counted anew from the journal" in said.out
    assert f"resume it with: jobsys restart {run.locator}" in said.out
    found = jobsys("status", run.locator, "--json").json
    assert (found["source"], found["leader"]["alive"], found["running"]) == ("journal", False, [])


def test_a_leader_on_another_host_is_judged_by_its_heartbeat(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead(host="elsewhere", pid=1).script(job("a")).status("running")
    assert jobsys("status", run.locator, "--json").json["leader"]["alive"] is True
    run.store.beat(1, 2, time.time() - 300)
    said = jobsys("status", run.locator)
    assert said.status == 1
    assert "process 1 on elsewhere, gave its last sign of life 5 min ago by this host's clock: it may have died" in said.out
    assert jobsys("status", run.locator, "--json").json["leader"]["alive"] is None


def test_a_finished_run(jobsys, finished):
    said = jobsys("status", finished.locator)
    assert said.status == 0
    assert "DONE" in said.out
    assert "100 %" in said.out
    assert "left" in said.out
    assert "resume" not in said.out


def test_a_failed_run_names_all_its_failures_up_to_ten(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(*[job(f"job{number}") for number in range(12)])
    for number in range(1, 13):
        run.fail(number, "lost", message="the host is gone")
    run.status("failed").leave()
    said = jobsys("status", run.locator)
    assert said.status == 1
    assert "job 10 (job9) failed: lost, on node2" in said.out
    assert "job 11 " not in said.out
    assert "… and 2 more" in said.out
    assert f"jobsys logs {run.locator} --failed" in said.out


def test_a_stopped_run(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("a")).cancel().status("canceled").leave()
    said = jobsys("status", run.locator)
    assert (said.status, "CANCELED" in said.out) == (1, True)


def test_a_store_without_a_leader(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s"))
    said = jobsys("status", run.locator)
    assert said.status == 1
    assert "no leader has begun this run" in said.out


def test_fail_if_unfinished(jobsys, under_way, finished):
    assert jobsys("status", under_way.locator, "--fail-if-unfinished").status == 1
    assert jobsys("status", finished.locator, "--fail-if-unfinished").status == 0


def test_no_store(jobsys, tmp_path):
    said = jobsys("status", tmp_path / "none")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"jobsys: error: there is no job store at file:{tmp_path}/none (there is no such directory): ")


def test_json_is_the_whole_standing(jobsys, under_way):
    said = jobsys("status", under_way.locator, "--json")
    found = msgspec.json.decode(said.out, type=standing.Standing)
    assert found.counts.total == 10
    assert found.failures[0].message == "ZeroDivisionError: division by zero"
    assert [job.job for job in found.running] == [8, 9]


def test_jobs_are_listed(jobsys, under_way):
    lines = jobsys("status", under_way.locator, "--jobs").out.splitlines()
    assert lines[0].split() == ["JOB", "NAME", "STATE", "ATTEMPTS", "TIME", "MEMORY", "HOST"]
    assert lines[2].split() == ["2", "square", "done", "1", "2.2", "s", "100", "MB", "node1"]
    assert lines[8].split()[:4] == ["8", "square", "running", "2"]
    assert lines[-1] == "10 jobs"
    assert [job["state"] for job in jobsys("status", under_way.locator, "--jobs", "sq*", "--json").json] == [
        *["done"] * 5, "failed", "running", "running",
    ]  # fmt: skip
    assert jobsys("status", "--jobs", under_way.locator, "load", "10").out.splitlines()[-1] == "2 jobs"
    assert "there is no job 'x*'" in jobsys("status", under_way.locator, "--jobs", "x*").err


def test_watching_a_pipe_ends_with_the_run(jobsys, under_way):
    def end() -> None:
        time.sleep(0.3)
        under_way.commit(9).status("failed").leave()

    thread = threading.Thread(target=end)
    thread.start()
    said = jobsys("status", under_way.locator, "--watch")
    thread.join()
    lines = said.out.splitlines()
    assert said.status == 1
    assert lines[0].endswith("running: 6 of 10 done, 2 running, 1 failed")
    assert lines[-1].endswith("failed: 7 of 10 done, 0 running, 1 failed")


def test_watching_ends_at_once_where_nothing_goes_on(jobsys, finished):
    assert jobsys("status", finished.locator, "--watch", "--json").json["state"] == "done"


def test_what_makes_no_sense_is_refused(jobsys, finished):
    said = jobsys("status", finished.locator, "--watch", "--jobs")
    assert said.status == 2
    assert "can't be used together" in said.err


def test_a_leader_that_has_only_just_taken_a_run_over(jobsys, tmp_path, monkeypatch):
    run = Recorded(str(tmp_path / "s")).lead().script(job("a"), job("b")).commit(1).status("running").leave()
    run.lead()
    monkeypatch.setattr(standing, "replay", lambda store: 1 / 0)
    found = jobsys("status", run.locator, "--json").json
    assert (found["state"], found["counts"]["done"], found["leader"]["epoch"]) == ("starting", 1, 2)
    assert jobsys("status", run.locator, "--fail-if-unfinished").status == 1


def test_a_leader_that_left_without_a_last_status(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("a")).status("running").leave()
    said = jobsys("status", run.locator)
    assert (said.status, "FAILED" in said.out, "resume it" in said.out) == (1, True, True)
