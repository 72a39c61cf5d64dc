"""Real runs are killed, stopped and starved, and resumed: nothing is lost, doubled, wrong or left. And that would be seen."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobsys import runkey
from jobsys.events import AttemptFailed, Committed, LeaderStarted, Policy, Reason
from jobsys.jobstores import JobStore, Lease, keys
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.journal import Journal
from jobsys.message import Report, attempt_token
from jobsys.record import Blob, JobRecord
from jobsys.storage.memory import MemoryStorage

CHAOS = Path(__file__).resolve().parents[2] / "contrib" / "chaos"


def command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(CHAOS / "run.py"), "--directory", str(directory), *arguments]


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_wrong_or_left(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    work = tmp_path / "work"
    work.mkdir()
    strikes = ["--kills", "25", "--seed", "4", "--jobs", "800", "--pause", "0.4", "--without", "zombie leader"]
    done = subprocess.run(command(work, *strikes, "--report", str(report)), capture_output=True, text=True, check=False)
    print(done.stdout)  # shown if the test fails
    assert done.returncode == 0, done.stderr
    table = report.read_text()
    kills = re.search(r"(\d+) of them kills", table)
    assert kills is not None
    assert int(kills[1]) >= 25
    total = next(line for line in table.splitlines() if line.startswith("| **all**"))
    struck, killed, resumed, *violations, _ = [cell.strip() for cell in total.strip("| ").split("|")][1:]
    assert int(killed) >= 25
    assert int(resumed) >= int(struck) // 2  # the others ended a run, or fell together with its end
    assert violations == ["0"] * 6
    assert list(work.iterdir()) == []


@pytest.mark.crash
def test_it_clears_up_behind_itself_when_it_is_interrupted(tmp_path: Path) -> None:
    keys_before = kept_keys()
    process = subprocess.Popen(
        command(tmp_path, "--kills", "1000", "--jobs", "500"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob("chaos-*/run-1/outside/record")):
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "| **all** |" in out
    assert list(tmp_path.iterdir()) == []
    assert kept_keys() == keys_before
    assert [each.pid for each in psutil.process_iter() if str(tmp_path) in " ".join(_environment(each))] == []


def kept_keys() -> set[str]:
    directory = runkey.directory()
    return set(os.listdir(directory)) if os.path.isdir(directory) else set()


def _environment(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []


def test_a_name_of_no_strike_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, "--only", "sabre"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no strike has 'sabre' in its name" in done.stderr


# ── the checker sees what is wrong ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def checker(monkeypatch):
    monkeypatch.syspath_prepend(str(CHAOS))
    import checker  # type: ignore[import-not-found]

    yield checker
    for name in ("checker", "kin", "leftovers"):
        sys.modules.pop(name, None)


@pytest.fixture
def leftovers(checker):
    import leftovers  # type: ignore[import-not-found]

    return leftovers


def commit(job, token, jobs=(), first=1, deleted=()):
    records = tuple(JobRecord(name, Blob(0, 0, 0)) for name in jobs)
    return Committed(Report(job, 1, 0.0, 0.0, token=token, value=Blob(0, 0, 0), jobs=records, deleted=deleted), Blob(0, 0, 0), first)


def test_the_checker_reads_the_tokens_of_attempts(checker):
    for epoch, serial in ((1, 0), (26, 31), (255, 4096)):
        assert checker.order(attempt_token(epoch, "fedcba9876543210", serial)) == (epoch, serial)
    assert attempt_token(1, "o", 2) == "1-o.2"  # as below


def account_of(checker, *epochs):
    """Write a journal: a list of events for each epoch."""
    store = JobStore("memory:chaos", MemoryStorage())
    store.create(StoreInfo(FORMAT, 0.0, "test"))
    segment = 1
    for epoch, events in enumerate(epochs, 1):
        lease = Lease(epoch, "o", "h", 1, 0.0, 0.0)
        journal = Journal(store, epoch, lease.owner, segment)
        for event in (LeaderStarted(epoch, "o", "h", 1, 0.0, Policy()), *events):
            journal.add(event)
        journal.flush()
        segment = journal.segment
    return checker.Account.read(store), store


def kinds(violations):
    return [violation.kind for violation in violations]


def test_the_checker_has_nothing_against_a_run_in_which_all_was_well(checker):
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a", "b"]), commit(1, "1-o.1")], [commit(2, "1-o.2")])
    starts = [checker.Start(1, "1-o.1", ()), checker.Start(2, "1-o.2", ((1, "1-o.1"),))]
    assert checker.check_going_on(account, starts) == []
    assert checker.check_finished(account, "7", "7") == []
    assert checker.check_kept(account, account) == []


@pytest.mark.parametrize(
    ("second", "starts", "kind"),
    [
        ([commit(1, "2-o.1")], [], "doubled"),  # a second commit
        ([], [(1, "2-o.1", ())], "doubled"),  # run again by a leader that had its commit
        ([], [(1, "1-o.2", ())], "doubled"),  # run again by the leader that had just taken it in
        ([commit(2, "1-o.2")], [(2, "2-o.1", ())], "doubled"),  # run again although its commit was adopted
        ([], [(2, "2-o.1", ((1, "1-o.9"),))], "wrong"),  # given the value of an attempt that lost
        ([], [(2, "5-o.1", ())], "lost"),  # started by a leader that nobody knows
    ],
)
def test_the_checker_sees_what_is_doubled_or_comes_from_nowhere(checker, second, starts, kind):
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a", "b"]), commit(1, "1-o.1")], second)
    assert set(kinds(checker.check_going_on(account, [checker.Start(*start) for start in starts]))) == {kind}


def test_the_checker_allows_what_a_run_may_do(checker):
    """A zombie of the first leader may run what the second has; an attempt may begin before another one's commit is adopted."""
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a"])], [commit(1, "2-o.1")])
    assert checker.check_going_on(account, [checker.Start(1, "1-o.1", ()), checker.Start(1, "2-o.1", ())]) == []
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a"])], [], [commit(1, "1-o.1")])
    assert checker.check_going_on(account, [checker.Start(1, "2-o.1", ()), checker.Start(1, "1-o.1", ())]) == []


