"""Promises 1 to 4: kill anything at any moment, resume, and the result is that of an undisturbed run."""

import os
import random
import signal
import time
from collections import Counter

import psutil
import pytest

from jobsys.events import Committed
from jobsys.jobstores import open_store
from jobsys.journal import pages
from jobsys.message import decode_report

SLOW = """
def mark(x):
    with open("side", "a") as side:
        side.write(f"{x}\\n")

@jobsys.job
def square(x):
    mark(x)
    time.sleep(0.005)
    return x * x

@jobsys.job
def total(values):
    return sum(values)

@jobsys.job
def level(n):
    return total([square(100 * n + i) for i in range(40)])

@jobsys.job
def main():
    return [total([level(n) for n in range(4)]), level(9)]
"""
RESULT = str([sum(x * x for n in range(4) for x in range(100 * n, 100 * n + 40)), sum(x * x for x in range(900, 940))])


def committed(store):
    return [event.report.job for page in pages(open_store(str(store))) for event in page.events if isinstance(event, Committed)]


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_leader_resumes_and_nothing_committed_runs_again(workflow, seed):
    flow = workflow(SLOW)
    chance = random.Random(seed)
    restart: list[str] = []
    for _ in range(3):
        process = flow.start(*restart)
        time.sleep(chance.uniform(0.2, 1.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        flow.wait_for_no_process()
        restart = ["--restart"] if flow.store.exists() and (flow.store / "jobsys-store.json").exists() else []
    done_before = set(committed(flow.store)) | left_by_workers(flow.store) if restart else set()
    ran_before = len(flow.side())
    code, out, err = flow.run(*restart)
    assert (code, out.strip()) == (0, RESULT), err
    jobs = committed(flow.store)
    assert len(jobs) == len(set(jobs)), "a job has two commits"
    # what ran after the last kill is what had not been committed before it
    assert len(flow.side()) - ran_before == len([job for job in jobs if job not in done_before and is_square(flow.store, job)])


def left_by_workers(store):
    """Say which jobs' commits workers saved when their leader had gone."""
    return {decode_report(data)[0].job for _, data in open_store(str(store)).commits()}


def is_square(store, job):
    names = {}
    for page in pages(open_store(str(store))):
        for event in page.events:
            if isinstance(event, Committed):
                names.update({event.first + number: record.name for number, record in enumerate(event.report.jobs)})
    return names.get(job) == "square"


def test_a_finished_run_gives_its_value_again_without_running_anything(workflow):
    flow = workflow(SLOW)
    assert flow.run()[1].strip() == RESULT
    ran = len(flow.side())
    code, out, _ = flow.run("--restart")
    assert (code, out.strip(), len(flow.side())) == (0, RESULT, ran)


def test_a_killed_worker_costs_only_the_job_it_was_in(workflow):
    flow = workflow(SLOW.replace("time.sleep(0.005)", "time.sleep(0.02)"))
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) > 20)
    victims = [each for each in psutil.Process(process.pid).children(recursive=True) if "jobsys.worker" in " ".join(each.cmdline())]
    leaf = [each for each in victims if not each.children()][-1]
    leaf.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, RESULT), err
    again = [job for job, count in Counter(flow.side()).items() if count > 1]
    assert len(again) <= 1


def test_a_second_leader_is_refused(workflow):
    flow = workflow(SLOW)
    first = flow.start()
    flow.wait_until(flow.side)
    code, _, err = flow.run("--restart")
    assert code != 0
    assert "alive" in err
    assert "two leaders" in err
    assert f"process {first.pid}" in err
    out, _ = first.communicate(timeout=60)
    assert out.strip() == RESULT


def test_a_stopped_leader_still_counts_as_alive(workflow):
    flow = workflow(SLOW)
    first = flow.start()
    flow.wait_until(flow.side)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        code, _, err = flow.run("--restart")
        assert code != 0
        assert "alive" in err
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.communicate(timeout=60)[0].strip() == RESULT


def test_a_store_is_not_overwritten_by_a_second_run(workflow):
    flow = workflow(SLOW)
    flow.run()
    code, _, err = flow.run()
    assert code != 0
    assert "--restart" in err


def test_restart_without_a_store_says_so(workflow):
    flow = workflow(SLOW)
    code, _, err = flow.run("--restart")
    assert code != 0
    assert "no job store" in err
