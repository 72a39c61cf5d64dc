"""A worker host that is started before anybody knows what it will run: used, given up, or outliving nobody."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import psutil
import pytest

import jobsys
from jobsys import early
from jobsys.batch.base import BatchState
from jobsys.batch.local.hosts import Begun
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.config import Config
from jobsys.errors import JobStoreExistsError, UsageError
from jobsys.testing.batch import collect, is_gone
from jobsys.testing.orders import job

TWO = Machine(cores=2, memory=16_000_000_000, disk=10_000_000_000)
COMMAND = [*early.command(Config(job_store="file:store")), "--executor", "jobsys.testing.orders:prepare"]


def hosts() -> list[psutil.Process]:
    living = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in living if "jobsys.worker" in each.cmdline()]  # servers of other tests may run, too


@pytest.fixture
def begun(tmp_path):
    made = Begun(COMMAND, {}, str(tmp_path))
    yield made
    made.discard()
    assert list(tmp_path.iterdir()) == []
    assert hosts() == []


@pytest.fixture
def system(begun, tmp_path):
    made = LocalBatchSystem(COMMAND, machine=TWO, directory=tmp_path)
    yield made
    made.shutdown()


@pytest.mark.parametrize("locator", ["store", "file:store"])
def test_the_command_shows_whose_run_it_is(locator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert early.command(Config(job_store=locator))[-2:] == ["--job-store", f"file:{tmp_path}/store"]
    assert early.command(Config(job_store="http://there:80"))[-1] == "http://there:80"


def test_a_host_that_nobody_takes_is_ended_with_its_directory(begun, tmp_path):
    (host,) = hosts()
    assert len(list(tmp_path.iterdir())) == 1
    begun.discard()
    assert is_gone(host.pid)
    assert list(tmp_path.iterdir()) == []
    begun.discard()  # twice is once


def test_a_batch_system_runs_jobs_on_the_host_that_it_adopts(begun, system):
    (host,) = hosts()
    system.take_over(begun)
    assert system.updates(0.2) == [], "it waits until it is told by what it loads the code"
    system.prepare([])
    system.submit([job(1, "echo")])
    assert collect(system, [1], 20)[1].state is BatchState.COMPLETED
    assert [each.pid for each in hosts()] == [host.pid]
    begun.discard()
    assert psutil.pid_exists(host.pid), "it is the batch system's now"


def test_a_host_that_follows_one_that_died_is_told_the_same(begun, system):
    system.take_over(begun)
    system.prepare([])
    (host,) = hosts()
    host.kill()
    system.submit([job(1, "echo")])
    assert collect(system, [1], 20)[1].state is BatchState.COMPLETED
    assert [each.pid for each in hosts()] != [host.pid]


def test_a_host_that_waits_ends_with_its_leader_and_leaves_nothing(tmp_path):
    """Killed at once, and when the host has got as far as it gets."""
    code = f"""
        import os, sys, time
        from jobsys.batch.local.hosts import Begun
        begun = Begun({COMMAND!r}, {{}}, {str(tmp_path)!r})
        print(begun._host.pid, flush=True)
        sys.stdin.read()
    """
    for seconds in (0.0, 0.5):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        leader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert leader.stdout is not None
        host = int(leader.stdout.readline())
        time.sleep(seconds)
        leader.kill()
        leader.communicate()
        end = time.monotonic() + 30
        while not (is_gone(host) and list(tmp_path.iterdir()) == []):
            assert time.monotonic() < end, list(tmp_path.iterdir())
            time.sleep(0.01)


@pytest.mark.parametrize("options", [{"batch_system": "inline"}, {"batch_system": "ssh"}, {"restart": True}, {"job_store": "memory:x"}])
def test_nothing_is_started_where_it_is_not_known_to_be_needed(options):
    with early.started(Config(**{"job_store": "file:store", **options})) as begun:
        assert begun is None
        assert hosts() == []


def test_a_run_that_is_refused_leaves_no_host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    options = Config(job_store="file:store", work_dir="work", progress="off")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "jobsys-store.json").write_text("{}")
    with pytest.raises(JobStoreExistsError):
        jobsys.run([], options)
    assert list((tmp_path / "work").iterdir()) == []
    assert hosts() == []


def test_an_option_that_makes_no_sense_is_told_before_there_is_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--work-dir"):
        jobsys.run([], Config(job_store="file:store", work_dir="nowhere"))
    assert not Path("store").exists()


def test_what_keeps_a_host_from_being_started_early_is_told_by_the_run(tmp_path, monkeypatch):
    """By the batch system, when the job store is there."""
    monkeypatch.setattr(early, "HOST", ("-c", "raise SystemExit(3)", "--wait"))
    with early.started(Config(job_store="file:store", work_dir=str(tmp_path))) as begun:
        assert begun is not None
    monkeypatch.setattr(sys, "executable", "/not/there")
    with early.started(Config(job_store="file:store", work_dir=str(tmp_path))) as begun:
        assert begun is None
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_the_rest_is_loaded_leaves_no_host(tmp_path):
    def interrupted():
        with early.started(Config(job_store="file:store", work_dir=str(tmp_path))):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    assert hosts() == []


def test_jobs_of_a_store_elsewhere_find_the_server_of_s3_that_was_named(tmp_path):
    plain, options = Config.of(str(tmp_path)), {"s3_endpoint_url": "http://h:1/", "s3_requester_pays": True}
    assert early.environment(plain) == {}
    assert early.environment(Config.of(str(tmp_path), **options)) == {
        "JOBSYS_S3_ENDPOINT_URL": "http://h:1",
        "JOBSYS_S3_REQUESTER_PAYS": "1",
    }
    with pytest.raises(UsageError, match="no endpoint of an S3 server"):
        early.environment(Config.of(str(tmp_path), s3_endpoint_url="h:1"))


def test_jobs_in_the_leader_s_own_process_find_its_bucket_too(monkeypatch):
    monkeypatch.setenv("JOBSYS_S3_ENDPOINT_URL", "http://before")

    @jobsys.job
    def endpoint():
        return os.environ["JOBSYS_S3_ENDPOINT_URL"]

    found = jobsys.run(endpoint(), f"memory:{uuid.uuid4().hex}", batch_system="inline", s3_endpoint_url="http://asked", progress="off")
    assert (found, os.environ["JOBSYS_S3_ENDPOINT_URL"]) == ("http://asked", "http://before")
