"""Jobs on other hosts, by ssh: the store is served to them over HTTP, and code, environment and jobsys itself are shipped."""

import json
import shlex
import sys
from typing import Final

from jobsys.arrival import core, interpreter
from jobsys.batch.base import BatchSystem
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.launch.base import Launch
from jobsys.launch.remote import send
from jobsys.launch.way import way_to_store

_AGENT_PATIENCE: Final = 2.0
"""How much longer an agent waits for its leader than the leader for a host: both hang on the same network."""


def make(launch: Launch) -> BatchSystem:
    """Serve the store, ship everything, and make the batch system of other hosts.

    Raises:
        UsageError: an option makes no sense, or workers can't reach the store.
        ResourceException: the code can't be shipped.
    """
    config = launch.config
    hosts = [name for word in config.hosts for name in word.split(",") if name]
    if not hosts:
        raise UsageError("--batch-system ssh needs hosts: --hosts NAME, repeated or with commas")
    launch.check_seen()
    way = way_to_store(launch, hosts)
    remote = send(launch, way)
    command = ["-m", "jobsys.batch.agent", "--quiet-start", *_limits(config), "--", *remote.arguments]

    def preamble() -> bytes:
        """Say what a host needs to start, and where that lies now."""
        return json.dumps(remote.start(command)).encode() + b"\n"

    wanted = f"{interpreter.facts()['implementation']} {sys.version_info[0]}.{sys.version_info[1]}"
    how = Start(
        core.bootstrap_command(remote.python), preamble, f"--worker-python names a program that is {wanted}, as the leader's Python is"
    )
    system = SshBatchSystem(hosts, how, ssh=shlex.split(config.ssh), patience=config.host_patience)
    if way.server is not None:
        system.need(way.server, f"the server of the job store at {way.locator}")
    return system


def _limits(config: Config) -> list[str]:
    given = {"cores": config.max_cores, "memory": config.max_memory, "disk": config.max_disk}
    words = [word for name, value in given.items() if value is not None for word in (f"--max-{name}", str(value))]
    words += ["--isolation", config.isolation, "--patience", str(_AGENT_PATIENCE * config.host_patience)]
    return [*words, "--work-dir", config.work_dir] if config.work_dir else words
