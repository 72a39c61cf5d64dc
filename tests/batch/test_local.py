"""The local batch system against hostile jobs and dying processes; everything is looked at from outside."""

import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from batch import offspring  # type: ignore[import-not-found]
from jobsys import processes
from jobsys.batch.base import BatchState, BatchUpdate, Reason
from jobsys.batch.local.link import Link
from jobsys.batch.local.system import LocalBatchSystem, most_lanes
from jobsys.batch.machine import Machine
from jobsys.errors import BatchSystemError, RequirementError
from jobsys.requirements import Requirements
from jobsys.testing.batch import collect, is_gone, wait_for
from jobsys.testing.orders import job
from jobsys.worker import guard

HERE = Path(__file__).parent
TWO = Machine(cores=2, memory=16_000_000_000, disk=10_000_000_000)
SMALL = Requirements(cores=1, memory=100_000_000)


def command(executor: str = "prepare") -> list[str]:
    return [sys.executable, "-m", "jobsys.worker", "--executor", f"deeds:{executor}"]


@pytest.fixture(autouse=True)
def deeds_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(params=["warm", "process"])
def system(request) -> Iterator[LocalBatchSystem]:
    made = LocalBatchSystem(command(), machine=TWO, isolation=request.param)
    yield made
    made.shutdown()
    assert offspring.left() == []


@pytest.fixture
def warm() -> Iterator[LocalBatchSystem]:
    made = LocalBatchSystem(command(), machine=TWO)
    yield made
    made.shutdown()
    assert offspring.left() == []


def host_of(system: LocalBatchSystem) -> int:
    assert system._host is not None
    return system._host.pid


def one(system, deed, *, requirements=SMALL, **arguments):
    system.submit([job(1, deed, requirements=requirements, **arguments)])
    return collect(system, [1])[1]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("deed", ["hog_in_steps", "hog_at_once", "hog_in_child"])
def test_a_job_over_its_memory_is_killed(system, deed):
    began = time.monotonic()
    end = one(system, deed, megabytes=600)
    assert time.monotonic() - began < 10
    assert (end.state, end.reason, end.limit) == (BatchState.ENDED, Reason.MEMORY, 100_000_000)
    assert end.memory is not None
    assert end.memory > 100_000_000
    assert "memory=" in end.message
    assert one_more(system)


def test_a_job_within_its_memory_is_left_alone_and_its_peak_is_told(warm):
    end = one(warm, "hog_at_once", megabytes=80, seconds=0.5)
    assert end.payload == b"80000000"
    assert end.memory is not None
    assert 75_000_000 < end.memory < 100_000_000


def test_pages_shared_after_a_fork_count_once(warm):
    assert one(warm, "fork_shares", megabytes=60).payload == b"60000000"


@pytest.mark.parametrize("deed", ["sleep", "hold_gil"])
def test_a_job_over_its_walltime_is_killed_even_if_it_holds_the_gil(system, deed):
    began = time.monotonic()
    end = one(system, deed, requirements=Requirements(memory=10**9, walltime=0.5), seconds=30)
    assert 0.5 <= time.monotonic() - began < 5
    assert (end.state, end.reason) == (BatchState.ENDED, Reason.TIME_LIMIT)
    assert "0.5 s" in end.message


def test_what_is_never_there_is_refused():
    system = LocalBatchSystem(command(), machine=TWO)
    for requirements, words in (
        (Requirements(cores=64), "cores=64.*2 at most"),
        (Requirements(memory=10**12), "memory=1 TB.*16 GB at most"),
        (Requirements(disk=10**12), "disk=1 TB.*10 GB"),
        (Requirements(accelerators=1), "accelerators=1.*0 at most"),
    ):
        with pytest.raises(RequirementError, match=words):
            system.check(requirements)
    system.shutdown()


def test_accelerators_are_handed_out_once():
    machine = Machine(cores=4, memory=16_000_000_000, disk=10**10, accelerators=("0", "1"))
    system = LocalBatchSystem(command(), machine=machine)
    try:
        wants = Requirements(cores=1, memory=10**9, accelerators=1)
        system.submit([job(id, "environment", requirements=wants, name="CUDA_VISIBLE_DEVICES") for id in (1, 2)])
        ends = collect(system, [1, 2])
        assert {ends[1].payload, ends[2].payload} == {b"0", b"1"}
        both = Requirements(cores=1, memory=10**9, accelerators=2)
        system.submit([job(3, "environment", requirements=both, name="CUDA_VISIBLE_DEVICES")])
        assert collect(system, [3])[3].payload == b"0,1"
    finally:
        system.shutdown()


