"""Stores and keys are their user's alone, and a run's key is nowhere but in its file."""

import json
import os
import stat
from pathlib import Path

import pytest

import jobsys
from jobsys.jobstores import create, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo

INFO = StoreInfo(FORMAT, 0.0, "0")


@jobsys.job
def one():
    return 1


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_store_is_made_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        store = create(tmp_path / "deep" / "store", INFO, durable=False)
        store.append(1, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "store").stat().st_mode) == 0o700
    assert store.openness() == ""


def test_a_directory_that_others_can_write_is_used_and_told(tmp_path, capsys):
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o2770)
    assert jobsys.run(one(), str(place), batch_system="inline", progress="off") == 1
    assert f"jobsys: others can write to {place} (mode 2770): who can write there may stop" in capsys.readouterr().err
    place.chmod(0o750)
    assert jobsys.run(one(), str(place), batch_system="inline", progress="off", restart=True) == 1
    assert "others can write" not in capsys.readouterr().err


def test_a_directory_of_another_user_is_told(tmp_path, monkeypatch):
    create(tmp_path / "store", INFO, durable=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    assert "belongs to user" in open_store(str(tmp_path / "store")).openness()


LOOK = """
import json
import psutil

@jobsys.job
def main():
    '''Find what processes of this run show to others: command lines and environments.'''
    mine = psutil.Process()
    seen = []
    for process in [mine, *mine.parents()]:
        try:
            seen.append([process.cmdline(), process.environ()])
        except psutil.Error:
            pass
    print("a log")
    return json.dumps(seen)
"""


def test_the_run_s_key_is_nowhere_but_in_its_file(workflow, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    flow = workflow(LOOK)
    status, out, err = flow.run("--log-level", "debug")
    assert status == 0, err
    [path] = (tmp_path / "state" / "jobsys" / "keys").iterdir()
    secret = path.read_text().split()[-1]
    seen = json.loads(out)
    assert len(seen) >= 3, "the worker, its host and the leader"
    assert any("flow.py" in word for command, _ in seen for word in command)
    for text in (out, err):
        assert secret not in text
    for found in Path(tmp_path).rglob("*"):
        if found.is_file() and found != path:
            assert secret.encode() not in found.read_bytes(), found
