"""What must hold of a workflow on every cluster."""

import os
import signal
import time
from collections.abc import Callable

import psutil

from cluster.site import PATIENCE, Site  # type: ignore[import-not-found]

SQUARES = sum(number * number for number in range(200))


def check_workflow(site: Site) -> None:
    """Fan out, chain, run out of memory and of time, and give the right result; leave nothing in any queue, nor in the store."""
    store = f"file:{site.folder / 'store'}"
    done = site.run(site.words(store, "all"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(((SQUARES), 4, 300 << 20, "in time")), done.stderr
    assert site.times("glutton") == 2
    assert site.times("slow") == 2
    assert site.queued() == []
    told = site.jobsys("logs", store, "glutton", "slow")
    reasons = {attempt["outcome"] for job in told for attempt in job["attempts"]}
    assert {"memory", "time limit"} <= reasons


def check_leader_dies(site: Site) -> None:
    """Kill the leader while some jobs run and others wait: the next one goes on with them, and none runs twice."""
    store = f"file:{site.folder / 'store'}"
    words = site.words(store, "naps", "--count", "5", "--seconds", str(site.nap), "--task-seconds", "0")
    leader = site.start(words)
    site.until(lambda: site.times("nap*") >= 2, "no job began")
    leader.kill()
    leader.communicate()
    assert site.queued()
    done = site.run([*words, "--restart"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([f"nap{number}" for number in range(5)])
    assert [site.times(f"nap{number}") for number in range(5)] == [1] * 5
    assert site.queued() == []


def check_leader_dies_with_its_server(site: Site) -> None:
    """Kill the leader that serves the store: tasks can't go on without it, and the next one runs again what had not ended."""
    store = f"file:{site.folder / 'store'}"
    words = site.words(store, "naps", "--count", "5", "--seconds", str(site.nap), "--task-seconds", "0")
    leader = site.start(words)
    site.until(lambda: site.times("nap*") >= 2, "no job began")
    leader.kill()
    leader.communicate()
    done = site.run([*words, "--restart"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([f"nap{number}" for number in range(5)])
    assert site.queued() == []


def check_kill_after_death(site: Site) -> None:
    """Cancel what a dead leader has left in the queue."""
    store = f"file:{site.folder / 'store'}"
    leader = site.start(site.words(store, "naps", "--count", "4", "--seconds", "100", "--task-seconds", "0"))
    site.until(lambda: site.times("nap*") >= 1, "no job began")
    leader.kill()
    leader.communicate()
    assert site.queued()
    assert site.jobsys("kill", store)["canceled"] >= 1
    site.until(lambda: not site.queued(), "tasks are left in the queue")


def check_interrupt(site: Site) -> None:
    """Leave nothing in the queue at a Ctrl-C, and show where jobs run before that."""
    store = f"file:{site.folder / 'store'}"
    leader = site.start(site.words(store, "naps", "--count", "4", "--seconds", "100", "--task-seconds", "0"))
    site.until(lambda: site.times("nap*") >= 1, "no job began")
    shown = site.until(lambda: [job for job in site.jobsys("status", store, "--jobs") if job["state"] == "running"], "no status")
    assert all(job["task"] for job in shown if job["name"] == "patient"), shown
    leader.send_signal(signal.SIGINT)
    _, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode != 0
    assert "--restart" in errors
    assert site.queued() == []


def check_somebody_cancels(site: Site) -> None:
    """Run a job again whose task somebody has canceled."""
    store = f"file:{site.folder / 'store'}"
    leader = site.start(site.words(store, "naps", "--count", "2", "--seconds", str(site.nap), "--task-seconds", "0", "--backoff", "0"))
    site.until(lambda: site.times("nap*") == 2, "no job began")
    for native in site.queued():
        site.cancel(native)
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == "['nap0', 'nap1']"
    assert site.times("nap*") > 2, "nothing was interrupted"


def check_node_dies(site: Site) -> None:
    """Run a job again whose task has ended without a word."""
    store = f"file:{site.folder / 'store'}"
    leader = site.start(site.words(store, "naps", "--count", "2", "--seconds", str(site.nap)))
    site.until(lambda: site.times("nap*") >= 1, "no job began")
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if site.is_task(words, store):
            os.kill(process.pid, signal.SIGKILL)
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == "['nap0', 'nap1']"
    assert site.times("nap*") > 2, "nothing was interrupted"


def check_runs_again(site: Site, deed: Callable[[], object], outcome: str, *more: str) -> list[str]:
    """Do something to two running tasks that is not their jobs' fault: these run again, are charged no try, and `jobsys logs` says why.

    Args:
        site: where.
        deed: what is done once both jobs run.
        outcome: what becomes of the attempts that it hits.
        more: words for the leader's command line.

    Returns:
        What is told of those attempts.
    """
    store = f"file:{site.folder / 'store'}"
    words = site.words(store, "cut-short", "--count", "2", "--seconds", str(PATIENCE / 2), "--task-seconds", "0", "--retries", "0", *more)
    leader = site.start(words)
    site.until(lambda: site.times("nap*") == 2, "no job began")
    site.until(lambda: _known_to_run(site, store) == 2, "that jobs began is not told")  # else they were never begun, for the leader
    deed()
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == "['nap0', 'nap1']"
    failed = [attempt for job in site.jobsys("logs", store) for attempt in job["attempts"] if attempt["outcome"] != "done"]
    assert {attempt["outcome"] for attempt in failed} == {outcome}, errors
    assert len(failed) >= 2
    assert site.queued() == []
    return [attempt["message"] for attempt in failed]


def _known_to_run(site: Site, store: str) -> int:
    return sum(bool(job["task"]) for job in site.jobsys("status", store, "--jobs") if job["state"] == "running")


def check_scheduler_is_away(site: Site, stop: Callable[[], object], start: Callable[[], object], seconds: float) -> None:
    """Have the scheduler die and stay away while jobs run, end and want to be submitted: the run waits, and none runs twice."""
    store = f"file:{site.folder / 'store'}"
    leader = site.start(site.words(store, "links", "--count", "2", "--seconds", str(site.nap / 2), "--task-seconds", "0", "--retries", "0"))
    site.until(lambda: site.times("link*") >= 1, "no job began")
    stop()
    try:
        time.sleep(seconds)
    finally:
        start()
    out, errors = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 0, errors
    assert out.strip() == "2"
    assert site.times("link*") == 2
    assert site.queued() == []
