"""Who can write to the store, but does not hold the run's key: his code never runs, he is told of, and what was there before goes on."""

import hashlib
import logging
import os
import pickle
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import jobsys
from jobsys import cli, journal, processes, runkey, sealing
from jobsys.batch.inline import InlineChannel
from jobsys.errors import FailedJobsError, IntegrityError, JobsysError, RunKeyError, StorageError
from jobsys.events import Committed, Policy
from jobsys.jobstores import keys
from jobsys.jobstores.base import JobStore
from jobsys.leader.listener import Listener
from jobsys.message import Order, Report, attempt_token, decode_report, encode_message, encode_order
from jobsys.record import Blob
from jobsys.worker.execute import JobExecutor
from security.attacker import Attacker, storage  # type: ignore[import-not-found]
from states import state  # type: ignore[import-not-found]

LARGE = 300_000  # bytes: an object of its own
EXPECTED = ("small" * 40, LARGE, LARGE + 1)


@jobsys.job
def small(text):
    return text


@jobsys.job
def large(size):
    return "x" * size


@jobsys.job
def gate(small, one, other, door):
    if not Path(door).exists():
        raise jobsys.JobFailure("the door is closed" if Path(door).parent.exists() else "there is no house")
    return small, len(one), len(other)


class Site:
    """A run that is half done: its last job failed, and will be tried again when the door is open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.directory, self.door = folder, folder / "store", folder / "door"
        with pytest.raises(FailedJobsError):
            self.run()
        self.door.touch()
        self.marker = folder / "evil"
        self.attacker = Attacker(self.directory, self.marker)

    def run(self, **options: Any) -> Any:
        graph = gate(small("small" * 40), large(LARGE), large(LARGE + 1), str(self.door))
        return jobsys.run(graph, str(self.directory), batch_system="inline", progress="off", retries=0, **options)

    def resume(self) -> Any:
        return self.run(restart=True)

    @property
    def store(self) -> JobStore:
        return self.attacker.store

    def blobs(self) -> dict[str, Blob]:
        """Find where what matters lies: the body of the last job and the values it needs, by name."""
        progress, _ = journal.replay(self.store)
        found = {"value of " + node.name + f" {node.id}": node.value for node in progress.nodes.values() if node.id and node.value}
        return {**found, "body": next(node.body for node in progress.nodes.values() if node.name.endswith("gate"))}

    def find(self, name: str) -> Blob:
        return next(blob for each, blob in self.blobs().items() if name in each)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def replaced_value(site):
    site.attacker.replace_bytes(site.find("large"))


def replaced_small_value(site):
    site.attacker.replace_bytes(site.find("small"))


def replaced_body(site):
    site.attacker.replace_bytes(site.find("body"))


def swapped_values(site):
    one, other = sorted({blob.where for blob in site.blobs().values() if isinstance(blob.where, str)})
    data = site.attacker.read(one), site.attacker.read(other)
    site.attacker.write(one, data[1])
    site.attacker.write(other, data[0])


def longer_value(site):
    """The object is longer than the record says, and begins with what was there."""
    blob = site.find("large")
    site.attacker.write(blob.where, site.attacker.evil() + site.attacker.read(blob.where))


def _events_with_evil_value(site):
    """Have a commit point to an evil object, described by the right digest."""
    evil = site.attacker.evil()
    site.attacker.write("values/2-1.2/99", evil)
    for number, page in site.attacker.pages().items():
        commits = [event for event in page["events"] if event["type"] == "commit" and event["report"]["job"]]
        for event in commits:
            event["report"]["value"] = msgspec.to_builtins(Blob.of(evil, "values/2-1.2/99"))
        if commits:
            return number, msgspec.json.encode(page)
    raise AssertionError("no job has committed")


def rewritten_segment(site):
    number, events = _events_with_evil_value(site)
    site.attacker.rewrite_segment(number, events=events)


def segment_without_a_tag(site):
    number, events = _events_with_evil_value(site)
    site.attacker.rewrite_segment(number, events=events, tag=bytes(32))


def segment_under_a_key_of_his_own(site):
    number, events = _events_with_evil_value(site)
    payload, _, _ = site.attacker.segment(number)
    previous = site.attacker.segment(number - 1)[2]
    tag = sealing.RunKey(b"mine").segment(number, len(events), hashlib.sha256(payload + events).digest(), previous)
    site.attacker.rewrite_segment(number, events=events, tag=tag)


def rewritten_first_segment(site):
    site.attacker.rewrite_segment(1, payload=site.attacker.segment(1)[0] + b"more")


def moved_segment(site):
    """A segment that this run signed, under another number."""
    last = max(site.attacker.pages())
    site.attacker.write(keys.journal(last + 1), site.attacker.read(keys.journal(last)))


def segment_with_other_limits(site):
    """The same bytes, but the events are said to begin elsewhere."""
    number = max(site.attacker.pages())
    payload, events, tag = site.attacker.segment(number)
    body = payload + events
    footer = (len(events) - 1).to_bytes(8, "little") + hashlib.sha256(body).digest() + tag
    site.attacker.write(keys.journal(number), body + footer)


REFUSED = {
    replaced_value: "values/",
    replaced_small_value: "journal/|segment",
    replaced_body: "journal/|segment",
    swapped_values: "values/",
    longer_value: "values/",
    rewritten_segment: "does not bear the tag",
    segment_without_a_tag: "does not bear the tag",
    segment_under_a_key_of_his_own: "does not bear the tag",
    rewritten_first_segment: "segment 1 .* does not bear the tag",
    moved_segment: "does not bear the tag",
    segment_with_other_limits: "does not bear the tag",
}


@pytest.mark.parametrize("attack", REFUSED, ids=lambda attack: attack.__name__)
def test_what_was_changed_is_an_error_and_the_run_goes_on_when_it_is_put_back(site, attack):
    attack(site)
    with pytest.raises(JobsysError, match=REFUSED[attack]) as caught:
        site.resume()
    assert not site.marker.exists()
    assert "put" in str(caught.value), "the message says what to do"
    site.attacker.put_back()
    assert site.resume() == EXPECTED


def test_the_evil_pickle_is_evil(site):
    """What the other tests rest on: unpickled, it would have run."""
    pickle.loads(site.attacker.evil(1000))
    assert site.marker.exists()


def test_the_result_of_a_finished_run_is_checked(site):
    assert site.resume() == EXPECTED
    shutil.rmtree(site.attacker.copy)
    attacker = Attacker(site.directory, site.marker)
    progress, _ = journal.replay(attacker.store)
    attacker.replace_bytes(next(value.blob for value in progress.values_for((0,)).values() if value.blob.length > 150))
    with pytest.raises(IntegrityError):
        site.resume()
    assert not site.marker.exists()
    attacker.put_back()
    assert site.resume() == EXPECTED


@pytest.mark.parametrize("name", ["body", "small", "large"])
def test_a_worker_checks_what_its_order_names(site, name):
    """The leader has read its journal; what is changed behind its back still meets the digests in the order."""
    progress, _ = journal.replay(site.store)
    node = next(node for node in progress.nodes.values() if node.name.endswith("gate"))
    order = Order(node.id, 1, node.name, node.body, "1.9", node.refs, progress.values_for(node.refs))
    site.attacker.replace_bytes(site.find(name))
    report, _ = decode_report(JobExecutor(site.store).run(encode_order(order), InlineChannel(site.folder, lambda _: None)))
    assert report.failure is not None
    assert "was not unpickled: " in report.failure.message
    assert "put it back" in report.failure.message
    assert not site.marker.exists()


@pytest.mark.parametrize("name", ["body", "small", "large"])
def test_without_a_digest_nothing_is_unpickled(site, name):
    blob = site.find(name)
    with pytest.raises(IntegrityError):
        site.store.read(Blob(blob.where, blob.offset, blob.length))


def test_a_forged_snapshot_does_not_count(site, caplog):
    progress, last = journal.replay(site.store)
    evil = site.attacker.evil()
    site.attacker.write("values/2-1.2/99", evil)
    node = next(node for node in progress.nodes.values() if node.name.endswith("gate"))
    node.body = Blob.of(evil, "values/2-1.2/99")
    body = msgspec.json.encode(progress.snapshot())
    digest, tag = hashlib.sha256(body).digest(), site.attacker.segment(last)[2]
    for seal in (bytes(32), sealing.RunKey(b"mine").snapshot(last, digest, tag)):
        site.attacker.write(keys.snapshot(last), body + digest + tag + seal)
        with caplog.at_level(logging.WARNING):
            assert journal.replay(site.store)[0].nodes[node.id].body != node.body
        assert "no leader of this run wrote it" in caplog.text
    assert site.resume() == EXPECTED
    assert not site.marker.exists()


def test_a_snapshot_of_another_segment_does_not_count(site):
    """One that this run signed, under another number."""
    progress, last = journal.replay(site.store)
    journal.write_snapshot(site.store, progress, last)
    snapshot = site.attacker.read(keys.snapshot(last))
    site.attacker.write(keys.snapshot(last - 1), snapshot)
    (site.directory / keys.snapshot(last)).unlink()
    assert site.resume() == EXPECTED


def test_a_forged_left_commit_does_not_count(site, caplog):
    evil = site.attacker.evil()
    job = next(node.id for node in journal.replay(site.store)[0].nodes.values() if node.name.endswith("gate"))
    lease = site.store.last_lease()
    token = attempt_token(lease.epoch, lease.owner, 999)  # one that this leader could have given out
    message = encode_message(Report(job, 1, 0.0, 0.0, token, value=Blob.of(evil)), evil)
    for data in (
        message,
        message + bytes(32),
        sealing.sign(b"", message),
        sealing.sign(sealing.RunKey(b"mine").attempt(job, token), message),
    ):
        site.attacker.write(keys.commit(job, token), data)
        site.door.unlink()
        with caplog.at_level(logging.WARNING), pytest.raises(FailedJobsError):
            site.resume()
        assert f"{keys.commit(job, token)} does not count, its job runs again" in caplog.text
        caplog.clear()
        site.door.touch()
    assert site.resume() == EXPECTED
    assert not site.marker.exists()


def test_the_key_of_one_attempt_signs_for_no_other(site):
    key = site.store.key
    report = encode_message(Report(4, 1, 0.0, 0.0, "1.7"))
    assert journal.open_commit(key, sealing.sign(key.attempt(4, "1.7"), report))
    for job, token in ((4, "1.8"), (5, "1.7"), (4, "1.7 ")):
        with pytest.raises(IntegrityError, match="not signed by the attempt"):
            journal.open_commit(key, sealing.sign(key.attempt(job, token), report))


def test_a_journal_that_is_rolled_back_goes_on_from_there(site):
    """What he can do, and can't hide from the jobs' side: work is done again. No code of his runs."""
    assert site.resume() == EXPECTED
    for number in sorted(site.attacker.pages())[2:]:
        site.attacker.delete_segments(number)
    assert site.resume() == EXPECTED
    assert not site.marker.exists()


def test_two_histories_can_not_be_mixed(site):
    """Segments that leaders of this run signed, of which the second does not follow from the first."""
    other = site.folder / "other"
    shutil.copytree(site.directory, other)
    assert site.resume() == EXPECTED
    old = set(storage(other).list(keys.JOURNAL))
    new = [number for number in site.attacker.pages() if keys.journal(number) not in old]
    assert len(new) >= 2
    kept = {number: site.attacker.read(keys.journal(number)) for number in new}
    shutil.rmtree(site.directory)
    shutil.copytree(other, site.directory)
    assert site.resume() == EXPECTED
    site.attacker.write(keys.journal(new[-1]), kept[new[-1]])
    with pytest.raises(IntegrityError, match="does not bear the tag"):
        site.resume()


def _info(site, **changes):
    found = msgspec.json.decode(site.attacker.read(keys.STORE))
    site.attacker.write(keys.STORE, msgspec.json.encode(found | changes))


def test_restart_starts_no_command_of_his(site, capsys, monkeypatch):
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("it was started"))
    _info(site, command=["/bin/sh", "-c", f"touch {site.marker}"], directory="/")
    for options in ([], ["--dry-run"]):
        assert cli.main(["restart", str(site.directory), *options]) == 1
        assert "jobsys-store.json" in (said := capsys.readouterr().err)
        assert "put it back from a copy of the store" in said
    with pytest.raises(IntegrityError, match="can't be trusted"):
        site.resume()


@pytest.mark.parametrize("run", ["../../../etc/passwd", "", "0" * 32, "x" * 32, "/etc/passwd"])
def test_a_run_s_id_leads_to_no_other_file(site, run):
    _info(site, run=run)
    with pytest.raises(RunKeyError, match=r"no id of a run|the key of the run in .* is not in "):
        site.resume()


def test_nothing_is_read_from_where_he_says_that_the_key_lies(site, tmp_path):
    """He brings a key of his own, and signs everything with it."""
    secret = bytes(32)
    found = msgspec.json.decode(site.attacker.read(keys.STORE))
    planted = tmp_path / "planted"
    planted.write_text(f"jobsys run key 1 {'0' * 32} {secret.hex()}\n")
    planted.chmod(0o600)
    del found["seal"]
    found |= {"run": "0" * 32, "key_path": str(planted)}
    site.attacker.write(keys.STORE, sealing.RunKey(secret).seal(keys.STORE, msgspec.json.encode(found)))
    with pytest.raises(RunKeyError, match=r"the key of the run in .* is not in "):
        site.resume()


def test_kill_signals_no_process_that_he_names(site, capsys):
    """His lease names a process of the user's own that has nothing to do with the run."""
    victim = subprocess.Popen(["sleep", "100"])
    try:
        found = msgspec.json.decode(site.attacker.read(keys.lease(1)))
        found |= {"epoch": 2, "pid": victim.pid, "process_started": processes.started(victim.pid)}
        site.attacker.write(keys.lease(2), msgspec.json.encode(found))
        assert cli.main(["kill", str(site.directory), "--wait", "0.1"]) == 1
        assert "asked the leader in the job store only" in capsys.readouterr().err
        with pytest.raises(subprocess.TimeoutExpired):
            victim.wait(0.3)
    finally:
        victim.kill()
        victim.wait()