# ── what jobs leave behind ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("deed", ["daemonize", "scrubbed_daemon"])
@pytest.mark.parametrize("how", ["ends", "canceled", "killed", "shutdown"])
def test_a_daemon_does_not_outlive_its_job(warm, deed, how):
    warm.submit([job(1, deed, seconds=0 if how == "ends" else 60)])
    daemon = int(wait_for(warm, 1, BatchState.MESSAGE).payload)
    if how == "canceled":
        warm.cancel([1])
    elif how == "killed":
        os.kill(warm.running()[1].pid, signal.SIGKILL)
    if how == "shutdown":
        warm.shutdown()
    else:
        end = collect(warm, [1])[1]
        assert end.reason is {"ends": None, "canceled": Reason.CANCELED, "killed": Reason.KILLED}[how]
    assert is_gone(daemon, 0.1)


def test_a_finished_child_that_nobody_waited_for_does_no_harm(warm):
    first = one(warm, "zombie").payload
    assert one(warm, "pid").payload == first


@pytest.mark.parametrize("deed", ["child_comes_back", "child_raises"])
def test_a_forked_child_does_not_answer_for_its_parent(system, deed):
    assert one(system, deed).payload == b"from the parent"
    assert one_more(system)


def one_more(system) -> bool:
    system.submit([job(99, "echo", text="fine")])
    return collect(system, [99])[99].payload == b"fine"


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancel_of_jobs_sent_ahead_of_those_in_front(warm):
    warm.submit([job(id, "echo") for id in range(1000)])
    collect(warm, range(1000))
    warm.submit([job(2000 + id, "echo") for id in range(500)])
    ids = range(2000, 2500)
    warm.cancel(ids)
    ends = collect(warm, ids)
    assert {update.reason for update in ends.values()} == {Reason.CANCELED}
    assert one_more(warm)


def test_cancel_of_a_job_that_holds_the_gil(warm):
    warm.submit([job(1, "hold_gil", seconds=60)])
    worker = int(wait_for(warm, 1, BatchState.MESSAGE).payload)
    time.sleep(0.4)
    warm.cancel([1])
    assert collect(warm, [1], 5)[1].reason is Reason.CANCELED
    assert is_gone(worker, 0.1)


def test_short_jobs_behind_a_long_one_are_given_to_others(warm):
    warm.submit([job(id, "sleep", seconds=0) for id in range(500)])
    collect(warm, range(500))  # "sleep" is short, as far as anybody knows
    warm.submit([job(1000, "sleep", seconds=3), *(job(id, "sleep", seconds=0) for id in range(1001, 1200))])
    began = time.monotonic()
    collect(warm, range(1001, 1200))
    assert time.monotonic() - began < 1
    assert collect(warm, [1000])[1000].payload == b"slept"


def test_nothing_runs_twice_when_orders_are_taken_back(warm, tmp_path):
    path = str(tmp_path / "log")
    warm.submit([job(id, "append", path=path, text=str(id)) for id in range(300)])
    collect(warm, range(300))
    slow = {400, 450, 500, 555}
    warm.submit([job(id, "append", path=path, text=str(id), seconds=0.2 if id in slow else 0) for id in range(300, 600)])
    collect(warm, range(300, 600))
    assert sorted(map(int, Path(path).read_text().split())) == list(range(600))


def test_a_big_job_is_not_starved_by_a_stream_of_small_ones(warm):
    both = Requirements(cores=2, memory=10**9)
    warm.submit([job(id, "sleep", requirements=SMALL, seconds=0.05) for id in range(10)])
    warm.submit([job(500, "echo", requirements=both, text="big")])
    ended: list[int] = []
    next_id = 10
    while 500 not in ended:
        assert next_id < 300, "the big job starves"
        warm.submit([job(next_id, "sleep", requirements=SMALL, seconds=0.05)])
        next_id += 1
        ended += [update.id for update in warm.updates(0.05) if update.state is BatchState.COMPLETED]
    assert len(ended) <= 14
    collect(warm, set(range(next_id)) - set(ended))


