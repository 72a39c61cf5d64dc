"""Shipping when hosts can't be used or go away, and when leaders do: nothing is lost, charged or left behind."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shipping.field import CACHE, FAMILY, GATED, WHERE, Field, attempts, said, until  # type: ignore[import-not-found]
from shipping.hosts import BARE  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash]


# ── hosts that can't be used ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_host_that_is_not_there_is_told_once_and_the_others_go_on(field: Field) -> None:
    script = field.script(WHERE)
    done = field.run(script, hosts=("nowhere", "n3"))
    assert done.returncode == 0, said(done)
    assert done.stdout == "['n3']\n"
    assert done.stderr.count("Could not resolve hostname nowhere") == 1, said(done)
    assert sorted(field.side("n3")) == [f"ran {number}" for number in range(8)]


def test_with_no_host_left_each_is_named_with_its_cause(field: Field) -> None:
    script = field.script(WHERE)
    with small_disk(field, "n4", os.path.dirname(CACHE)):
        done = field.run(script, hosts=("nowhere", "stranger@n3", "n4"))
        assert done.returncode in (1, 2), said(done)
        assert "Traceback" not in done.stderr
        last = done.stderr[done.stderr.index("there is no host that jobs can run on") :]
        assert re.search(r"\nnowhere: .*\n?.*Could not resolve hostname", last), said(done)
        assert re.search(r"\nstranger@n3: .*\n?.*Permission denied", last), said(done)
        assert re.search(r"\nn4: .*(full|No space left)", last), said(done)
        assert field.side() == []
    field.nothing_is_left()


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_host_without_room_for_code_is_told_once_and_the_others_go_on(field: Field, trouble: str) -> None:
    script = field.script(WHERE)
    options = "size=2m" if trouble == "full" else "size=2m,ro"
    with small_disk(field, "n3", "/opt/small", options):
        field.hosts.run("n4", ["mkdir", "-p", "/opt/small"])
        done = field.run(script, "--env", "JOBSYS_CACHE=/opt/small/cache")
    assert (done.returncode, done.stdout) == (0, "['n4']\n"), said(done)
    cause = "is full|No space left" if trouble == "full" else "Read-only file system|can't be written"
    assert len(re.findall(r"host 'n3' is not used any more: .*", done.stderr)) == 1, said(done)
    assert len(re.findall(cause, done.stderr)) == 1, said(done)
    assert "JOBSYS_CACHE" in done.stderr, said(done)


def test_a_python_that_is_not_on_the_hosts_is_told(field: Field) -> None:
    script = field.script(WHERE)
    done = field.run(script, "--worker-python", "/usr/bin/python9.9")
    assert done.returncode in (1, 2), said(done)
    for host in BARE:
        assert re.search(rf"\n{host}: its shell can't start '/usr/bin/python9.9' \(exit status 127\)", done.stderr), said(done)
    assert "Traceback" not in done.stderr


def test_another_minor_version_is_one_clear_error_and_costs_nothing(field: Field) -> None:
    other, version = other_python(field)
    script = field.script(WHERE.replace("time.sleep(0.3)", "await_file('go')"))
    store = field.workshop.new_store()
    done = field.run(script, "--worker-python", other, store=store)
    assert done.returncode in (1, 2), said(done)
    assert "Traceback" not in done.stderr
    for host in BARE:
        assert f"host {host} has CPython {version}" in done.stderr, said(done)
    assert f"the leader runs CPython {sys.version_info[0]}.{sys.version_info[1]}" in done.stderr
    assert "--worker-python" in done.stderr
    started = field.start(script, store=store)  # nothing was submitted: the same line begins anew
    until(lambda: field.side())
    field.signal("INT", store)
    assert started.end().returncode == 130
    again = field.run(script, "--restart", "--worker-python", other, store=store)
    assert again.returncode in (1, 2), said(again)
    assert f"CPython {version}" in again.stderr
    field.go()
    done = field.run(script, "--restart", store=store)
    assert (done.returncode, done.stdout) == (0, "['n3', 'n4']\n"), said(done)
    assert {attempt["outcome"] for attempt in attempts(field, store)} <= {"done", "canceled"}


# ── hosts that go away ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_host_that_loses_its_power_costs_no_try_and_is_used_again(field: Field) -> None:
    script = field.script(GATED)
    started = field.start(script, "--host-patience", "2")
    until(lambda: field.side("n3") and field.side("n4"))
    lost = len(field.side("n3"))
    field.hosts.off("n3")
    field.hosts.boot("n3")
    field.go("n3")
    until(lambda: any(line.startswith("ended") for line in field.side("n3")), otherwise=lambda: started.end())
    field.go("n4")
    done = started.end()
    assert done.returncode == 0, said(done)
    names = eval(done.stdout)
    assert len(names) == 8
    assert set(names) == {"n3", "n4"}
    assert done.stderr.count("host 'n3' is to be tried again: ") >= 1, said(done)
    assert "Traceback" not in done.stderr
    ended = [line for line in field.side() if line.startswith("ended")]
    assert len(ended) == len(set(ended)) == 8
    losses = [attempt for attempt in attempts(field, started.store) if attempt["outcome"] == "lost"]
    assert 0 < len(losses) <= lost + 8
    assert {attempt["host"] for attempt in losses} == {"n3"}
    field.nothing_is_left()


def test_a_host_that_was_cut_off_makes_a_second_copy_but_no_second_outcome(field: Field) -> None:
    script = field.script(GATED.replace("range(8)", "range(1)"))
    started = field.start(script, "--host-patience", "2")
    until(lambda: field.side())
    away = next(host for host in BARE if field.side(host))
    other = next(host for host in BARE if host != away)
    field.hosts.cut(away)
    try:
        until(lambda: "began 0" in field.side(other))
        field.go(away)
        until(lambda: "ended 0" in field.side(away))
        time.sleep(0.5)  # it tries to tell
    finally:
        field.hosts.join(away)
    field.go(other)
    done = started.end()
    assert done.returncode == 0, said(done)
    assert done.stdout in (f"['{away}']\n", f"['{other}']\n")
    assert f"host '{away}' is to be tried again: nothing was heard from it for 2 s" in done.stderr, said(done)
    outcomes = [attempt for attempt in attempts(field, started.store) if attempt["name"] == "gated" and attempt["outcome"] == "done"]
    assert len(outcomes) == 1, outcomes
    field.nothing_is_left()


def test_an_agent_that_hears_nothing_of_its_leader_leaves_nothing(field: Field) -> None:
    script = field.script(FAMILY)
    started = field.start(script, "--host-patience", "1.5")
    until(lambda: all(any(line.startswith("slow") for line in field.side(host)) for host in BARE), otherwise=lambda: said(started.end()))
    field.hosts.cut("n4")
    try:
        field.nothing_is_left("n4")
        field.go("n3")
        done = started.end()
        assert (done.returncode, done.stdout) == (0, "6\n"), said(done)
    finally:
        field.hosts.join("n4")
    field.nothing_is_left()


# ── leaders that go away ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("signal", "status"), [("KILL", (-9, 137)), ("INT", (130,))])
def test_a_leader_that_ends_leaves_nothing_anywhere_and_the_run_goes_on(field: Field, signal: str, status: tuple[int, ...]) -> None:
    script = field.script(FAMILY)
    started = field.start(script, "--host-patience", "5")
    until(lambda: all(any(line.startswith("slow") for line in field.side(host)) for host in BARE), otherwise=lambda: said(started.end()))
    assert any("sleep 602" in line for line in field.hosts.processes("n3").values())
    field.signal(signal, started.store)
    done = started.end()
    assert done.returncode in status, said(done)
    field.nothing_is_left()
    field.go()
    again = field.run(script, "--restart", store=started.store)
    assert (again.returncode, again.stdout) == (0, "6\n"), said(again)
    quick = sorted(line for line in field.side() if line.startswith("quick"))
    assert quick == [f"quick {number}" for number in range(6)], "committed jobs ran again"
    field.nothing_is_left()


# ── what the tests above share ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(field: Field, host: str, path: str, options: str = "size=2m") -> Iterator[None]:
    """Put a small disk at a path of a host."""
    made = field.hosts.run(host, ["sh", "-c", 'mkdir -p "$0" && mount -t tmpfs -o "$1" none "$0"', path, options])
    assert made.returncode == 0, said(made)
    try:
        yield
    finally:
        gone = field.hosts.run(host, ["umount", path])
        assert gone.returncode == 0, said(gone)


def other_python(field: Field) -> tuple[str, str]:
    """Give the hosts an interpreter of another minor version; its path there, and its version."""
    found = next(filter(None, (installed(field, each) for each in other_pythons())), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no other Python 3 beside {sys.base_prefix}")
    return found


def other_pythons() -> list[Path]:
    """List the interpreters of other minor versions beside the one that runs this."""
    versions = Path(sys.base_prefix).parent
    named = re.compile(r"python3\.(\d+)")
    found = [(match, path) for path in versions.glob("*/bin/python3.*") if (match := named.fullmatch(path.name))]
    return sorted((path for match, path in found if int(match[1]) not in {sys.version_info[1], *range(6)}), reverse=True)


def installed(field: Field, interpreter: Path) -> tuple[str, str] | None:
    """Put an interpreter on the hosts, with its standard library; give its path there, and its version, if it runs there."""
    prefix, home = interpreter.parent.parent, f"/opt/{interpreter.name}"
    left_out = [f"--exclude={name}" for name in ("test", "site-packages", "config-*", "__pycache__", "*.a", "ensurepip")]
    parts = [f"bin/{interpreter.name}", "lib"]
    packed = subprocess.run(["tar", "-c", "-C", prefix, *left_out, *parts], capture_output=True, check=True).stdout
    start = f'#!/bin/sh\nLD_LIBRARY_PATH={home}/lib exec {home}/bin/{interpreter.name} "$@"\n'
    for host in BARE:
        field.hosts.run(host, ["mkdir", "-p", home])
        field.hosts.run(host, ["tar", "-x", "-C", home], stdin=packed)
        field.hosts.put(host, {f"{home}/start": start})
        field.hosts.run(host, ["chmod", "+x", f"{home}/start"])
    told = field.hosts.run(BARE[0], [f"{home}/start", "-I", "-S", "-c", "import platform; print(platform.python_version())"])
    return (f"{home}/start", told.stdout.strip()) if told.returncode == 0 else None