def test_who_only_looks_needs_no_key_and_unpickles_nothing(site, capsys, monkeypatch):
    replaced_value(site)
    replaced_small_value(site)
    monkeypatch.setenv("XDG_STATE_HOME", "/nowhere")
    monkeypatch.setattr("jobsys.pickling.load", lambda *_: pytest.fail("it was unpickled"))
    for command in ("status", "logs", "stats", "graph"):
        assert cli.main([command, str(site.directory)]) in (0, 1), capsys.readouterr().err
    assert any(isinstance(event, Committed) for page in journal.pages(site.store) for event in page.events)
    assert not site.marker.exists()


def test_a_snapshot_of_another_history_does_not_count(site, caplog):
    """One that this run signed, behind a journal that was rolled back and went on otherwise, to an end under the same number."""
    progress, last = journal.replay(site.store)
    journal.write_snapshot(site.store, progress, last)
    snapshot = site.attacker.read(keys.snapshot(last))
    for number in range(2, last + 1):
        site.attacker.delete_segments(number)
    (site.directory / keys.snapshot(last)).unlink()
    site.door.unlink()
    with pytest.raises(FailedJobsError):
        site.resume()
    for number in site.attacker.pages():
        if number > last:
            site.attacker.delete_segments(number)
    expected, _ = journal.replay(site.store)
    site.attacker.write(keys.snapshot(last), snapshot)
    with caplog.at_level(logging.WARNING):
        assert state(journal.replay(site.store)[0]) == state(expected) != state(progress)
    assert "the journal was rolled back, and went on otherwise" in caplog.text
    site.door.touch()
    assert site.resume() == EXPECTED