# ── death ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.crash
def test_a_killed_worker_costs_only_its_job(warm):
    warm.submit([job(id, "echo", text=str(id)) for id in range(300)])
    collect(warm, range(300))
    warm.submit([job(300, "say_and_sleep", seconds=60), *(job(id, "echo", text=str(id)) for id in range(301, 600))])
    os.kill(int(wait_for(warm, 300, BatchState.MESSAGE).payload), signal.SIGKILL)
    end = collect(warm, [300])[300]
    assert (end.reason, end.exit_status) == (Reason.KILLED, -9)
    assert "SIGKILL" in end.message
    assert one_more(warm)


@pytest.mark.crash
def test_a_dead_worker_host_costs_only_what_ran(warm):
    warm.submit([job(1, "daemonize", seconds=60), *(job(id, "sleep", seconds=0.2) for id in range(2, 12))])
    daemon = int(wait_for(warm, 1, BatchState.MESSAGE).payload)
    workers = [running.pid for running in warm.running().values()]
    os.kill(host_of(warm), signal.SIGKILL)
    ends = collect(warm, [1])
    assert ends[1].reason is Reason.LOST
    assert all(is_gone(pid, 0.1) for pid in [daemon, *workers])
    warm.submit([job(20, "echo", text="again")])
    assert collect(warm, [20])[20].payload == b"again"


@pytest.mark.crash
def test_every_job_gets_one_last_word_while_hosts_die(warm):
    ids = range(400)
    warm.submit([job(id, "sleep", seconds=0.01) for id in ids])
    ends: dict[int, BatchUpdate] = {}
    kills = 0
    deadline = time.monotonic() + 60
    while len(ends) < 400 and time.monotonic() < deadline:
        for update in warm.updates(0.5):
            if update.state in (BatchState.COMPLETED, BatchState.ENDED):
                assert update.id not in ends
                ends[update.id] = update
        if len(ends) > 100 * (kills + 1) and kills < 3:
            os.kill(host_of(warm), signal.SIGKILL)
            kills += 1
    lost = [update for update in ends.values() if update.state is BatchState.ENDED]
    assert len(ends) == 400
    assert kills == 3
    assert 0 < len(lost) <= 6
    assert {update.reason for update in lost} == {Reason.LOST}


def test_code_that_cannot_be_loaded_is_told_once_and_for_all():
    system = LocalBatchSystem(command("prepare_broken"), machine=TWO)
    system.submit([job(1, "echo")])
    with pytest.raises(BatchSystemError, match="surely_not_there"):
        collect(system, [1], 10)
    system.shutdown()
    assert offspring.left() == []


def test_a_command_that_is_not_there():
    system = LocalBatchSystem(["/not/there"], machine=TWO)
    system.submit([job(1, "echo")])
    with pytest.raises(BatchSystemError, match="can't be started"):
        system.updates(1)
    system.shutdown()


@pytest.mark.crash
def test_hosts_that_die_at_once_are_not_started_for_ever():
    system = LocalBatchSystem(command("prepare_dying"), machine=TWO)
    system.submit([job(1, "echo")])
    with pytest.raises(BatchSystemError, match=r"(?s)again and again.*-9.*about to die"):
        collect(system, [1], 20)
    system.shutdown()
    assert offspring.left() == []


@pytest.mark.crash
def test_a_job_that_kills_its_host_again_and_again_is_named(warm):
    def try_often():
        for id in range(10):
            warm.submit([job(id, "kill_parent")])
            collect(warm, [id], 20)

    with pytest.raises(BatchSystemError, match=r"(?s)again and again.*-9.*while '\S+' ran.*--restart"):
        try_often()


def test_shutdown_does_not_wait_for_code_that_loads_for_ever():
    system = LocalBatchSystem(command("prepare_slow"), machine=TWO)
    system.submit([job(1, "echo")])
    system.updates(0.5)
    began = time.monotonic()
    system.shutdown()
    assert time.monotonic() - began < 2
    assert offspring.left() == []


