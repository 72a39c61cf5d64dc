"""Shipping when things go wrong: hosts that are not there, die or lie; leaders that are killed; caches that rot."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shipping.field import CACHE, Field, said, until  # type: ignore[import-not-found]
from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, Hosts  # type: ignore[import-not-found]
from shipping.workshop import Workshop  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash]

WHERE = """
@jobsys.job(memory="50M", retries=0)
def where(number):
    note(f"ran {number}")
    time.sleep(0.3)
    return socket.gethostname()

@jobsys.job(memory="50M")
def main():
    return both([where(number) for number in range(8)])

@jobsys.job(memory="50M")
def both(names):
    return sorted(set(names))
"""


@pytest.fixture(scope="session")
def field(hosts: Hosts, workshop: Workshop) -> Field:
    return Field(hosts, workshop)


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
    with small_disk(field, "n4", "/root/.cache"):
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

GATED = """
@jobsys.job(memory="50M", retries=0)
def gated(number):
    note(f"began {number}")
    await_file("go")
    note(f"ended {number}")
    return socket.gethostname()

@jobsys.job(memory="50M")
def main():
    return listed([gated(number) for number in range(8)])

@jobsys.job(memory="50M")
def listed(names):
    return names
"""


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


# ── leaders that go away ─────────────────────────────────────────────────────────────────────────────────────────────

FAMILY = """
@jobsys.job(memory="50M", retries=0)
def quick(number):
    note(f"quick {number}")
    return number

@jobsys.job(memory="100M", retries=0)
def slow(number, before):
    here = jobsys.current().temp_dir
    subprocess.Popen(["sleep", "601"], cwd=here)
    subprocess.Popen(["sleep", "602"], start_new_session=True, cwd="/")
    note(f"slow {number}")
    await_file("go")
    return number

@jobsys.job(memory="50M")
def main():
    before = [quick(number) for number in range(6)]
    return added([slow(number, before) for number in range(4)])

@jobsys.job(memory="50M")
def added(numbers):
    return sum(numbers)
"""


@pytest.mark.parametrize(("signal", "status"), [("KILL", -9), ("INT", 130)])
def test_a_leader_that_ends_leaves_nothing_anywhere_and_the_run_goes_on(field: Field, signal: str, status: int) -> None:
    script = field.script(FAMILY)
    started = field.start(script, "--host-patience", "5")
    until(lambda: all(any(line.startswith("slow") for line in field.side(host)) for host in BARE), otherwise=lambda: said(started.end()))
    assert any("sleep 602" in line for line in field.hosts.processes("n3").values())
    field.signal(signal, started.store)
    done = started.end()
    assert done.returncode in (status, 128 - status), said(done)
    field.nothing_is_left()
    field.go()
    again = field.run(script, "--restart", store=started.store)
    assert (again.returncode, again.stdout) == (0, "6\n"), said(again)
    quick = sorted(line for line in field.side() if line.startswith("quick"))
    assert quick == [f"quick {number}" for number in range(6)], "committed jobs ran again"
    field.nothing_is_left()


# ── the hosts' cache ─────────────────────────────────────────────────────────────────────────────────────────────────

HELPED = """
import helper
import msgspec

@jobsys.job(memory="50M")
def main():
    note("ran")
    return helper.answer(), msgspec.__version__ != "decoy"