@pytest.mark.parametrize("name", [keys.STORE, keys.lease(1)])
def test_what_was_checked_is_what_is_believed(site, monkeypatch, name):
    """He gives back what is sealed for the first reading, and has his own there for the second, or the other way round."""
    good = site.attacker.read(name)
    document = msgspec.json.decode(good)
    evil = msgspec.json.encode({**document, "command": ["/bin/echo", "evil"], "pid": 1})
    store = site.store
    assert store.key
    get = store.storage.get
    for first, then in ((good, evil), (evil, good)):
        answers = [first]

        def answer(key, *args, answers=answers, then=then):
            return (answers.pop() if answers else then) if key == name else get(key, *args)

        monkeypatch.setattr(store.storage, "get", answer)
        if name == keys.STORE and first is evil:
            with pytest.raises(IntegrityError, match="can't be trusted"):
                store.sealed_info()
        elif name == keys.STORE:
            assert list(store.sealed_info().command) == document["command"]
        elif first is evil:
            assert store.sealed_lease(1) is None
        else:
            assert store.sealed_lease(1).pid == document["pid"]


def test_no_link_leads_to_the_run_s_key(site):
    """What is at the end of a link could come back in the journal, where he can read it: why a run was stopped, say."""
    secret = Path(runkey.place(site.store.info().run))
    text = secret.read_text()

    class Linking(Listener):
        def on_event(self, event, name):
            for link in (keys.KILL, keys.heartbeat(1)):
                (site.directory / link).unlink(missing_ok=True)
                (site.directory / link).symlink_to(secret)

    with suppress(JobsysError):
        site.run(restart=True, listeners=[Linking()])
    assert secret.read_text() == text
    for path in site.directory.rglob("*"):
        assert path.is_symlink() or not path.is_file() or text.split()[-1].encode() not in path.read_bytes(), path


