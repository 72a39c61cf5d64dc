"""The ssh batch system against hosts that don't start, die, fall silent or talk too much; a shell stands in for ssh."""

import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from batch import offspring  # type: ignore[import-not-found]
from jobsys.batch.base import BatchState, BatchUpdate, Reason
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.errors import BatchSystemError, RequirementError, UsageError
from jobsys.requirements import Requirements
from jobsys.testing.batch import collect, is_gone, wait_for
from jobsys.testing.orders import job

LIMITS = ["--max-cores", "2", "--max-memory", "8000000000"]
EXECUTOR = ["--", "--executor", "jobsys.testing.orders:prepare"]
AGENT = [sys.executable, "-m", "jobsys.batch.agent", *LIMITS, *EXECUTOR]
# Takes a host and a command, as ssh does; the host's name says what is the matter with it.
SSH = """
    case "$1" in
        refused) echo "ssh: connect to host $1 port 22: Connection refused" >&2; exit 255;;
        mute) exec sleep 1000;;
        chatty) echo "Welcome to $1"; echo "You have mail"; echo "banner" >&2;;
        loud) head -c 3000000 /dev/zero >&2;;
        once) test -e "$ONCE_FILE" && { echo "no longer" >&2; exit 1; }; touch "$ONCE_FILE";;
        late) sleep 1;;
        slow) for i in 1 2 3; do echo "jobsys, host $1: fetching, $i MB are here" >&2; done; sleep 0.5;;
        narrow) shift; exec sh -c "$(printf %s "$1" | sed 's/--max-cores 2/--max-cores 1/')";;
    esac
    shift
    exec sh -c "$1"
"""
ONE = Requirements(cores=1, memory=10**9)

Make = Callable[..., SshBatchSystem]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[SshBatchSystem] = []

    def start(*hosts: str, command=AGENT, preamble=b"", **options) -> SshBatchSystem:
        made.append(SshBatchSystem(hosts, Start(command, lambda: preamble), ssh=["sh", "-c", SSH, "ssh"], **options))
        return made[-1]

    yield start
    for system in made:
        system.shutdown()
    assert offspring.left() == []


def agent_of(system: SshBatchSystem, host: str) -> int:
    hello = system._hosts[host].hello
    assert hello is not None
    return hello.pid


def both_up(system: SshBatchSystem) -> None:
    """Wait until a job has run on each host."""
    system.check(ONE)
    deadline = time.monotonic() + 20
    while not all(host.up for host in system._hosts.values()):
        assert time.monotonic() < deadline
        system.updates(0.1)


def busy(system: SshBatchSystem, first: int = 1, count: int = 4) -> dict[int, str]:
    """Submit jobs for a minute, wait until each host runs as many as it can, and tell where each job runs."""
    system.submit([job(id, "spawn", seconds=60) for id in range(first, first + count)])
    at: dict[int, str] = {}
    while len(at) < count:
        at.update({update.id: update.host for update in system.updates(5) if update.state is BatchState.MESSAGE})
    return at


# ── the start ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_started_before_it_is_needed(make):
    make("a", "b")
    assert offspring.left() == []


def test_jobs_run_on_all_hosts_and_it_is_told_where(make):
    system = make("a", "b")
    both_up(system)
    at = busy(system)
    assert sorted(at.values()) == ["a", "a", "b", "b"]
    running = system.running()
    assert {id: running[id].host for id in at} == at
    for id in at:
        assert psutil.Process(running[id].pid).is_running()


def test_what_runs_is_brought_up_to_date_every_second(make):
    system = make("a")
    at = busy(system, count=1)
    said = system.running()[1]
    deadline = time.monotonic() + 10
    while system.running()[1].memory is None:
        assert time.monotonic() < deadline
        system.updates(0.1)
    assert (system.running()[1].host, system.running()[1].pid) == (at[1], said.pid)
    assert abs(system.running()[1].since - said.since) < 5


