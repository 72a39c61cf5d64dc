"""The bootstrap on a bare Python: what it says, what it fetches, what it believes."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from arrival.bare import PYTHON, configuration, start, told  # type: ignore[import-not-found]
from arrival.store import TOKEN, serving  # type: ignore[import-not-found]
from jobsys import framing
from jobsys.arrival import bootstrap
from jobsys.arrival.core import bootstrap_source

HOST = os.uname().nodename
HELLO = ["-c", "import sys; print('arrived', sys.stdin.read())"]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def server(store):
    with serving(store) as server:
        yield server


def over_http(store, server):
    config = configuration(store, server.url, HELLO)
    return config | {"environment": {"JOBSYS_STORE_URL": server.url, "JOBSYS_STORE_TOKEN": TOKEN}}


def test_the_words_of_the_stream_are_those_of_the_leader():
    assert bootstrap.CANNOT_START == framing.CANNOT_START
    payload = b"why"
    assert framing.pack(framing.CANNOT_START, payload=payload) == framing.header(bootstrap.CANNOT_START, 0, 0, len(payload)) + payload


@pytest.mark.parametrize("isolated", [True, False])
def test_it_takes_one_line_from_its_input_and_leaves_the_rest_to_the_program(tmp_path, store, isolated):
    """Decoys in the working directory, which is first on the path of ``python -c``, are not imported."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("json", "random", "jobsys"):
        (home / f"{name}.py").write_text("raise SystemExit('a decoy was imported')")
    command = None if isolated else [PYTHON, "-c", bootstrap_source()]
    behind, errors, status = start(home, configuration(store, store.as_uri(), HELLO), b"the rest\n", command)
    assert (behind, errors, status) == (b"arrived the rest\n\n", "", 0)


def test_it_runs_as_a_file_too(tmp_path, store):
    file = tmp_path / "scripts" / "bootstrap.py"
    file.parent.mkdir()
    file.write_text(bootstrap_source())
    (file.parent / "json.py").write_text("raise SystemExit('a decoy was imported')")
    assert start(tmp_path / "home", configuration(store, store.as_uri(), HELLO), b"", [PYTHON, file])[0] == b"arrived \n"


@pytest.mark.parametrize("troubles", [[], [503, 429], ["cut"], ["reset", 500], ["redirect"]])
def test_it_comes_through_what_passes(tmp_path, store, server, troubles):
    config = over_http(store, server)
    server.troubles = list(troubles)
    assert start(tmp_path / "home", config)[0] == b"arrived \n"
    assert server.asked.count("/core.zip") == 1 + len([each for each in troubles if each != "redirect"])
    assert server.strangers == [None] * ("redirect" in troubles), "the token goes to nobody else"


def test_a_verified_core_is_used_again_and_a_damaged_one_is_not(tmp_path, store, server):
    config = over_http(store, server)
    home = tmp_path / "home"
    for _ in range(2):
        assert start(home, config)[0] == b"arrived \n"
    assert server.asked.count("/core.zip") == 1
    [kept] = (home / ".cache" / "jobsys").glob("core-*.zip")
    data = kept.read_bytes()
    kept.write_bytes(data.replace(b"def main", b"def Main", 1))
    assert start(home, config)[0] == b"arrived \n"
    assert server.asked.count("/core.zip") == 2
    assert kept.read_bytes() == data
    assert not list(kept.parent.glob(".core-*"))


