"""A bare Python as on another host: no environment but a home, the bootstrap as its program, the leader at its standard streams."""

import json
import os
import struct
import subprocess
import sys
from hashlib import sha256
from typing import Any

from jobsys.arrival.core import bootstrap_command, core_archive
from jobsys.arrival.interpreter import facts, native_needs

MAGIC = b"\njobsys stream 1\n"
PYTHON = os.path.realpath(getattr(sys, "_base_executable"))  # noqa: B009 - mypy does not know it


def save(store, name, data):
    """Write a file into the store's directory; give its name and SHA-256."""
    (store / name).write_bytes(data)
    return name, sha256(data).hexdigest()


def configuration(store, url, command, **shipment):
    """Make the line that the leader says first, and save what it names."""
    defaults: dict[str, Any] = {"layers": [], "roots": [], "environment": {}, "options": [], "directory": None, "system_site": False}
    core, shipped = save(store, "core.zip", core_archive()), save(store, "shipment.json", json.dumps(defaults | shipment).encode())
    return {
        "leader": facts(),
        "python": PYTHON,
        "core": {"url": f"{url}/{core[0]}", "sha256": core[1]},
        "environment": {},
        "arrive": {
            "needs": native_needs(["any"], facts()),
            "shipment": {"url": f"{url}/{shipped[0]}", "sha256": shipped[1]},
            "urls": {},
            "command": command,
        },
    }


def start(home, config, rest=b"", command=None, **variables):
    """Run the bootstrap on a host whose home is ``home``; give what came behind the magic line, the errors and the exit status."""
    home.mkdir(exist_ok=True)
    ended = subprocess.run(
        command or bootstrap_command(PYTHON),
        input=json.dumps(config).encode() + b"\n" + rest,
        capture_output=True,
        env={"HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath, **variables},
        cwd=home,
        timeout=60,
    )
    before, magic, behind = ended.stdout.partition(MAGIC)
    assert magic, ended
    assert before == b""
    return behind, ended.stderr.decode(), ended.returncode


def begin(home, config):
    """Start the bootstrap on a host whose home is ``home`` and say what to become; give the process."""
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath}
    pipe = subprocess.PIPE
    process = subprocess.Popen(bootstrap_command(PYTHON), stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=home)
    assert process.stdin is not None
    process.stdin.write(json.dumps(config).encode() + b"\n")
    process.stdin.flush()
    return process


def told(behind):
    """Read the frame in which a bootstrap says why no worker comes."""
    kind, job, number, length = struct.unpack_from("<BQII", behind)
    assert (kind, job, number, length) == (49, 0, 0, len(behind) - 17)
    return behind[17:].decode()