@pytest.mark.parametrize("host", ["chatty", "loud"])
def test_what_a_login_prints_is_skipped(make, host):
    system = make(host)
    system.submit([job(1, "echo", text="x")])
    assert collect(system, [1])[1].payload == b"x"


def test_the_preamble_comes_before_the_frames(make, tmp_path):
    place = tmp_path / "preamble"
    reader = f"import os; open({str(place)!r}, 'wb').write(os.read(0, 9)); os.execv({sys.executable!r}, {AGENT!r})"
    system = make("a", command=[sys.executable, "-c", reader], preamble=b"preamble\n")
    system.submit([job(1, "echo", text="x")])
    assert collect(system, [1])[1].payload == b"x"
    assert place.read_bytes() == b"preamble\n"


def test_a_large_preamble_is_written_as_it_is_read(make):
    reader = f"import os\nleft = 3_000_000\nwhile left: left -= len(os.read(0, left))\nos.execv({sys.executable!r}, {AGENT!r})"
    system = make("a", command=[sys.executable, "-c", reader], preamble=b"x" * 3_000_000)
    system.submit([job(1, "echo", text="x")])
    assert collect(system, [1])[1].payload == b"x"


def test_one_host_that_cannot_start_is_a_warning(make, caplog):
    system = make("refused", "a")
    with caplog.at_level(logging.WARNING):
        system.submit([job(id, "echo", text="x") for id in range(20)])
        assert {update.host for update in collect(system, range(20)).values()} == {"a"}
        system.check(ONE)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING][:1]
    assert "'refused'" in record.getMessage()
    assert "255" in record.getMessage()
    assert "Connection refused" in record.getMessage()


def test_a_host_that_fails_is_told_after_a_while_where_others_have_still_to_start(make, monkeypatch, caplog):
    monkeypatch.setattr("jobsys.batch.ssh.system._TELL_SECONDS", 0.2)
    system = make("refused", "mute")
    system.submit([job(1, "echo")])
    deadline = time.monotonic() + 20
    while "Connection refused" not in caplog.text:
        assert time.monotonic() < deadline
        system.updates(0.1)
    assert "host 'refused' is to be tried again" in caplog.text


def test_when_no_host_starts_each_is_named_with_its_cause(make):
    system = make("refused", "mute", start_patience=0.5)
    with pytest.raises(BatchSystemError, match=r"(?s)refused: .*status 255.*Connection refused.*mute: .*did not answer within 0.5 s"):
        system.check(ONE)
    system.submit([job(1, "echo")])
    with pytest.raises(BatchSystemError, match="no host"):
        system.updates(5)


def test_a_host_that_never_answers_keeps_no_one_waiting_that_another_can_serve(make):
    system = make("mute", "a")
    began = time.monotonic()
    system.check(ONE)
    system.submit([job(1, "echo", text="x")])
    assert collect(system, [1])[1].host == "a"
    assert time.monotonic() - began < 20
    system.shutdown()
    assert time.monotonic() - began < 25, "a host that has no job is not waited for"


def test_how_far_a_host_is_with_its_start_is_said_now_and_then(make, caplog):
    make("slow").check(ONE)
    assert [record.getMessage() for record in caplog.records if "fetching" in record.getMessage()] == ["host slow: fetching, 1 MB are here"]


def test_a_command_that_does_not_exist(make):
    system = make("a", command=["/not/there/python", "-m", "jobsys.batch.agent"])
    with pytest.raises(BatchSystemError, match=r"(?s)a: its shell can't start '/not/there/python' .*status 127"):
        system.check(ONE)
    assert system._hosts["a"].given_up


@pytest.mark.parametrize(
    ("said", "status", "cause"),
    [
        ("zsh: command not found: python9.9", 1, "its shell can't start 'python9.9'"),
        ("Unknown option: -I", 2, "'python9.9' is too old a Python there"),
    ],
)
def test_a_python_that_is_missing_or_too_old_names_the_way_out(said, status, cause):
    start = Start(["python9.9"], bytes, "name another")
    host = ["sh", "-c", f"echo '{said}' >&2; exit {status}", "ssh"]
    system = SshBatchSystem(["a"], start, ssh=host)
    with pytest.raises(BatchSystemError, match=rf"a: {cause}.*: name another"):
        system.check(ONE)
    system.shutdown()