@pytest.mark.parametrize("folder", [keys.COMMITS, keys.VALUES, keys.FILES, keys.LOGS, ".tmp/"])
def test_no_link_leads_a_leader_to_delete_what_is_elsewhere(site, folder):
    home = site.folder / "home"
    (home / "docs").mkdir(parents=True)
    kept = {home / "a.txt", home / "docs" / "thesis.tex"}
    for path in kept:
        path.touch()
        os.utime(path, (1, 1))
    shutil.rmtree(site.directory / folder, ignore_errors=True)
    (site.directory / folder.rstrip("/")).symlink_to(home)
    with suppress(JobsysError):
        site.resume()
    assert {path for path in home.rglob("*") if path.is_file()} >= kept
    site.attacker.put_back()
    assert site.resume() == EXPECTED


def test_no_link_leads_out_of_the_files_of_an_attempt(site):
    home = site.folder / "home"
    home.mkdir()
    (home / "a.txt").touch()
    for top in (keys.FILES, keys.VALUES):
        (site.directory / top).mkdir(exist_ok=True)
        (site.directory / top / "9-1.1").symlink_to(home)
    site.store.delete_files_of(9, "1.1")
    assert list(home.iterdir()) == [home / "a.txt"]


def test_a_pipe_in_the_store_is_not_waited_for(site):
    os.mkfifo(site.directory / keys.KILL)
    with pytest.raises(StorageError, match=r"can't read .*kill\.json"):
        site.resume()