"""
HELPER = "def answer():\n    return 42\n"


def test_a_second_run_downloads_nothing(field: Field) -> None:
    script = field.script(HELPED, helper=HELPER)
    assert field.run(script, hosts=("n3",)).stdout == "(42, True)\n"
    before = field.hosts.run("n3", ["find", CACHE, "-mindepth", "1", "-maxdepth", "2", "-type", "d", "-printf", "%p %i %C@\n"]).stdout
    assert "/env-" in before
    done = field.run(script, hosts=("n3",))
    assert done.stdout == "(42, True)\n"
    assert "sent 0" not in done.stderr  # a new store: the leader sends all, the host fetches none
    after = field.hosts.run("n3", ["find", CACHE, "-mindepth", "1", "-maxdepth", "2", "-type", "d", "-printf", "%p %i %C@\n"]).stdout
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_two_runs_share_a_cold_cache(field: Field) -> None:
    script = field.script(HELPED, helper=HELPER)
    field.hosts.run("n3", ["rm", "-rf", CACHE])
    both = [field.start(script, hosts=("n3",)) for _ in range(2)]
    ends = [each.end() for each in both]
    assert [(done.returncode, done.stdout) for done in ends] == [(0, "(42, True)\n")] * 2, said(ends[0]) + said(ends[1])
    places = field.hosts.run("n3", ["find", f"{CACHE}/code", CACHE, "-mindepth", "1", "-maxdepth", "1", "-type", "d"]).stdout.split()
    assert not [place for place in places if ".part-" in place]
    assert len([place for place in places if "/env-" in place]) == 1


def test_what_runs_is_not_evicted_whatever_the_limit(field: Field) -> None:
    lazy = field.script(
        GATED.replace("range(8)", "range(1)").replace('note(f"ended {number}")', "import helper; note(helper.answer())"), helper=HELPER
    )
    limit = ("--env", "JOBSYS_CACHE_LIMIT=1k")
    running = field.start(lazy, *limit, hosts=("n3",))
    until(lambda: field.side("n3"))
    side = field.hosts.persist("n3") / "side"
    other = field.workshop.base / "projects" / "other"
    field.workshop.write(other, {"flow.py": Path(lazy).read_text(), "helper.py": "def answer():\n    return 43\n"})
    beside = field.start(str(other / "flow.py"), *limit, hosts=("n3",))
    until(lambda: side.read_text().count("began") == 2)
    field.go("n3")
    for done in (running.end(), beside.end()):
        assert (done.returncode, done.stdout) == (0, "['n3']\n"), said(done)
    assert sorted(field.side("n3"))[:2] == ["42", "43"]


ROT = """
import compileall, glob, importlib.util, marshal, os, struct, sys
cache, what = sys.argv[1:]
if what == "own code":
    paths = glob.glob(f"{cache}/code/*/*/helper.py")
elif what == "a distribution":
    paths = glob.glob(f"{cache}/env-*/env/lib/python3*/site-packages/msgspec/__init__.py")
else:
    sources = glob.glob(f"{cache}/code/*/*/helper.py")
    paths = [path for source in sources for path in glob.glob(f"{os.path.dirname(source)}/__pycache__/helper.*.pyc")]
assert paths, os.listdir(cache)
for path in paths:
    found = os.stat(path)
    data = open(path, "rb").read()
    if path.endswith(".pyc"):
        bad = data[:16] + marshal.dumps(compile("def answer():\\n    return 66\\n", "helper.py", "exec"))
    else:
        bad = data.replace(b"42", b"66", 1) if b"42" in data else b"1/0  # rotten\\n" + data[14:]
    with open(path, "r+b") as stream:
        stream.write(bad)
        stream.truncate()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