def test_the_checker_sees_what_is_lost_wrong_or_changed(checker):
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a", "b"]), commit(1, "1-o.1")])
    assert kinds(checker.check_finished(account, "7", "8")) == ["lost", "wrong"]
    other, _ = account_of(checker, [commit(0, "1-o.0", ["a", "b"]), commit(1, "1-o.2")])
    assert kinds(checker.check_kept(account, other)) == ["lost"]


def test_the_checker_sees_an_attempt_that_failed_of_itself(checker):
    failed = AttemptFailed(1, 1, Reason.FAILED, 0.0, token="1-o.1", message="can't read")
    lost = AttemptFailed(1, 1, Reason.LOST, 0.0, token="1-o.2")
    account, _ = account_of(checker, [commit(0, "1-o.0", ["a"]), failed, lost])
    assert kinds(checker.check_failures(account)) == ["wrong"]


def test_the_checker_sees_objects_of_nobody(checker, leftovers):
    account, store = account_of(checker, [commit(0, "1-o.0", ["a"]), commit(1, "1-o.1", deleted=("files/1-1-o.1/1/deleted",))])
    for key in (
        "files/1-1-o.1/0/mine",
        "files/1-1-o.1/1/deleted",
        "files/1-1-o.2/0/lost",
        "values/1-1-o.1/0",
        keys.commit(1, "1-o.1"),
        "logs/1-1-o.2",
        "graphs/1-1-o.1",
        "graphs/1-1-o.2",
    ):
        store.storage.put(key, b"")
    named = [violation.text.split()[0] for violation in leftovers.objects(store, account)]
    lost = ["files/1-1-o.1/1/deleted", "files/1-1-o.2/0/lost", "graphs/1-1-o.2", "logs/1-1-o.2", "values/1-1-o.1/0"]
    assert named == [keys.commit(1, "1-o.1"), *lost]


def test_the_checker_sees_temporary_files_and_locks(checker, leftovers, tmp_path):
    import fcntl

    for name in ("store/.tmp", "tmp/jobsys-0-x", "cache/code/x.part-1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "store/.tmp/t.1.0").touch()
    assert len(leftovers.temporary(tmp_path / "store", tmp_path / "tmp", tmp_path / "cache")) == 3
    assert leftovers.locks(tmp_path) == []
    descriptor = os.open(tmp_path / "tmp", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    assert kinds(leftovers.locks(tmp_path)) == ["lock"]
    os.close(descriptor)


def test_the_checker_sees_processes(leftovers, tmp_path):
    with subprocess.Popen(["sleep", "100"], env=os.environ | {"CHAOS_MARK": "test-mark-1-"}) as process:
        assert kinds(leftovers.processes("test-mark-", patience=0.1)) == ["process"]
        assert leftovers.processes("test-mark-2", patience=0.1) == []
        process.kill()
    assert leftovers.processes("test-mark-", patience=0.1) == []
