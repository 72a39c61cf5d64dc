"""The pretend hosts are what the tests of shipping believe them to be."""

import subprocess
import sys
from pathlib import Path

import pytest

from shipping import hosts as harness  # type: ignore[import-not-found]
from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, Hosts  # type: ignore[import-not-found]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("host", BARE)
def test_a_bare_host_has_nothing_of_the_leader(hosts: Hosts, host: str) -> None:
    (hosts.base / "only-here").write_text("leader")
    assert hosts.run(HEAD, ["cat", f"{hosts.base}/only-here"]).stdout == "leader"
    for place in hosts.hidden():
        found = hosts.run(host, ["sh", "-c", 'ls -A "$0" 2>/dev/null || true', place]).stdout.split()
        assert set(found) <= {".ssh", ".cache"}, f"{host} has {place}"  # a cache of its own, if it ran jobs before


@pytest.mark.parametrize("host", BARE)
def test_a_bare_host_has_a_python_with_nothing_but_decoys(hosts: Hosts, host: str) -> None:
    told = hosts.run(host, [hosts.python, "-c", "import sys, json; print(sys.version_info[:2])"])
    assert told.stdout == f"{sys.version_info[:2]}\n", told.stderr
    for name in ("jobsys", "msgspec", "helper"):
        asked = hosts.run(host, [hosts.python, "-c", f"import {name}"])
        assert "a decoy on the worker was imported" in asked.stderr
    assert "No module named" in hosts.run(host, [hosts.python, "-c", "import psutil"]).stderr


def test_commands_get_their_environment_directory_input_and_exit_status(hosts: Hosts) -> None:
    done = hosts.run(
        "n3", ["sh", "-c", "cat; pwd; env; hostname; exit 7"], cwd="/usr", env={"PATH": "/usr/bin:/bin", "A": "b c"}, stdin="in\n"
    )
    assert done.returncode == 7
    lines = done.stdout.splitlines()
    assert lines[:2] == ["in", "/usr"]
    assert lines[-1] == "n3"
    assert "A=b c" in lines
    assert not [line for line in lines if line.startswith(("HOME=", "JOBSYS_"))]


def test_files_are_put_on_one_host_only(hosts: Hosts) -> None:
    hosts.put("n3", {"/opt/put here/ä.txt": "text", "/opt/put here/b.bin": b"\x00"})
    assert hosts.run("n3", ["cat", "/opt/put here/ä.txt"]).stdout == "text"
    assert hosts.run("n4", ["ls", "/opt/put here"]).returncode != 0


def test_the_head_reaches_hosts_by_ssh_and_they_reach_the_head(hosts: Hosts) -> None:
    assert hosts.run(HEAD, ["ssh", "-o", "BatchMode=yes", "n3", "hostname"]).stdout == "n3\n"
    serve = (
        "import http.server, shlex, subprocess, threading\n"
        "server = http.server.HTTPServer(('0.0.0.0', 0), http.server.SimpleHTTPRequestHandler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        f"url = f'http://{HEAD_ADDRESS}:{{server.server_port}}/served.txt'\n"
        "code = f'import urllib.request; print(urllib.request.urlopen({url!r}).read())'\n"
        f"command = shlex.join([{hosts.python!r}, '-c', code])\n"
        "print(subprocess.run(['ssh', 'n4', command], capture_output=True, text=True))\n"
    )
    (hosts.base / "served.txt").write_text("through the network")
    (hosts.base / "serve.py").write_text(serve)
    done = hosts.run(HEAD, [hosts.python, f"{hosts.base}/serve.py"], cwd=str(hosts.base))
    assert "through the network" in done.stdout, done.stdout + done.stderr


def test_the_script_is_found_by_the_environment_or_beside_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOSTS_SCRIPT", str(tmp_path / "hosts.sh"))
    assert harness.find_script() == tmp_path / "hosts.sh"
    assert "set TEST_HOSTS_SCRIPT" in (harness.missing() or "")
    monkeypatch.delenv("TEST_HOSTS_SCRIPT")
    monkeypatch.setattr(harness, "REPOSITORY", tmp_path / "repository")
    assert harness.find_script() is None
    beside = tmp_path / "shared" / harness.SCRIPT
    beside.parent.mkdir(parents=True)
    beside.write_text("")
    assert harness.find_script() == beside


def test_nothing_is_left_when_hosts_go_down(tmp_path: Path, hosts: Hosts) -> None:
    with Hosts(tmp_path / "other") as other:
        running = subprocess.Popen([*other._command("run"), "n3", "sleep", "600"], cwd="/")
        assert other.run("n3", ["hostname"]).stdout == "n3\n"
    assert running.wait(timeout=10) != 0
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert hosts.run("n3", ["hostname"]).stdout == "n3\n"
