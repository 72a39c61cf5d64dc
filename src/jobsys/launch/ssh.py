"""Jobs on other hosts, by ssh: the store is served to them over HTTP, and code, environment and jobsys itself are shipped."""

import hashlib
import json
import os
import shlex
import sys
from typing import Any, Final

from jobsys.arrival import core, interpreter
from jobsys.batch.base import BatchSystem
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.jobstores import JobStore
from jobsys.launch.base import Launch
from jobsys.launch.code import ship
from jobsys.launch.way import way_to_store
from jobsys.sending import Sender
from jobsys.shipping import surroundings

_AGENT_PATIENCE: Final = 2.0
"""How much longer an agent waits for its leader than the leader for a host: both hang on the same network."""


def make(launch: Launch) -> BatchSystem:
    """Serve the store, ship everything, and make the batch system of other hosts.

    Raises:
        UsageError: an option makes no sense, or workers can't reach the store.
        ResourceException: the code can't be shipped.
    """
    config, store = launch.config, launch.store
    hosts = [name for word in config.hosts for name in word.split(",") if name]
    if not hosts:
        raise UsageError("--batch-system ssh needs hosts: --hosts NAME, repeated or with commas")
    launch.check_seen()
    asked = surroundings.asked_for(config.env, os.environ)
    way = way_to_store(launch, hosts)
    shipped, data = ship(launch, way.lasting or way.place)
    core_name, core_digest = _send_core(store)
    code = hashlib.sha256(data).hexdigest()
    python = config.worker_python or f"python{sys.version_info[0]}.{sys.version_info[1]}"
    command = ["-m", "jobsys.batch.agent", "--quiet-start", *_limits(config), "--", *launch.arguments(way.locator, code)]

    def preamble() -> bytes:
        """Say what a host needs to start, and where that lies now."""
        arrive = {
            "shipment": {"url": way.object(store.code_key(launch.lease.epoch)), "sha256": code},
            "urls": {each.sha256: way.place(each.shared) for each in (*shipped.roots, *shipped.layers)} if way.passes else {},
            "needs": shipped.needs,
            "command": command,
        }
        start: dict[str, Any] = {
            "python": python,
            "leader": interpreter.facts(),
            "core": {"url": way.place(core_name), "sha256": core_digest},
            "arrive": arrive,
            "environment": {**asked, **way.environment},
        }
        return json.dumps(start).encode() + b"\n"

    wanted = f"{interpreter.facts()['implementation']} {sys.version_info[0]}.{sys.version_info[1]}"
    how = Start(core.bootstrap_command(python), preamble, f"--worker-python names a program that is {wanted}, as the leader's Python is")
    system = SshBatchSystem(hosts, how, ssh=shlex.split(config.ssh), patience=config.host_patience)
    if way.server is not None:
        system.need(way.server, f"the server of the job store at {way.locator}")
    return system


def _send_core(store: JobStore) -> tuple[str, str]:
    """Have the core archive in the store; give its name there and its SHA-256."""
    archive = core.core_archive()
    digest = hashlib.sha256(archive).hexdigest()
    name = f"resources/core-{digest}.zip"
    sender = Sender(store)
    if not sender.shared_file_exists(name):
        with sender.write_shared_file(name) as stream:
            stream.write(archive)
    return name, digest


def _limits(config: Config) -> list[str]:
    given = {"cores": config.max_cores, "memory": config.max_memory, "disk": config.max_disk}
    words = [word for name, value in given.items() if value is not None for word in (f"--max-{name}", str(value))]
    words += ["--isolation", config.isolation, "--patience", str(_AGENT_PATIENCE * config.host_patience)]
    return [*words, "--work-dir", config.work_dir] if config.work_dir else words
