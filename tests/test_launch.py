"""From options to a batch system: what is refused, what is said, and a run on another host that is this one in disguise."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.jobstores import create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.launch import launch
from jobsys.launch.base import Launch
from jobsys.launch.way import split_store_address
from jobsys.leader.lease import acquire


@pytest.fixture
def refused(tmp_path):
    """Launch with some options; give the message of the refusal, and see that nothing was said or shipped."""

    def attempt(store=None, **options):
        opened = create(store or tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
        said: list[str] = []
        with contextlib.ExitStack() as stack, pytest.raises(UsageError) as caught:
            launch(Launch(Config.of(opened.locator, **options), opened, acquire(opened), stack, said.append))
        assert said == []
        assert list(opened.storage.list("shared/")) == []
        return str(caught.value)

    return attempt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_system": "slum"}, "there is no batch system 'slum': there are 'aws-batch', "),
        ({"batch_option": "partition=long"}, "--batch-option goes with a cluster's scheduler"),
        ({"same_code": True}, "--same-code goes with --restart"),
        ({"batch_system": "ssh"}, "--batch-system ssh needs hosts: --hosts NAME"),
        ({"batch_system": "ssh", "hosts": [",", ""]}, "--batch-system ssh needs hosts"),
        ({"batch_system": "ssh", "hosts": "h", "env": "NOT_SET_HERE"}, "--env NOT_SET_HERE: there is no such variable here"),
        ({"batch_system": "ssh", "hosts": "h", "store_address": "::1:x"}, "--store-address '::1:x' is no address: write NAME, NAME:PORT"),
        ({"batch_system": "ssh", "hosts": "h", "env": "no name"}, "is no name of a variable"),
    ],
)
def test_options_that_make_no_sense(refused, options, message):
    assert message in refused(**options)


@pytest.mark.parametrize("system", ["local", "ssh"])
def test_a_store_in_memory_can_t_be_seen_by_others(refused, system):
    message = refused(f"memory:launch-{system}", batch_system=system, hosts="h")
    assert message.startswith("a memory: job store can't be seen by other processes")


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("", "", 0),
        ("head-1.x", "head-1.x", 0),
        ("head:8080", "head", 8080),
        (":80", "", 80),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("[::1]:8080", "::1", 8080),
        ("[fd00::1]", "fd00::1", 0),
        ("fd00::1", "fd00::1", 0),
    ],
)
def test_where_hosts_reach_the_store(text, address, port):
    assert split_store_address(text) == (address, port)


@pytest.mark.parametrize(
    "text", ["http://head:80", "head:", "head:x", "head:99999", "[::1", "[x::1]:80", "fe80::1%eth0", "a b", "[head]:80"]
)
def test_what_is_no_address_of_the_store(text):
    with pytest.raises(UsageError, match=r"--store-address .* is no address"):
        split_store_address(text)


def test_a_work_directory_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    store = create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    config = Config.of(store.locator, work_dir=tmp_path / "file")
    monkeypatch.setattr("jobsys.launch.local.ship", lambda *_: (None, b""))
    with contextlib.ExitStack() as stack, pytest.raises(UsageError, match="/file is no directory: make it first"):
        launch(Launch(config, store, acquire(store), stack, lambda _: None))


# ── another host ─────────────────────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
import glob, os, subprocess, sys
import jobsys
import helper

def command_lines():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                line = file.read()
        except OSError:
            continue
        if b"JOBSYS" in line or b"jobsys" in line:
            yield line.decode(errors="replace")

def program(name):
    done = subprocess.run([sys.executable, "-m", name], capture_output=True, text=True)
    return done.stdout.strip() or f"{done.returncode}: {done.stderr.strip().rpartition(': ')[2]}"

@jobsys.job
def look():
    import late
    return {
        "programs": [program("late"), program("helper")],
        "variables": dict(os.environ), "argv": sys.argv[1:], "helper": helper.VALUE, "late": late.VALUE,
        "prefix": sys.prefix, "lines": list(command_lines()), "files": [helper.__file__, __file__],
    }

@jobsys.job
def main():
    if os.environ.get("FAIL"): raise ValueError("as asked")
    return look()

if __name__ == "__main__":
    print(jobsys.run(main(), jobsys.argument_parser().parse_args()))
"""

SSH = """#!/bin/sh
# ssh to this very machine, where nothing of the leader's environment is known
shift
exec env -i HOME="$AWAY" PATH="$PATH" {mark} /bin/sh -c "$1"
"""


