"""`jobsys cache` tells what the host's cache holds, and removes what nobody uses."""

import subprocess
import sys

import pytest

from jobsys.archives import Archives
from jobsys.cache import Cache
from jobsys.kept import Kept, write_list


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JOBSYS_CACHE_LIMIT", "5M")
    made = Cache.of_host()
    for digit, size in ((1, 1000), (2, 2_000_000)):
        place = tmp_path / "cache" / "code" / f"{str(digit) * 64}-0123abcd"
        (place / "project").mkdir(parents=True)
        write_list(str(place), [Kept("a.py", "file", 0o644, size, "")])
    return made


@pytest.fixture
def in_use(cache):
    """Another process uses the larger one."""
    code = "import sys; from jobsys.holding import hold; print(hold(sys.argv[1]), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, f"{cache.code}/{'2' * 64}-0123abcd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield
        process.communicate()


def test_what_is_there(jobsys, cache, in_use):
    lines = jobsys("cache").out.splitlines()
    assert lines[0] == f"{cache.root}: 2 entries, 2 MB of 5 MB"
    assert lines[1].split() == ["SIZE", "LAST", "USE", "IN", "USE", "ENTRY"]
    assert sorted(line.split()[-3:] for line in lines[2:]) == [
        ["no", "code/111111111111…-0123abcd", "(project)"],
        ["yes", "code/222222222222…-0123abcd", "(project)"],
    ]
    found = jobsys("cache", "--json").json
    assert (found["directory"], found["bytes"], found["limit"]) == (cache.root, 2_001_000, 5_000_000)
    assert {entry["bytes"]: entry["in_use"] for entry in found["entries"]} == {1000: False, 2_000_000: True}


def test_what_is_in_use_stays(jobsys, cache, in_use):
    lines = jobsys("cache", "--clear").out.splitlines()
    assert lines[:2] == ["removed 1 entry, 1 kB", f"{cache.root}: 1 entry, 2 MB of 5 MB"]
    assert [place.size for place in cache.places()] == [2_000_000]
    assert jobsys("cache", "--clear", "--json").json["removed"] == 0


def test_an_empty_one(jobsys, cache):
    assert jobsys("cache", "--clear", "--json").json["removed_bytes"] == 2_001_000
    assert jobsys("cache").out == f"{cache.root}: 0 entries, 0 B of 5 MB\n"


def test_what_a_bare_python_begins_with_is_shown_too(jobsys, cache, tmp_path):
    (tmp_path / "cache" / f"core-{'a' * 64}.zip").write_bytes(b"x" * 1000)
    assert jobsys("cache").out.splitlines()[2].endswith("core-aaaaaaaaaaaa….zip (jobsys itself)")
    assert jobsys("cache", "--clear", "--json").json["removed"] == 3


def test_a_limit_that_is_no_size(jobsys, cache, monkeypatch):
    monkeypatch.setenv("JOBSYS_CACHE_LIMIT", "much")
    said = jobsys("cache")
    assert (said.status, "JOBSYS_CACHE_LIMIT='much' is no size" in said.err) == (2, True)


def test_archives_for_other_stores_are_counted_and_cleared(jobsys, tmp_path, monkeypatch):
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    archives = Archives.of(Cache.of_host())
    (tmp_path / "a.zip").write_bytes(bytes(5000))
    archives.keep("a" * 64, str(tmp_path / "a.zip"))
    assert "archives for other job stores: 1 entry, 5 kB" in jobsys("cache").out
    assert jobsys("cache", "--json").json["archives_bytes"] == 5000
    assert jobsys("cache", "--clear").out.startswith("removed 1 entry, 5 kB")
    assert list(archives.kept()) == []