@pytest.mark.parametrize("name", ["journal/0000000001~", "journal/copy", "snapshots/abc", "journal/00000000001"])
def test_what_somebody_laid_beside_is_not_read(site, name):
    site.attacker.write(name, b"something")
    for command in ("status", "logs", "stats", "graph"):
        assert cli.main([command, str(site.directory)]) in {0, 1}
    assert site.resume() == EXPECTED


def test_a_heartbeat_of_another_kind_is_no_sign_of_life(site):
    site.attacker.write(keys.heartbeat(1), b'{"count":[],"time":"x","released":{}}')
    assert cli.main(["status", str(site.directory)]) in {0, 1}
    assert site.store.last_beat(1) == {"count": 0, "time": 0.0, "released": False}


def test_a_time_that_is_none_is_shown_as_such(site, capsys):
    _, events, _ = site.attacker.segment(journal.replay(site.store)[1])
    page = msgspec.json.decode(events)
    for event in page["events"]:
        event["time"] = 1e300
    site.attacker.rewrite_segment(page["segment"], events=msgspec.json.encode(page))
    assert cli.main(["logs", str(site.directory)]) == 0
    assert "ended at no time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"refs": [99_999]}, "KeyError: 100000"), ({"first": -1}, "job -1 is made twice"), ({"first": 0}, "job 0 is made")],
)
def test_a_journal_that_makes_no_sense_is_told(site, capsys, changed, told):
    """Who looks believes no tag, and finds jobs that nobody made, or that made themselves."""
    number = min(number for number, page in site.attacker.pages().items() if page["events"][0]["type"] == "commit")
    page = msgspec.json.decode(site.attacker.segment(number)[1])
    commit = page["events"][0]
    (commit if "first" in changed else commit["report"]).update(changed)
    site.attacker.rewrite_segment(number, events=msgspec.json.encode(page))
    (site.directory / keys.STATUS).unlink()
    for command in ("status", "logs", "stats", "graph"):
        assert cli.main([command, str(site.directory)]) == 1
        text = capsys.readouterr().err
        assert "makes no sense" in text
        assert told in text


def test_a_history_that_comes_in_the_place_of_the_one_that_was_read_is_no_ground_to_go_on_from(site):
    """Both are this run's own: what he had kept comes back when a leader has read the other one, and before it writes."""
    kept = {key: site.attacker.read(key) for key in site.attacker.keys(keys.JOURNAL)}
    last = len(kept)
    for number in range(2, last + 1):
        site.attacker.delete_segments(number)
    site.door.unlink()
    with pytest.raises(FailedJobsError):
        site.resume()
    for number in site.attacker.pages():
        if number > last:
            site.attacker.delete_segments(number)
    store = site.store
    progress, read, tag = journal.restore(store)
    assert read == last
    for key, data in kept.items():
        site.attacker.write(key, data)
    lease = msgspec.structs.replace(store.last_lease(), epoch=99)
    journal.take_over(site.store, lease, Policy(), progress, read, tag)
    with pytest.raises(IntegrityError, match=f"segment {last + 1} .* does not bear the tag"):
        site.resume()