def test_a_shutdown_that_is_interrupted_leaves_nothing(monkeypatch, tmp_path):
    """A second Ctrl-C while the host clears up."""
    system = LocalBatchSystem(command(), machine=TWO, directory=tmp_path)
    system.submit([job(1, "sleep", seconds=60)])
    wait_for(system, 1, BatchState.RUNNING)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jobsys.batch.local.hosts.processes.wait_for_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        system.shutdown()
    assert offspring.left() == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("leader_seen", [True, False])
def test_a_guard_removes_what_an_orphaned_host_leaves_though_its_leaders_number_is_taken_again(monkeypatch, tmp_path, leader_seen):
    leader, host = 1001, 1002
    (tmp_path / "run").mkdir()
    killed = []
    monkeypatch.setattr(processes, "wait_for_end", lambda *_: None)
    monkeypatch.setattr(processes, "sweep", lambda _: True)
    monkeypatch.setattr(processes, "send", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(processes, "is_running", lambda pid: pid == host or leader_seen)
    guard._watch(leader, host, tmp_path / "run", "mark")
    assert killed == [(host, signal.SIGTERM), (host, signal.SIGKILL)]
    assert not (tmp_path / "run").exists()


@pytest.mark.crash
def test_the_executor_clears_up_behind_a_dead_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("AFTER_DEATH", str(tmp_path / "place"))
    system = LocalBatchSystem(command(), machine=TWO)
    system.submit([job(1, "exit", status=1)])
    collect(system, [1])
    system.shutdown()
    directory, existed = (tmp_path / "place").read_text().split()
    assert existed == "True"
    assert not Path(directory).exists()


def test_what_a_busy_host_could_not_take_at_once_is_sent_later():
    """While a host loads code it reads nothing, and a request for each worker of a large machine is more than a socket holds."""
    ours, theirs = socket.socketpair()
    system = LocalBatchSystem(command(), machine=TWO)
    host: Any = SimpleNamespace(link=Link(ours), wake=lambda: None)
    system._host = host
    system._follow(host)
    sent = received = 0
    while not host.link.stuffed:
        host.link.send(bytes(1 << 16))
        sent += 1 << 16
    theirs.settimeout(5)
    with theirs:
        while received < sent:
            received += len(theirs.recv(1 << 20))
            system.updates(0)
        assert not host.link.stuffed
        assert system._selector.get_key(host.link).events == selectors.EVENT_READ
    system._host = None
    system.shutdown()
    host.link.close()


@pytest.mark.parametrize(("files", "lanes"), [(1024, 448), (256, 64), (64, 1), (1 << 20, 900), (resource.RLIM_INFINITY, 900)])
def test_there_are_no_more_workers_than_files_may_be_open(monkeypatch, files, lanes):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_lanes() == lanes


# ── the leader's death ───────────────────────────────────────────────────────────────────────────────────────────────

LEADER = """
    import os, sys, time
    from jobsys.batch.local.system import LocalBatchSystem
    from jobsys.batch.machine import Machine
    from jobsys.batch.base import BatchState
    from jobsys.testing.orders import job
    system = LocalBatchSystem([sys.executable, "-m", "jobsys.worker", "--executor", "deeds:prepare"],
                              machine=Machine(2, 16 * 10**9, 10**10))
    try:
        system.submit([job(1, "daemonize", seconds=60), job(2, "hold_gil", seconds=60)])
        pids = []
        while len(pids) < 2:
            pids += [update.payload.decode() for update in system.updates(1) if update.state is BatchState.MESSAGE]
        pids += [str(running.pid) for running in system.running().values()]
        print(system._host.pid, *pids, system._directory.path, flush=True)
        while True:
            system.updates(None)
    finally:
        system.shutdown()
"""


def start_leader(text: str = LEADER) -> tuple[subprocess.Popen[str], list[int], Path]:
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    *pids, directory = process.stdout.readline().split()
    process.stdout.close()
    return process, list(map(int, pids)), Path(directory)


def with_guards(pids: list[int]) -> list[int]:
    return pids + [child.pid for child in psutil.Process(pids[0]).children(recursive=True)]


@pytest.mark.crash
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGKILL], [signal.SIGSTOP, signal.SIGKILL]])
def test_nothing_outlives_the_leader(signals):
    leader, pids, directory = start_leader()
    everything = with_guards(pids)
    for number in signals:
        leader.send_signal(number)
    leader.wait()
    assert [pid for pid in everything if not is_gone(pid)] == []
    deadline = time.monotonic() + 5
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not directory.exists()


