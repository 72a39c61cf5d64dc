"""Runs that a leader on the head starts on the bare hosts, to be watched and disturbed while they go on. Decides nothing about them."""

import json
import os
import pwd
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, Hosts  # type: ignore[import-not-found]
from shipping.workshop import Workshop  # type: ignore[import-not-found]

PRELUDE: Final = '''
import os, socket, subprocess, sys, time
import jobsys

def note(word):
    """Write a line to this host's side log, which outlives everything."""
    with open("/persist/side", "a") as stream:
        stream.write(f"{word}\\n")

def await_file(name):
    """Wait until the test says so."""
    deadline = time.monotonic() + 60
    while not os.path.exists(f"/persist/{name}"):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.02)
'''
START: Final = """
if __name__ == "__main__":
    options = jobsys.argument_parser().parse_args()
    print(jobsys.run(main(), options))
"""
WHERE: Final = """
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
GATED: Final = """
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
FAMILY: Final = """
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
ANSWER: Final = "def answer():\n    return 42\n"
WAIT: Final = 40.0
CACHE: Final = f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/jobsys"  # on a host, where ssh starts at home


@dataclass
class Started:
    """A run that goes on: its leader's process as this machine sees it, and its store."""

    process: "subprocess.Popen[str]"
    store: str
    script: str

    def end(self, timeout: float = WAIT) -> "subprocess.CompletedProcess[str]":
        """Wait for the leader; give what it printed."""
        out, err = self.process.communicate(timeout=timeout)
        return subprocess.CompletedProcess([], self.process.returncode, out, err)


class Field:
    """The pretend hosts and the leader's environment, with short words for what tests do with them."""

    def __init__(self, hosts: Hosts, workshop: Workshop) -> None:
        self.hosts = hosts
        self.workshop = workshop

    @cached_property
    def bin(self) -> Path:
        return self.workshop.shared / "bin"

    @property
    def environment(self) -> dict[str, str]:
        home = self.workshop.base / "home"
        home.mkdir(exist_ok=True)
        (self.workshop.base / "stores").mkdir(exist_ok=True)
        return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def script(self, body: str, **files: str) -> str:
        """Write a script, and modules beside it; give its path. Nothing of earlier tests is left in the side logs."""
        project = self.workshop.base / "projects" / f"trouble-{time.time_ns()}"
        self.workshop.write(project, {"flow.py": PRELUDE + body + START, **{f"{name}.py": text for name, text in files.items()}})
        for host in (HEAD, *BARE):
            for name in ("side", "go"):
                (self.hosts.persist(host) / name).unlink(missing_ok=True)
        return str(project / "flow.py")

    def words(self, script: str, store: str, *options: str, hosts: Sequence[str] = BARE) -> list[str]:
        """Give the command line of a run; options win over those that it has anyway."""
        way = ["--batch-system", "ssh", "--hosts", ",".join(hosts), "--worker-python", self.hosts.python, "--store-address", HEAD_ADDRESS]
        way += ["--ssh", "ssh -o BatchMode=yes -o ConnectTimeout=2"]
        return [f"{self.bin}/python", script, store, "--progress", "off", "--durability", "kill", *way, *options]

    def start(self, script: str, *options: str, hosts: Sequence[str] = BARE, store: str = "", **environment: str) -> Started:
        """Start a run and go on."""
        store = store or self.workshop.new_store()
        argv = self.words(script, store, *options, hosts=hosts)
        return Started(self.hosts.start(HEAD, argv, str(Path(script).parent), {**self.environment, **environment}), store, script)

    def run(
        self, script: str, *options: str, hosts: Sequence[str] = BARE, store: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Start a run and wait for its end."""
        return self.start(script, *options, hosts=hosts, store=store, **environment).end(60)

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Give a command of jobsys on the head."""
        return self.hosts.run(HEAD, [f"{self.bin}/jobsys", *words], str(self.workshop.base), self.environment)

    def side(self, *hosts: str) -> list[str]:
        """Read what jobs noted on hosts (all of them, if none is named)."""
        logs = [self.hosts.persist(host) / "side" for host in hosts or (HEAD, *BARE)]
        return [line for log in logs if log.exists() for line in log.read_text().splitlines()]

    def go(self, *hosts: str) -> None:
        """Let jobs go on that wait for the file ``go`` of their host."""
        for host in hosts or BARE:
            (self.hosts.persist(host) / "go").touch()

    def leader(self, store: str) -> int:
        """Give the number that the leader has on the head."""
        found = [pid for pid, line in self.hosts.processes(HEAD).items() if store in line and "flow.py" in line]
        assert len(found) == 1, self.hosts.processes(HEAD)
        return found[0]

    def signal(self, number: str, store: str) -> None:
        """Send a signal to a leader."""
        assert self.hosts.run(HEAD, ["kill", f"-{number}", str(self.leader(store))]).returncode == 0

    def nothing_is_left(self, *hosts: str, within: float = 15.0) -> None:
        """Check that no process and no temporary directory of a run is on hosts, soon."""
        for host in hosts or (HEAD, *BARE):
            deadline = time.monotonic() + within
            while running := self.hosts.processes(host):
                assert time.monotonic() < deadline, f"{host} runs {running}"
                time.sleep(0.1)
            left = self.hosts.run(host, ["find", "/tmp", "-mindepth", "1", "-maxdepth", "1", "-name", "jobsys-*-*"]).stdout.split()
            assert [path for path in left if "-away-" not in path and "-cache-" not in path] == [], f"on {host}"


def until(true: Callable[[], object], within: float = WAIT, otherwise: Callable[[], object] = lambda: "it did not happen") -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """Give all that a run printed."""
    return f"status {done.returncode}\n{done.stdout}\n{done.stderr}"


def attempts(field: Field, store: str) -> list[dict[str, Any]]:
    """List the attempts of a run's jobs that printed something or failed, as ``jobsys logs`` tells them."""
    told = field.ask("logs", store, "*", "--json")
    assert told.returncode == 0, said(told)
    return [{"name": job["name"], **attempt} for job in json.loads(told.stdout) for attempt in job["attempts"]]
