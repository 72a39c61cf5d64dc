"""Runs on hosts as people meet them: a store on a third host, new code, commands, and jobs that ask much."""

import re
import time
from pathlib import Path

import pytest

from shipping.field import ANSWER, CACHE, GATED, WHERE, Field, said, until  # type: ignore[import-not-found]
from shipping.hosts import BARE  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash]


# ── stores and commands ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_behind_a_server_on_a_third_host(field: Field) -> None:
    script = field.script(WHERE)
    assert field.run(script, hosts=("n4",)).returncode == 0  # so n4 has an environment with jobsys
    (program,) = field.hosts.run("n4", ["sh", "-c", f"ls -t {CACHE}/env-*/env/bin/jobsys | head -1"]).stdout.split()
    words = [program, "serve", f"file:/persist/served-{time.time_ns()}", "--new", "--address", "n4"]
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
    script = field.script(f"import helper\n{body}", helper=ANSWER)
    stores = []
    for _ in range(2):
        started = field.start(script)
        stores.append(started.store)
        until(lambda: len(field.side()) == 2 * len(stores))
        field.signal("INT", started.store)
        assert started.end().returncode == 130
    field.workshop.write(Path(script).parent, {"helper.py": ANSWER.replace("42", "'edited'")})
    field.go()
    new = field.run(script, "--restart", store=stores[0])
    assert (new.returncode, new.stdout) == (0, "['edited', 'edited']\n"), said(new)
    assert "helper.py" in new.stderr
    old = field.run(script, "--restart", "--same-code", store=stores[1])
    assert (old.returncode, old.stdout) == (0, "[42, 42]\n"), said(old)


def test_commands_name_the_hosts(field: Field) -> None:
    greeting = 'print(f"hello from {socket.gethostname()}"); note("began")'
    script = field.script(GATED.replace('note(f"began {number}")', greeting))
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
        return answer.status, socket.gethostname() != place[0]

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