class Away:
    """A project, and a host to run it on."""

    def __init__(self, folder):
        self.folder = folder
        self.put("app/script.py", SCRIPT)
        self.put("app/helper.py", "VALUE = 1\n")
        self.put("lib/late.py", "VALUE = 'found by its name'\nif __name__ == '__main__': print(VALUE)\n")
        mark = 'JOBSYS_TEST_SESSION="$JOBSYS_TEST_SESSION"'
        self.put("ssh", SSH.replace("{mark}", mark)).chmod(0o755)
        (folder / "away").mkdir()

    def put(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *words, **variables):
        base = getattr(sys, "_base_executable", sys.executable)
        command = [sys.executable, "app/script.py", "store", "--batch-system", "ssh", "--hosts", "pretended", "--ssh", f"{self.folder}/ssh"]
        command += ["--worker-python", base, "--store-address", "127.0.0.1", "--ship-env", "never", "--progress", "off", *words]
        environment = os.environ | {"AWAY": str(self.folder / "away"), "PYTHONPATH": "lib", "OF_THE_LEADER": "hunter0"} | variables
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=110)


@pytest.fixture
def away(tmp_path):
    return Away(tmp_path)


def contents(folder):
    return b"".join(path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file())


@pytest.mark.slow
def test_a_run_on_another_host_takes_what_was_asked_for_and_no_secret(away):
    done = away.run("--env", "GIVEN=hunter1", "--env=TAKEN", "--retries", "0", TAKEN="hunter2", TZ="Asia/Tokyo", LANG="C.UTF-8")
    assert done.returncode == 0, done.stderr
    seen = eval(done.stdout)
    assert (seen["variables"]["GIVEN"], seen["variables"]["TAKEN"]) == ("hunter1", "hunter2")
    assert (seen["variables"]["TZ"], seen["variables"]["LANG"]) == ("Asia/Tokyo", "C.UTF-8")
    assert "OF_THE_LEADER" not in seen["variables"]
    assert seen["variables"]["PYTHONPATH"].startswith(f"{away.folder}/away/"), "where programs that a job starts find lib"
    assert seen["programs"] == ["found by its name", "1: No module named helper"]
    assert "GIVEN" in seen["argv"]
    assert "hunter" not in " ".join(seen["argv"])
    assert (seen["helper"], seen["late"]) == (1, "found by its name")
    assert all(path.startswith(str(away.folder / "away")) for path in (seen["prefix"], *seen["files"]))
    workers = [line for line in seen["lines"] if "app/script.py" not in line]
    assert workers
    assert not [line for line in workers if "hunter" in line]
    result = re.compile(rb"hunter[012]")
    kept = [path for path in (away.folder / "store").rglob("*") if path.is_file() and result.search(path.read_bytes())]
    assert {path.relative_to(away.folder / "store").parts[0] for path in kept} <= {"journal", "values", "snapshots"}, (
        "what the job returned"
    )
    assert re.search(r"shipping [\d.]+ k?B of own code and \d+ distributions \(.*\); sent ", done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6")
def test_a_store_at_an_ipv6_address(away):
    done = away.run("--store-address", "[::1]:0")
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout)["helper"] == 1


@pytest.mark.slow
def test_a_store_that_hosts_can_t_reach_is_told_with_its_address(away):
    done = away.run("--store-address", "127.0.0.9999")
    assert done.returncode == 1
    assert re.search(r"can't fetch jobsys itself from http://127\.0\.0\.9999:\d+/.* --store-address", done.stderr)
    assert "to be tried again" not in done.stderr


@pytest.mark.slow
def test_a_restart_sends_what_changed_and_says_so(away):
    failed = away.run("--retries", "0", "--env", "FAIL=1")
    assert failed.returncode != 0
    assert "as asked" in failed.stderr
    store = away.folder / "store"
    before = sum(path.stat().st_size for path in store.rglob("*.zip"))
    away.put("app/helper.py", "VALUE = 2\n")
    away.put("app/added.py", "")
    (away.folder / "copy").mkdir()
    subprocess.run(["cp", "-a", str(store), str(away.folder / "copy")], check=True)
    done = away.run("--restart")
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout)["helper"] == 2
    lines = done.stderr.splitlines()
    at = lines.index("jobsys: the code is not what it was at the last start (jobs not yet run get the new code; --same-code keeps the old)")
    assert lines[at + 1 : at + 3] == ["  changed: app/helper.py", "  added: app/added.py"]
    assert sum(path.stat().st_size for path in store.rglob("*.zip")) - before < 10_000
    store.rename(away.folder / "done")
    (away.folder / "copy" / "store").rename(store)
    old = away.run("--restart", "--same-code")
    assert old.returncode == 0, old.stderr
    assert eval(old.stdout)["helper"] == 1
    assert "sent 0 B" in old.stderr
    assert "the code is not" not in old.stderr
