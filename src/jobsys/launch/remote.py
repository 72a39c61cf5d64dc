"""What a bare Python on another host is started with: where it finds jobsys, the code, the environment and its orders."""

import hashlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from jobsys.arrival import core, interpreter
from jobsys.jobstores import JobStore
from jobsys.launch.base import Launch
from jobsys.launch.code import ship
from jobsys.launch.way import Way
from jobsys.sending import Sender
from jobsys.shipment import Shipment
from jobsys.shipping import surroundings


class Remote(NamedTuple):
    """What was sent, and how it is started."""

    python: str  # the program that hosts start with
    arguments: list[str]  # of a worker host there
    way: Way
    environment: dict[str, str]
    shipped: Shipment
    code: tuple[str, str]  # key and SHA-256 of what says what was shipped
    core: tuple[str, str]  # name and SHA-256 of the core archive

    def start(self, command: Sequence[str]) -> dict[str, Any]:
        """Say what a host needs to start a command in the shipped environment, and where that lies now."""
        way, shipped = self.way, self.shipped
        arrive = {
            "shipment": {"url": way.object(self.code[0]), "sha256": self.code[1]},
            "urls": {each.sha256: way.place(each.shared) for each in (*shipped.roots, *shipped.layers)} if way.passes else {},
            "needs": shipped.needs,
            "command": list(command),
        }
        return {
            "python": self.python,
            "leader": interpreter.facts(),
            "core": {"url": way.place(self.core[0]), "sha256": self.core[1]},
            "arrive": arrive,
            "environment": self.environment,
        }


def send(launch: Launch, way: Way) -> Remote:
    """Ship code and environment, and jobsys itself.

    Raises:
        UsageError: an option makes no sense.
        ResourceException: the code can't be shipped.
    """
    config, store = launch.config, launch.store
    asked = surroundings.asked_for(config.env, os.environ)
    shipped, data = ship(launch, way.lasting or way.place)
    digest = hashlib.sha256(data).hexdigest()
    python = config.worker_python or f"python{sys.version_info[0]}.{sys.version_info[1]}"
    code = (store.code_key(launch.lease.epoch), digest)
    arguments = launch.arguments(way.locator, digest)
    return Remote(python, arguments, way, {**asked, **way.environment}, shipped, code, _send_core(store))


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
