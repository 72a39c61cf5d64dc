"""Runs that versions before have stored: each is resumed to its known result, or refused with a message that says what to do."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

import jobsys
from jobsys import cli
from jobsys.errors import FormatError, IntegrityError
from jobsys.history import read_history
from jobsys.jobstores import keys, open_store
from jobsys.jobstores.base import FORMAT
from jobsys.journal import replay

DATA = Path(__file__).parent / "data"
STORED = sorted(path.name for path in DATA.glob("store-format-*"))
PRESENT = f"store-format-{FORMAT}"


@pytest.fixture
def stored(request, tmp_path, monkeypatch):
    """Copy a stored run to where it may be changed; give its directory and its workflow's module."""
    directory = tmp_path / "stored"
    shutil.copytree(DATA / request.param, directory)
    (directory / "run.jobsys-key").chmod(0o600)  # which version control does not keep
    monkeypatch.setenv("JOBSYS_KEY_FILE", str(directory / "run.jobsys-key"))
    monkeypatch.setenv("STORED_RUN_GOES_ON", "1")
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.delitem(sys.modules, "stored_workflow", raising=False)
    module = importlib.import_module("stored_workflow")
    assert module.__file__ == str(directory / "stored_workflow.py")
    yield directory, module
    sys.modules.pop("stored_workflow", None)


def resume(directory, module):
    return jobsys.run(module.workflow(), str(directory / "store"), restart=True, batch_system="inline", progress="off")


def test_the_present_format_is_there():
    assert PRESENT in STORED, f"store a run: python tests/data/make_store.py tests/data/{PRESENT}"


@pytest.mark.parametrize("stored", STORED, indirect=True)
def test_a_stored_run_is_resumed_or_refused(stored):
    directory, module = stored
    written = msgspec.json.decode((directory / "store" / keys.STORE).read_bytes())["format"]
    if written != FORMAT:
        with pytest.raises(FormatError, match=f"has format {written}; .* go on with the version that began the run"):
            resume(directory, module)
        return
    assert resume(directory, module) == module.EXPECTED
    assert resume(directory, module) == module.EXPECTED, "from its stored result"


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
def test_what_it_had_done_is_not_done_again(stored):
    directory, module = stored
    resume(directory, module)
    done = {"square 0", "square 3", "large", "write", "inner", "chained", "leave"}
    assert not done & set(module.ran)
    assert {"measure large", "count_lines", "wait", "client", "start", "leaf 0", "leaf 2", "outer"} <= set(module.ran)
    store = open_store(str(directory / "store"))
    assert list(store.commits()) == []


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
@pytest.mark.parametrize("without", ["snapshots", "status.json", "commits", "heartbeat"])
def test_it_goes_on_without_what_it_can_do_without(stored, without, monkeypatch):
    directory, module = stored
    monkeypatch.setattr("jobsys.leader.lease.SILENCE", 0.01)  # no leader of another host lives
    path = directory / "store" / without
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert resume(directory, module) == module.EXPECTED


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
def test_it_goes_on_at_the_second_start_without_its_lease(stored):
    directory, module = stored
    shutil.rmtree(directory / "store" / "lease")
    with pytest.raises(IntegrityError, match=r"leader of epoch 1, whose lease is not there any more: .* run again with --restart"):
        resume(directory, module)
    assert resume(directory, module) == module.EXPECTED


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
def test_it_holds_one_of_everything(stored):
    """What a later version must be able to read is in it."""
    directory, _ = stored
    there = {path.relative_to(directory / "store").parts[0] for path in (directory / "store").rglob("*") if path.is_file()}
    assert there == keys.TOPS - {"kill.json", "code", "logs", "shared", "shared-refs", "probe", "tasks"}
    _, last = replay(open_store(str(directory / "store")))
    assert max(map(int, os.listdir(directory / "store" / "snapshots"))) <= last
    jobs = read_history(open_store(str(directory / "store"))).jobs.values()
    assert any(job.checkpoint for job in jobs)
    assert any(job.service_of is not None for job in jobs)
    assert any(attempt.outcome == "failed" for job in jobs for attempt in job.attempts)


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
@pytest.mark.parametrize("command", ["status", "logs", "stats", "graph"])
def test_it_can_be_looked_at_without_its_key(stored, command, capsys, monkeypatch):
    directory, _ = stored
    monkeypatch.delenv("JOBSYS_KEY_FILE")
    assert cli.main([command, str(directory / "store")]) in (0, 1)
    assert "square" in capsys.readouterr().out or command in ("status", "logs")


@pytest.mark.parametrize("stored", [PRESENT], indirect=True)
@pytest.mark.parametrize("format", [1, 2, 4, None, "3"])
def test_other_formats_are_refused_and_left_alone(stored, format, capsys):
    directory, module = stored
    path = directory / "store" / keys.STORE
    found = json.loads(path.read_text())
    path.chmod(0o600)
    path.write_text(json.dumps(found | {"format": format}))
    before = {each: each.read_bytes() for each in directory.rglob("*") if each.is_file() and "__pycache__" not in str(each)}
    wanted = f"has format {format}; this version of jobsys knows format 3 only"
    with pytest.raises(FormatError, match=f"{wanted}: go on with the version that began the run .*, or begin anew in another job store"):
        resume(directory, module)
    for command in ("status", "logs", "stats", "graph", "kill", "restart", "clean"):
        assert cli.main([command, str(directory / "store")]) == 1, command
        assert wanted in capsys.readouterr().err
    assert {each: each.read_bytes() for each in directory.rglob("*") if each.is_file() and "__pycache__" not in str(each)} == before


@pytest.mark.parametrize("name", STORED)
def test_it_names_no_machine(name):
    for path in (DATA / name).rglob("*"):
        if path.is_file() and "__pycache__" not in str(path):
            assert os.uname().nodename.encode() not in path.read_bytes(), path