def test_what_the_error_says_that_ends_the_run_is_said_nowhere_else(make, caplog):
    system = make("refused", "gone", command=["/not/there/python"])
    with caplog.at_level(logging.INFO), pytest.raises(BatchSystemError, match=r"(?s)refused: .*gone: ") as caught:
        system.check(ONE)
    assert str(caught.value).count("Connection refused") == 1
    assert caplog.text == ""


def test_an_ssh_that_does_not_exist():
    system = SshBatchSystem(["a"], Start(AGENT), ssh=["/not/there/ssh"])
    with pytest.raises(BatchSystemError, match="a: '/not/there/ssh' can't be started: No such file"):
        system.check(ONE)
    system.shutdown()


def test_code_that_cannot_be_loaded_is_told_as_the_host_tells_it(make):
    system = make("a", command=[*AGENT[:-1], "surely_not_there:prepare"])
    system.submit([job(1, "echo")])
    assert collect(system, [1])[1].reason is Reason.LOST
    with pytest.raises(BatchSystemError, match=r"(?s)a: the workers can't start.*surely_not_there"):
        system.updates(20)


def test_an_agent_of_another_version_is_refused(make, monkeypatch):
    monkeypatch.setattr("jobsys.batch.ssh.system.VERSION", "0.0.7")
    system = make("a")
    with pytest.raises(BatchSystemError, match=r"a: its agent is jobsys \S+, this leader 0.0.7"):
        system.check(ONE)


def test_a_stream_that_is_no_jobsys_is_refused(make):
    system = make("a", command=["printf", r"\njobsys stream 1\n\120\0\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0nope"])
    with pytest.raises(BatchSystemError, match="a: it says what this leader can't read"):
        system.check(ONE)


@pytest.mark.parametrize("hosts", [[], [""], ["a", "-oProxyCommand=true"]])
def test_what_is_no_host_is_refused(hosts):
    with pytest.raises(UsageError, match="host"):
        SshBatchSystem(hosts, Start(AGENT))


def test_what_no_host_has_is_refused_with_what_they_have(make):
    system = make("a", "refused")
    system.check(ONE)
    with pytest.raises(RequirementError, match=r"3 cores.*no host.*a: 2 cores, 8 GB"):
        system.check(Requirements(cores=3))


def test_a_host_that_comes_up_late_takes_over_what_waits_elsewhere(make):
    system = make("a", "late")
    system.check(ONE)
    assert sorted(busy(system).values()) == ["a", "a", "late", "late"]


# ── the loss of a host ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.crash
def test_a_killed_agent_costs_the_jobs_of_its_host_and_no_others(make):
    system = make("a", "b")
    both_up(system)
    at = busy(system)
    there = [id for id, host in at.items() if host == "a"]
    workers = {id: system.running()[id].pid for id in at}
    system.cancel(there[:1])
    os.kill(agent_of(system, "a"), signal.SIGKILL)
    ends = collect(system, there)
    assert ends[there[0]].reason is Reason.CANCELED
    lost = ends[there[1]]
    assert (lost.state, lost.reason, lost.host) == (BatchState.ENDED, Reason.LOST, "a")
    assert "'a'" in lost.message
    assert re.search("exit status (137|-9)", lost.message)
    assert all(is_gone(workers[id] or 0) for id in there)
    assert set(system.running()) == {id for id in at if id not in there}
    system.cancel(at)
    assert all(update.reason is Reason.CANCELED for update in collect(system, set(at) - set(there)).values())
    system.submit([job(there[1], "echo", text="again")])
    assert collect(system, there[1:])[there[1]].payload == b"again"