@pytest.mark.parametrize(
    ("variables", "place"),
    [({}, ".cache/jobsys"), ({"XDG_CACHE_HOME": "x"}, "x/jobsys"), ({"XDG_CACHE_HOME": "x", "JOBSYS_CACHE": "j"}, "j")],
)
def test_the_core_lies_where_the_cache_is(tmp_path, store, variables, place):
    home = tmp_path / "home"
    start(home, configuration(store, store.as_uri(), HELLO), **{name: str(home / value) for name, value in variables.items()})
    assert len(list((home / place).glob("core-*.zip"))) == 1
    assert (home / place / "code").is_dir(), "cache.py finds the same directory"
    assert (home / place).stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_could_change_is_not_used(tmp_path, store):
    home = tmp_path / "home"
    (home / "open").mkdir(parents=True)
    (home / "open").chmod(0o777)
    behind, _, status = start(home, configuration(store, store.as_uri(), HELLO), JOBSYS_CACHE=str(home / "open"))
    assert status == 1
    assert told(behind).startswith(f"host {HOST} ({PYTHON}): others may write into the cache {home}/open ")
    assert list((home / "open").iterdir()) == []
    behind, _, _ = start(home, configuration(store, store.as_uri(), HELLO), JOBSYS_CACHE="relative")
    assert "JOBSYS_CACHE='relative' is not an absolute path" in told(behind)
    shutil.rmtree(home / ".cache")
    (home / ".cache" / "jobsys").mkdir(parents=True)
    (home / ".cache" / "jobsys").chmod(0o777)
    assert start(home, configuration(store, store.as_uri(), HELLO))[0] == b"arrived \n"
    assert len(list(home.glob("jobsys-cache-*/core-*.zip"))) == 1


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """A home and a directory of temporary files for a bootstrap in this process; give what looks for the cache and says which it opened."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JOBSYS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def opened():
        directory = bootstrap.cache_directory()
        try:
            return os.path.relpath(os.readlink(f"/proc/self/fd/{directory}"), tmp_path)
        finally:
            os.close(directory)

    return opened


@pytest.mark.parametrize("ours", [True, False])
def test_a_link_that_another_user_could_let_point_elsewhere_is_passed_over(tmp_path, monkeypatch, homes, ours):
    link, lstat = tmp_path / "home/.cache/jobsys", os.lstat
    link.parent.mkdir(parents=True)
    (tmp_path / "scratch").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "scratch")

    def planted(path, *arguments, **options):
        found = lstat(path, *arguments, **options)
        return os.stat_result((*found[:4], os.getuid() + 1, *found[5:])) if str(path) == str(link) else found

    monkeypatch.setattr(os, "lstat", os.lstat if ours else planted)
    assert homes() == ("scratch" if ours else f"jobsys-cache-{os.getuid()}")


def test_a_directory_with_another_use_gets_no_core(tmp_path, monkeypatch, homes):
    thesis = tmp_path / "thesis"
    thesis.mkdir(mode=0o700)
    monkeypatch.setenv("JOBSYS_CACHE", str(thesis))
    assert homes() == "thesis"
    (thesis / "chapter").write_text("")
    assert homes() == "home/.cache/jobsys"
    (thesis / "CACHEDIR.TAG").write_text("")
    assert homes() == "thesis"


def test_what_was_verified_is_what_is_imported_whatever_takes_its_name(tmp_path, homes):
    """Neither a link nor a file that takes the place of the core after the check is read."""
    data = b"the core"
    (tmp_path / "core.zip").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    kept = tmp_path / "home/.cache/jobsys" / f"core-{digest}.zip"
    first = bootstrap.core_archive((tmp_path / "core.zip").as_uri(), digest)
    assert kept.read_bytes() == data
    again = bootstrap.core_archive("file:///no/such/file", digest)
    (tmp_path / "decoy").write_bytes(b"a decoy")
    (tmp_path / "decoy").replace(kept)
    assert [Path(path).read_bytes() for path in (first, again)] == [data, data]
    kept.unlink()
    kept.symlink_to(tmp_path / "core.zip")
    third = bootstrap.core_archive((tmp_path / "core.zip").as_uri(), digest)
    assert not kept.is_symlink()
    for path in (first, again, third):
        os.close(int(os.path.basename(path)))


@pytest.mark.parametrize(
    ("change", "mine", "theirs", "way_out"),
    [
        ({"version": [3, 99, 1]}, "CPython 3.", "the leader runs CPython 3.99.1", "start workers with Python 3.99: --worker-python"),
        ({"implementation": "PyPy"}, "CPython 3.", "the leader runs PyPy 3.", "--worker-python"),
    ],
)
def test_another_python_is_told_before_anything_is_fetched(tmp_path, store, server, change, mine, theirs, way_out):
    config = over_http(store, server)
    config["leader"] |= change
    behind, _, status = start(tmp_path / "home", config)
    text = told(behind)
    assert status == 1
    assert text.startswith(f"host {HOST} has {mine}")
    assert all(part in text for part in (f"({PYTHON})", theirs, f"({sys.executable})", way_out, f"(now {PYTHON})"))
    assert server.asked == []


@pytest.mark.parametrize(
    ("spoil", "cause", "asked"),
    [
        (lambda config, store: config["environment"].update(JOBSYS_STORE_TOKEN="wrong"), "HTTP Error 401", 1),
        (lambda config, store: (store / "core.zip").unlink(), "HTTP Error 404", 1),
        (lambda config, store: (store / "core.zip").write_bytes(b"changed"), "changed in the store", 5),
        (lambda config, store: config["environment"].update(JOBSYS_STORE_URL="http://127"), "HTTP Error 401", 1),
    ],
)
def test_what_does_not_pass_is_told_with_host_cause_and_way_out(tmp_path, store, server, spoil, cause, asked):
    config = over_http(store, server)
    spoil(config, store)
    quick = bootstrap_source().replace(f"= {bootstrap.TRIES}, {bootstrap.PAUSE},", f"= {bootstrap.TRIES}, 0.01,")
    assert quick != bootstrap_source()
    behind, _, status = start(tmp_path / "home", config, command=[PYTHON, "-I", "-S", "-c", quick])
    text = told(behind)
    assert status == 1
    assert text.startswith(f"host {HOST} can't fetch jobsys itself from {server.url}/core.zip: ")
    assert cause in text
    assert text.endswith("Can it be reached there? Else set --store-address")
    assert len(server.asked) == asked
    assert TOKEN not in text


def test_a_store_that_is_not_mounted_is_told(tmp_path, store, monkeypatch):
    config = configuration(store, store.as_uri(), HELLO)
    config["core"]["url"] = "file:///no/such/store/core.zip"
    monkeypatch.setattr(bootstrap, "PAUSE", 0)
    with pytest.raises(bootstrap.Failure, match=r"No such file.* Is the job store's directory mounted there\?"):
        bootstrap.fetch(config["core"]["url"], config["core"]["sha256"])


@pytest.mark.parametrize("line", [b"", b'{"leader": '])
def test_a_leader_that_hangs_up_is_told_to_who_still_listens(tmp_path, line):
    ended = subprocess.run([PYTHON, "-I", "-S", "-c", bootstrap_source()], input=line, capture_output=True)
    assert ended.returncode == 1
    assert told(ended.stdout.removeprefix(b"\njobsys stream 1\n")) == f"host {HOST}: the leader hung up before it said what to start"


def test_what_nobody_thought_of_is_told_with_where_it_happened(tmp_path, store):
    behind, _, status = start(tmp_path / "home", {"leader": {}, "python": PYTHON})
    assert status == 1
    assert told(behind).startswith(f"host {HOST} ({PYTHON}): the bootstrap failed:\nTraceback")
    assert "KeyError: 'implementation'" in told(behind)