print(len(paths))
"""


@pytest.mark.parametrize("what", ["own code", "a distribution", "bytecode"])
def test_what_rots_in_a_cache_is_repaired_before_it_is_imported(field: Field, what: str) -> None:
    script = field.script(HELPED, helper=HELPER)
    assert field.run(script, hosts=("n3",)).stdout == "(42, True)\n"
    rotten = field.hosts.run("n3", [field.hosts.python, "-c", ROT, CACHE, what])
    assert rotten.stdout.strip() >= "1", said(rotten)
    done = field.run(script, hosts=("n3",))
    assert (done.returncode, done.stdout) == (0, "(42, True)\n"), said(done)


@pytest.mark.parametrize("what", ["own code", "a distribution"])
def test_an_archive_that_was_damaged_in_the_store_is_refused_by_name(field: Field, what: str) -> None:
    script = field.script(GATED.replace("range(8)", "range(1)") + HELPED.partition("@")[0], helper=f"{HELPER}# {time.time_ns()}\n")
    started = field.start(script, hosts=("n3",))
    until(lambda: field.side("n3"))
    field.signal("INT", started.store)
    assert started.end().returncode == 130
    archives = Path(started.store.removeprefix("file:"))
    path = archive_of(archives, b"helper.py" if what == "own code" else b"site/msgspec/__init__.py")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    field.hosts.run("n3", ["rm", "-rf", CACHE])
    ran = field.side("n3")
    done = field.run(script, "--restart", store=started.store, hosts=("n3",))
    assert done.returncode in (1, 2), said(done)
    assert path.name in done.stderr, said(done)
    assert "Traceback" not in done.stderr, said(done)
    assert field.side("n3") == ran, "a job ran with damaged code"
    path.unlink()
    field.go("n3")
    mended = field.run(script, "--restart", store=started.store, hosts=("n3",))
    assert (mended.returncode, mended.stdout) == (0, "['n3']\n"), said(mended)


# ── stores and commands ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_behind_a_server_on_a_third_host(field: Field) -> None:
    script = field.script(WHERE)
    assert field.run(script, hosts=("n4",)).returncode == 0  # so n4 has an environment with jobsys
    (program,) = field.hosts.run("n4", ["sh", "-c", f"ls -t {CACHE}/env-*/env/bin/jobsys | head -1"]).stdout.split()
    words = [program, "serve", "file:/persist/served", "--new", "--address", "n4"]
    token = {"JOBSYS_STORE_TOKEN": "token-of-the-test"}
    server = field.hosts.start("n4", words, env={"PATH": "/usr/bin:/bin", "HOME": "/root", **token})
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split(" at ")[1].split(",")[0]
        done = field.run(script, store=url, hosts=("n3",), **token)
        assert (done.returncode, done.stdout) == (0, "['n3']\n"), said(done)
        assert "token-of-the-test" not in done.stderr
        again = field.run(script, "--restart", store=url, hosts=("n3",), **token)
        assert (again.returncode, again.stdout) == (0, "['n3']\n"), said(again)
    finally:
        for pid, line in field.hosts.processes("n4").items():
            if "serve" in line:
                field.hosts.run("n4", ["kill", "-INT", str(pid)])
        server.communicate(timeout=10)
    field.nothing_is_left()


def test_a_restart_takes_new_code_or_the_old_one(field: Field) -> None:
    body = GATED.replace("range(8)", "range(2)").replace("return socket.gethostname()", "return helper.answer()")
    script = field.script(f"import helper\n{body}", helper=HELPER)
    stores = []
    for _ in range(2):
        started = field.start(script)
        stores.append(started.store)
        until(lambda: len(field.side()) == 2 * len(stores))
        field.signal("INT", started.store)
        assert started.end().returncode == 130
    field.workshop.write(Path(script).parent, {"helper.py": HELPER.replace("42", "'edited'")})
    field.go()
    new = field.run(script, "--restart", store=stores[0])
    assert (new.returncode, new.stdout) == (0, "['edited', 'edited']\n"), said(new)
    assert "helper.py" in new.stderr
    old = field.run(script, "--restart", "--same-code", store=stores[1])
    assert (old.returncode, old.stdout) == (0, "[42, 42]\n"), said(old)


def test_commands_name_the_hosts(field: Field) -> None:
    script = field.script(GATED.replace('note(f"began {number}")', 'print(f"hello from {socket.gethostname()}", flush=True); note("began")'))
    started = field.start(script)
    until(lambda: field.side("n3") and field.side("n4"))

    def shown() -> str:
        return field.ask("status", started.store).stdout

    until(lambda: " n3 " in shown() and " n4 " in shown(), otherwise=shown)
    killed = field.ask("kill", started.store)
    assert killed.returncode == 0, said(killed)
    done = started.end()
    assert done.returncode == 130, said(done)
    field.nothing_is_left()
    field.go()
    restarted = field.ask("restart", started.store)
    assert restarted.returncode == 0, said(restarted)
    logs = field.ask("logs", started.store).stdout
    for host in BARE:
        assert f"hello from {host}" in logs
        assert re.search(rf"on {host}\b", logs.replace(f"hello from {host}", "")), logs


# ── jobs that ask much ───────────────────────────────────────────────────────────────────────────────────────────────

MUCH = """
SIZE = 50_000_000

class Echo(jobsys.Service):
    def __init__(self):
        super().__init__(memory="50M", cores=0.5)

    def start(self, context):
        import http.server, threading
        server = http.server.HTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return socket.gethostname(), server.server_port

    def stop(self, context):
        note("stopped")

class Client(jobsys.Job):
    def __init__(self):
        super().__init__(memory="20M", cores=0.1)

    def run(self, context):
        place = self.add_service(Echo())
        return self.add_follow_on_fn(int, 1, memory="20M").rv(), self.add_child_fn(ask, place, memory="20M", cores=2).rv()

def ask(place):
    import urllib.request
    with urllib.request.urlopen(f"http://{place[0]}:{place[1]}/", timeout=10) as answer:
        return answer.status, socket.gethostname() != ""

@jobsys.job(memory="50M")
def chatter():
    for number in range(20_000):
        print("x" * 99, number)
    print("the last line")

