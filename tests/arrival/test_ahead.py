"""A task's worker host is started before the task, without what only the task may know."""

import os
import subprocess
import sys

import pytest

from jobsys.arrival import ahead

TELLS = """
import os, socket, sys
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
socket.socket(fileno=int(given["--connect"])).sendall(f"{sys.argv[1]} {os.environ.get('SECRET')} {os.environ.get('OPEN')}".encode())
"""


BEGINS = """
import json, os, sys
from jobsys.arrival import ahead
host = {"arguments": ["word"], "parent": sys.argv[1], "without": ["SECRET"]}
told = ahead.begin(host, [sys.executable, "-c", sys.argv[2]], {"SECRET": "hush", "OPEN": "1"})
os.execve(sys.executable, [sys.executable, "-c", sys.argv[3], *told], told)
"""
FINDS = """
import os, socket, sys
from jobsys import hosting
started = hosting.found(os.environ[sys.argv[1]])
said = socket.socket(fileno=started.connection).recv(1000)
print(said.decode(), started.process.wait(), started.directory)
"""


def test_a_host_begins_with_the_task_s_variables_but_those_that_it_must_not_have(tmp_path):
    words = [sys.executable, "-c", BEGINS, str(tmp_path), TELLS, FINDS]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.startswith(f"word None 1 0 {tmp_path}/jobsys-{os.getuid()}-")


@pytest.mark.parametrize("parent", ["", "none"], ids=["no such program", "no such directory"])
def test_where_it_can_not_be_started_the_task_is_told_nothing_and_nothing_is_left(tmp_path, parent):
    host = {"arguments": [], "parent": str(tmp_path / parent), "without": []}
    assert ahead.begin(host, [str(tmp_path / "none")], {}) == {}
    assert list(tmp_path.iterdir()) == []
