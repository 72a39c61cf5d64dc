"""Jobs on other hosts, by ssh: a directory is served to them over HTTP, and code, environment and jobsys itself are shipped."""

import hashlib
import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Any, Final

from jobsys.arrival import core, interpreter
from jobsys.batch.base import BatchSystem
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.jobstores.serving import StoreServer
from jobsys.launch.base import Launch
from jobsys.launch.code import ship
from jobsys.sending import Sender
from jobsys.shipping import surroundings
from jobsys.storage.wire import TOKEN_VARIABLE, URL_VARIABLE

_AGENT_PATIENCE: Final = 2.0
"""How much longer an agent waits for its leader than the leader for a host: both hang on the same network."""

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]|[\w.-]*)(?::(\d{1,5}))?", re.ASCII)


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
    url, token, server = _serve(launch, hosts)
    shipped, data = ship(launch, url)
    sender = Sender(store, url)
    archive = core.core_archive()
    name = f"resources/core-{hashlib.sha256(archive).hexdigest()}.zip"
    if not sender.shared_file_exists(name):
        with sender.write_shared_file(name) as stream:
            stream.write(archive)
    code = hashlib.sha256(data).hexdigest()
    arrive = {
        "shipment": {"url": f"{url}/o/{store.code_key(launch.lease.epoch)}", "sha256": code},
        "needs": shipped.needs,
        "command": ["-m", "jobsys.batch.agent", "--quiet-start", *_limits(config), "--", *launch.arguments(url, code)],
    }
    python = config.worker_python or f"python{sys.version_info[0]}.{sys.version_info[1]}"
    start: dict[str, Any] = {
        "python": python,
        "leader": interpreter.facts(),
        "core": {"url": sender.shared_file_url(name), "sha256": hashlib.sha256(archive).hexdigest()},
        "arrive": arrive,
        "environment": {**asked, URL_VARIABLE: url, TOKEN_VARIABLE: token},
    }
    preamble = json.dumps(start).encode() + b"\n"
    wanted = f"{interpreter.facts()['implementation']} {sys.version_info[0]}.{sys.version_info[1]}"
    how = Start(core.bootstrap_command(python), preamble, f"--worker-python names a program that is {wanted}, as the leader's Python is")
    system = SshBatchSystem(hosts, how, ssh=shlex.split(config.ssh), patience=config.host_patience)
    if server is not None:
        system.need(server, f"the server of the job store at {url}")
    return system


def _limits(config: Config) -> list[str]:
    given = {"cores": config.max_cores, "memory": config.max_memory, "disk": config.max_disk}
    words = [word for name, value in given.items() if value is not None for word in (f"--max-{name}", str(value))]
    words += ["--isolation", config.isolation, "--patience", str(_AGENT_PATIENCE * config.host_patience)]
    return [*words, "--work-dir", config.work_dir] if config.work_dir else words


def _serve(launch: Launch, hosts: Sequence[str]) -> tuple[str, str, int | None]:
    """Give the URL and the token by which other hosts reach the store, and the process that serves it from here, if it is a directory."""
    config, store = launch.config, launch.store
    if store.locator.startswith(("http:", "https:")):
        return store.locator, os.environ[TOKEN_VARIABLE], None
    root = store.storage.local_path("x")
    if root is None:
        raise UsageError(f"workers on other hosts can't reach {store.locator}: use a file: store, or one behind 'jobsys serve'")
    address, port = split_store_address(config.store_address or "")
    where, durable = f"{'[::]' if ':' in address else '0.0.0.0'}:{port}", config.durability == "power-cut"
    server = StoreServer(os.path.dirname(root), address=address or _own_address(hosts[0]), listen=where, durable=durable)
    served = launch.stack.enter_context(server)
    return served.url, served.token, served.pid


def split_store_address(text: str) -> tuple[str, int]:
    """Read ``NAME[:PORT]``, either of which may be missing; an IPv6 address stands in brackets, or alone.

    Raises:
        UsageError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    address, port = (found[1].strip("[]"), int(found[2] or 0)) if found else (text, 0)
    if port > 65535 or not (_is_six(address) if ":" in address else found):
        raise UsageError(f"--store-address {text!r} is no address: write NAME, NAME:PORT, [IPV6] or [IPV6]:PORT, such as head1:8080")
    return address, port


def _is_six(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None  # what a scope means, only this machine knows
    except ValueError:
        return False


def _own_address(host: str) -> str:
    """Find the address of this machine on the way to a host; its name, where that can't be told."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((host.rpartition("@")[2], 9))  # sends nothing
            return str(way.getsockname()[0])
    except OSError:
        return socket.gethostname()