@jobsys.job(memory="300M")
def large():
    return os.urandom(1000) * (SIZE // 1000)

@jobsys.job(memory="300M")
def written(data):
    context = jobsys.current()
    with context.write_stream("big") as (stream, file):
        stream.write(data)
    return file, len(data)

@jobsys.job(memory="300M", disk="200M")
def read(file, data):
    with open(jobsys.current().read_file(file), "rb") as stream:
        return stream.read() == data

@jobsys.job(memory="50M")
def tree(depth):
    return depth if not depth else added([tree(depth - 1), tree(depth - 1)])

@jobsys.job(memory="50M")
def added(numbers):
    return sum(numbers) + 1

@jobsys.job(memory="100M")
def daemons():
    subprocess.Popen(["sleep", "603"], start_new_session=True, cwd="/")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "604"])
        os._exit(0)
    os.wait()
    return "left two"

@jobsys.job(memory="50M")
def main():
    data = large()
    file, size = written(data)[0], written(data)[1]
    return chatter(), size, read(file, data), tree(3), daemons(), Client().rv()
"""


def test_jobs_may_ask_much_and_leave_nothing(field: Field) -> None:
    script = field.script(MUCH)
    started = field.start(script)
    done = started.end(60)
    assert done.returncode == 0, said(done)
    assert done.stdout == "(None, 50000000, True, 7, 'left two', (1, (200, True)))\n", said(done)
    assert field.side() == ["stopped"]
    assert "the last line" in field.ask("logs", started.store, "chatter").stdout
    field.nothing_is_left()


LIMITS = """
@jobsys.job(memory="50M", walltime=1, retries=0)
def long():
    subprocess.Popen(["sleep", "605"], start_new_session=True)
    time.sleep(600)

@jobsys.job(memory="60M", retries=0)
def fat():
    keep = bytearray(os.urandom(1) * 300_000_000)
    time.sleep(600)
    return len(keep)

@jobsys.job(memory="50M")
def main():
    return [long(), fat()]
"""


def test_limits_hold_on_hosts(field: Field) -> None:
    script = field.script(LIMITS)
    done = field.run(script, "--max-retry-memory", "60M", hosts=("n3",))
    assert done.returncode == 1, said(done)
    assert "2 jobs failed" in done.stderr
    assert "ran longer than its walltime of 1 s" in done.stderr, said(done)
    assert "more than the 60 MB it asked for" in done.stderr, said(done)
    assert len(re.findall(r"\bn3\b", done.stderr)) >= 2, said(done)
    field.nothing_is_left()


# ── what the tests above share ───────────────────────────────────────────────────────────────────────────────────────


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


def attempts(field: Field, store: str) -> list[dict[str, Any]]:
    """List the attempts of a run's jobs that printed something or failed, as ``jobsys logs`` tells them."""
    told = field.ask("logs", store, "*", "--json")
    assert told.returncode == 0, said(told)
    return [{"name": job["name"], **attempt} for job in json.loads(told.stdout) for attempt in job["attempts"]]


def archive_of(store: Path, name: bytes) -> Path:
    """Find the archive in a store whose directory names a file."""
    found = [path for path in store.rglob("*") if path.is_file() and "journal" not in str(path) and name in path.read_bytes()]
    assert found, sorted(store.rglob("*"))
    return max(found, key=lambda path: path.stat().st_size)


def other_python(field: Field) -> tuple[str, str]:
    """Give the hosts an interpreter of another minor version; its path there, and its version."""
    versions = Path(sys.base_prefix).parent
    for candidate in sorted(versions.glob("*/bin/python3.*")):
        if not re.fullmatch(r"python3\.\d+", candidate.name) or candidate.name == f"python3.{sys.version_info[1]}":
            continue
        prefix, home = candidate.parent.parent, f"/opt/{candidate.name}"
        packed = subprocess.run(
            ["tar", "-c", "-C", prefix, "--exclude=test", "--exclude=site-packages", "--exclude=config-*", "--exclude=__pycache__",
             "--exclude=*.a", f"bin/{candidate.name}", "lib"], capture_output=True, check=True,
        ).stdout  # fmt: skip
        for host in BARE:
            field.hosts.run(host, ["mkdir", "-p", home])
            field.hosts.run(host, ["tar", "-x", "-C", home], stdin=packed)
        python = f"{home}/start"
        for host in BARE:
            field.hosts.put(host, {python: f'#!/bin/sh\nLD_LIBRARY_PATH={home}/lib exec {home}/bin/{candidate.name} "$@"\n'})
            field.hosts.run(host, ["chmod", "+x", python])
        told = field.hosts.run(BARE[0], [python, "-I", "-S", "-c", "import platform; print(platform.python_version())"])
        if told.returncode == 0:
            return python, told.stdout.strip()
    lacking = f"no other Python 3 beside {sys.base_prefix}"
    (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