@pytest.mark.crash
def test_nothing_outlives_leader_and_host_killed_together():
    leader, pids, directory = start_leader()
    everything = with_guards(pids)
    leader.send_signal(signal.SIGSTOP)
    os.kill(pids[0], signal.SIGSTOP)
    leader.kill()
    os.kill(pids[0], signal.SIGKILL)
    leader.wait()
    assert [pid for pid in everything if not is_gone(pid)] == []
    deadline = time.monotonic() + 5
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not directory.exists()


@pytest.mark.crash
def test_a_report_that_finds_no_leader_is_saved(monkeypatch, tmp_path):
    place = tmp_path / "report"
    monkeypatch.setenv("UNDELIVERED", str(place))
    system = LocalBatchSystem(command(), machine=TWO)
    system.submit([job(1, "hold_gil", seconds=1)])
    wait_for(system, 1, BatchState.MESSAGE)
    time.sleep(0.5)  # from here on the job holds the GIL: its worker can't notice
    worker = next(iter(system._workers.values()))
    worker.link.close()  # as if the leader were gone, before the host notices
    deadline = time.monotonic() + 10
    while not place.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    system.shutdown()
    assert place.read_bytes() == b"survived"


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_warm_workers_are_used_again_for_other_requirements(warm):
    pids = set()
    for id in range(20):
        warm.submit([job(id, "pid", requirements=Requirements(cores=1, memory=10**8 + id))])
        pids.add(collect(warm, [id])[id].payload)
    assert len(pids) == 1


def test_a_process_for_each_job():
    system = LocalBatchSystem(command(), machine=TWO, isolation="process")
    system.submit([job(id, "pid") for id in range(10)])
    assert len({update.payload for update in collect(system, range(10)).values()}) == 10
    system.shutdown()


def test_fractions_of_a_core_run_side_by_side(warm):
    tenth = Requirements(cores=0.1, memory=10**6)
    warm.submit([job(id, "sleep", requirements=tenth, seconds=1) for id in range(20)])
    began = time.monotonic()
    collect(warm, range(20))
    assert time.monotonic() - began < 1.9


def test_an_idle_system_uses_no_processor_time(warm):
    one_more(warm)
    warm.updates(1.5)
    host = psutil.Process(host_of(warm))
    family = [host, *host.children(recursive=True)]
    before = [sum(member.cpu_times()[:2]) for member in family]
    switches = host.num_ctx_switches().voluntary
    warm.updates(1.0)
    assert [sum(member.cpu_times()[:2]) for member in family] == before
    assert host.num_ctx_switches().voluntary - switches <= 2


# ── for those that relay ─────────────────────────────────────────────────────────────────────────────────────────────


def test_updates_returns_when_a_watched_descriptor_is_ready(warm):
    reading, writing = os.pipe()
    seen = []

    def take(mask):
        seen.append((mask, os.read(reading, 100)))

    warm.watch(reading, take)
    os.write(writing, b"x")
    began = time.monotonic()
    assert warm.updates(60) == []
    assert time.monotonic() - began < 30
    assert seen == [(selectors.EVENT_READ, b"x")]
    assert warm.updates(0.05) == []
    assert len(seen) == 1
    warm.watch(reading, take, 0)
    os.write(writing, b"y")
    assert warm.updates(0.05) == []
    assert len(seen) == 1
    os.close(reading)
    os.close(writing)


def test_what_no_worker_has_been_given_can_be_taken_back(warm):
    both = Requirements(cores=2, memory=10**9)
    warm.submit([job(id, "say_and_sleep", requirements=both, seconds=0.5) for id in (1, 2)])
    wait_for(warm, 1, BatchState.MESSAGE)
    warm.give_back([1, 2, 3])
    warm.give_back([2])
    ends = collect(warm, [1, 2])
    assert ends[1].payload == b"slept"
    assert ends[2].state is BatchState.RETURNED
    assert warm.updates(0.2) == []