@pytest.mark.crash
def test_a_lost_host_is_used_again(make):
    system = make("a")
    both_up(system)
    before = agent_of(system, "a")
    os.kill(before, signal.SIGKILL)
    system.submit([job(1, "echo", text="x")])
    end = collect(system, [1])[1]
    if end.reason is Reason.LOST:  # it was sent before the loss was seen
        system.submit([job(2, "echo", text="x")])
        end = collect(system, [2])[2]
    assert end.payload == b"x"
    assert agent_of(system, "a") != before


@pytest.mark.crash
def test_a_host_that_does_not_come_back_is_given_up_and_the_others_go_on(make, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ONCE_FILE", str(tmp_path / "once"))
    monkeypatch.setattr("jobsys.batch.ssh.hosts._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("jobsys.batch.ssh.hosts._TRIES_TO_RETURN", 3)
    system = make("once", "a")
    both_up(system)
    os.kill(agent_of(system, "once"), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not system._hosts["once"].given_up:
        assert time.monotonic() < deadline
        system.updates(0.1)
    assert "no longer" in system._hosts["once"].cause
    told = [record.getMessage() for record in caplog.records if "'once'" in record.getMessage()]
    assert len([text for text in told if "no longer" in text]) == 1
    assert "not used any more: it failed 4 times" in told[-1]
    system.submit([job(id, "echo", text="x") for id in range(20)])
    assert {update.host for update in collect(system, range(20)).values()} == {"a"}


@pytest.mark.crash
def test_with_no_host_left_the_run_ends(make, monkeypatch, tmp_path):
    monkeypatch.setenv("ONCE_FILE", str(tmp_path / "once"))
    monkeypatch.setattr("jobsys.batch.ssh.hosts._FIRST_PAUSE", 0.01)
    system = make("once")
    busy(system, count=1)
    os.kill(agent_of(system, "once"), signal.SIGKILL)
    assert collect(system, [1])[1].reason is Reason.LOST
    system.submit([job(2, "echo")])
    with pytest.raises(BatchSystemError, match=r"(?s)no host.*once: .*status 1.*no longer"):
        collect(system, [2])


@pytest.mark.crash
def test_a_job_that_no_host_that_is_left_can_run_fails_and_says_so(make, monkeypatch, tmp_path):
    monkeypatch.setenv("ONCE_FILE", str(tmp_path / "once"))
    monkeypatch.setattr("jobsys.batch.ssh.hosts._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("jobsys.batch.ssh.hosts._TRIES_TO_RETURN", 3)
    system = make("once", "narrow")
    both_up(system)
    wide = Requirements(cores=2, memory=10**9)
    system.check(wide)
    os.kill(agent_of(system, "once"), signal.SIGKILL)
    system.submit([job(1, "echo", requirements=wide), job(2, "echo", text="x")])
    ends = collect(system, [1, 2])
    if ends[1].reason is Reason.LOST:
        system.submit([job(3, "echo", requirements=wide)])
        ends[1] = collect(system, [3])[3]
    assert ends[1].reason is Reason.FAILED
    assert "no host that is left" in ends[1].message
    assert "2 cores" in ends[1].message


@pytest.mark.crash
def test_an_agent_that_stands_still_is_lost_when_patience_ends(make):
    system = make("a", "b", patience=1.5)
    both_up(system)
    at = busy(system)
    there = [id for id, host in at.items() if host == "a"]
    agent = agent_of(system, "a")
    os.kill(agent, signal.SIGSTOP)
    began = time.monotonic()
    ends = collect(system, there, 20)
    assert time.monotonic() - began < 5
    assert {(end.reason, end.host) for end in ends.values()} == {(Reason.LOST, "a")}
    assert "nothing was heard from it for 1.5 s" in ends[there[0]].message
    assert is_gone(agent)
    assert set(system.running()) == {id for id in at if id not in there}


def test_a_leader_that_was_busy_elsewhere_loses_no_host(make):
    system = make("a", patience=1.5)
    both_up(system)
    busy(system, count=1)
    system._hosts["a"].ping(time.monotonic() + 1.0)
    time.sleep(3.0)  # as if the store took long; the answer lies there unread
    assert [update for update in system.updates(1.0) if update.state is BatchState.ENDED] == []
    assert 1 in system.running()


@pytest.mark.crash
def test_every_job_gets_one_last_word_while_agents_die(make, monkeypatch):
    monkeypatch.setattr("jobsys.batch.ssh.hosts._FIRST_PAUSE", 0.01)
    system = make("a", "b")
    both_up(system)
    system.submit([job(id, "sleep", seconds=0.01) for id in range(400)])
    ends: dict[int, BatchUpdate] = {}
    kills = 0
    deadline = time.monotonic() + 60
    while len(ends) < 400:
        assert time.monotonic() < deadline
        for update in system.updates(1.0):
            if update.state in (BatchState.COMPLETED, BatchState.ENDED):
                assert update.id not in ends
                ends[update.id] = update
        if len(ends) > 80 * (kills + 1) and kills < 3 and system._hosts["a"].up:
            os.kill(agent_of(system, "a"), signal.SIGKILL)
            kills += 1
    assert kills >= 1
    lost = [update for update in ends.values() if update.state is BatchState.ENDED]
    assert lost
    assert {update.reason for update in lost} == {Reason.LOST}
    assert {update.host for update in lost} == {"a"}


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_canceled_job_is_canceled_even_if_it_completes_before_its_host_knows(make):
    system = make("a")
    both_up(system)
    system.submit([job(1, "echo", text="x")])
    time.sleep(0.5)  # by now the host has said that it is done
    system.cancel([1])
    (end,) = system.updates(5)
    assert end.reason is Reason.CANCELED


def test_a_shutdown_that_is_interrupted_leaves_nothing(make, monkeypatch):
    """A second Ctrl-C while the hosts clear up."""
    system = make("a", "b")
    both_up(system)
    at = busy(system)
    workers = [system.running()[id].pid for id in at]

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(system, "_await_ends", interrupt)
    with pytest.raises(KeyboardInterrupt):
        system.shutdown()
    assert all(is_gone(pid or 0) for pid in workers)


def test_after_the_end_no_job_is_taken(make):
    system = make("a")
    system.shutdown()
    with pytest.raises(BatchSystemError, match="shut down"):
        system.submit([job(1, "echo")])


LEADER = """
    import sys
    from jobsys.batch.base import BatchState
    from jobsys.batch.ssh import SshBatchSystem, Start
    from jobsys.testing.orders import job
    system = SshBatchSystem(["a", "b"], Start(AGENT), ssh=["sh", "-c", SSH, "ssh"])
    system.submit([job(id, "spawn", seconds=60) for id in range(4)])
    pids = []
    while len(pids) < 4:
        pids += [update.payload.decode() for update in system.updates(1) if update.state is BatchState.MESSAGE]
    pids += [str(running.pid) for running in system.running().values()]
    pids += [str(host.hello.pid) for host in system._hosts.values() if host.hello]
    print(*pids, flush=True)
    while True:
        system.updates(None)
"""


@pytest.mark.crash
def test_the_end_of_a_process_that_all_hosts_need_is_an_error_at_once(make):
    system = make("a")
    system.submit([job(1, "sleep", seconds=60)])
    wait_for(system, 1, BatchState.RUNNING)
    with subprocess.Popen(["sleep", "100"]) as server:
        system.need(server.pid, "the server of the job store")
        assert system.updates(0.2) == []
        server.kill()
        with pytest.raises(BatchSystemError, match=rf"the server of the job store \(process {server.pid}\) has ended.*--restart"):
            system.updates(30)


def test_nothing_outlives_a_killed_leader():
    code = f"AGENT, SSH = {AGENT!r}, {SSH!r}\n" + textwrap.dedent(LEADER)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        pids = [int(text) for text in leader.stdout.readline().split()]
        below = [child.pid for child in psutil.Process(leader.pid).children(recursive=True)]
        assert len(pids) >= 9
        leader.kill()
    assert [pid for pid in {*pids, *below} if not is_gone(pid, 10)] == []
