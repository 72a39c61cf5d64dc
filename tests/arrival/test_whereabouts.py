"""The variables that a worker's program gets, and the directory it stands in."""

import fcntl
import os
import subprocess
import sys

import pytest

from jobsys.arrival.whereabouts import enter, variables

HOST = {"PATH": "/host/bin", "HOME": "/h", "PYTHONPATH": "/decoy", "PYTHONSTARTUP": "x", "LC_ALL": "C", "LANG": "de_DE", "TZ": "UTC"}


@pytest.mark.parametrize(
    ("shipped", "passed", "expected"),
    [
        ({}, [], {}),
        ({"LANG": "C.UTF-8", "PYTHONHASHSEED": "7"}, [], {"LANG": "C.UTF-8", "PYTHONHASHSEED": "7"}),
        ({"LC_ALL": None, "HOME": None}, [], {"HOME": None}),
        ({"TZ": "Asia/Tokyo"}, ["PYTHONPATH", "TZ"], {"PYTHONPATH": "/decoy", "TZ": "UTC"}),
        ({"HOME": "/leader"}, [], {"HOME": "/leader"}),
    ],
)
def test_the_leaders_variables_replace_the_hosts(shipped, passed, expected):
    base = {"HOME": "/h", "VIRTUAL_ENV": "/env", "PATH": "/env/bin:/host/bin"}
    wanted = {name: value for name, value in (base | expected).items() if value is not None}
    assert variables(HOST, shipped, passed, "/env") == wanted


def test_a_host_without_a_path_still_finds_its_programs():
    assert variables({}, {}, [], "/env")["PATH"] == f"/env/bin:{os.defpath}"


def stand(tmp_path, directory, code="print(os.getcwd())"):
    """Enter a directory in a process of its own, become another program, and say where it stands."""
    start = f"""
import os, sys
from jobsys.arrival.whereabouts import enter
enter({directory!r})
os.execv(sys.executable, [sys.executable, "-c", "import os, sys; " + {code!r}])
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    return subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_the_leaders_directory_is_entered_where_it_is_there(tmp_path):
    there = tmp_path / "project"
    there.mkdir()
    process = stand(tmp_path, str(there))
    assert process.communicate()[0] == f"{there}\n"
    assert os.listdir(tmp_path) == ["project"]


def test_elsewhere_a_worker_has_a_directory_of_its_own_as_long_as_it_lives(tmp_path):
    wait = "print(os.getcwd(), flush=True); sys.stdin.read()"
    first, second = stand(tmp_path, "/no/such/directory", wait), stand(tmp_path, None, wait)
    mine = [process.stdout.readline().strip() for process in (first, second)]
    assert len(set(mine)) == 2
    assert all(os.path.dirname(each) == str(tmp_path) and os.stat(each).st_mode & 0o777 == 0o700 for each in mine)
    first.communicate()
    third = stand(tmp_path, None, wait)
    mine.append(third.stdout.readline().strip())
    assert not os.path.exists(mine[0]), "whoever comes next removes what nobody uses"
    assert os.path.isdir(mine[1])
    second.communicate()
    third.communicate()


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("jobsys.arrival.whereabouts.has_locks", lambda directory: False)
    monkeypatch.chdir(tmp_path)
    left = tmp_path / f"jobsys-{os.getuid()}-away-left"
    left.mkdir()
    enter(None)
    assert left.is_dir()
    assert os.getcwd() != str(tmp_path)


def test_what_is_called_so_but_is_locked_or_a_link_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    prefix = f"jobsys-{os.getuid()}-away-"
    (tmp_path / "target").mkdir()
    (tmp_path / f"{prefix}link").symlink_to("target")
    (tmp_path / f"{prefix}used").mkdir()
    (tmp_path / f"{prefix}left").mkdir()
    descriptor = os.open(tmp_path / f"{prefix}used", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    enter(None)
    os.close(descriptor)
    left = set(os.listdir(tmp_path))
    assert {"target", f"{prefix}link", f"{prefix}used"} < left
    assert f"{prefix}left" not in left
