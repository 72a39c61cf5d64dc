"""From options to a batch system that is ready for jobs: ships the code, serves the store to other hosts, says how workers start."""

import hashlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, cast

import msgspec

from jobsys import namespace, shipment
from jobsys.arrival import core, interpreter
from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.batch.local import LocalBatchSystem
from jobsys.batch.machine import this_machine
from jobsys.batch.ssh import SshBatchSystem, Start
from jobsys.cache import Cache
from jobsys.changes import changes
from jobsys.config import Config
from jobsys.errors import NotFoundError, UsageError
from jobsys.jobstores import JobStore, Lease
from jobsys.jobstores.serving import StoreServer
from jobsys.requirements import format_bytes
from jobsys.resource import ResourceException
from jobsys.shipment import Sender, Shipment
from jobsys.shipping import surroundings
from jobsys.shipping.main import Main
from jobsys.shipping.plan import Options, ShipEnvironment, make_plan
from jobsys.storage.wire import TOKEN_VARIABLE, URL_VARIABLE
from jobsys.worker.code import arguments
from jobsys.worker.execute import JobExecutor

Say = Callable[[str], None]

_AGENT_PATIENCE: Final = 2.0
"""How much longer an agent waits for its leader than the leader for a host: both hang on the same network."""


def launch(config: Config, store: JobStore, lease: Lease, stack: ExitStack, say: Say) -> BatchSystem:
    """Make the batch system that was asked for; what must outlive it is left to ``stack``.

    Raises:
        UsageError: there is no such batch system, or its options make no sense.
        ResourceException: the code can't be shipped.
    """
    makers: Final = {"inline": _inline, "local": _local, "ssh": _ssh}
    make = makers.get(config.batch_system)
    if make is None:
        raise UsageError(f"there is no batch system {config.batch_system!r}: there are {', '.join(map(repr, makers))}")
    if config.same_code and not config.restart:
        raise UsageError("--same-code goes with --restart: a new run has no other code than what is there now")
    return make(config, store, lease, stack, say)


def _inline(config: Config, store: JobStore, lease: Lease, stack: ExitStack, say: Say) -> BatchSystem:  # noqa: ARG001
    executor = JobExecutor(store, config.max_log_size)
    return InlineBatchSystem(executor.run)


def _local(config: Config, store: JobStore, lease: Lease, stack: ExitStack, say: Say) -> BatchSystem:  # noqa: ARG001
    _check_seen(store)
    if config.ship_env == "always":
        say("--ship-env always: workers on this machine run in this very environment, none of it is sent")
    _ship(config, store, lease, None, say)
    command = [
        sys.executable,
        *surroundings.interpreter_options(),
        "-P",  # the working directory must not come before what was shipped
        "-m",
        "jobsys.worker",
        *_arguments(config, store.locator, lease),
    ]
    work_dir = _work_dir(config)
    machine = this_machine(cores=config.max_cores, memory=config.max_memory, disk=config.max_disk, work_dir=work_dir)
    isolation: Final = "process" if config.isolation == "process" else "warm"
    system = LocalBatchSystem(command, machine=machine, isolation=isolation, directory=work_dir)
    system.environment = surroundings.asked_for(config.env, os.environ)
    return system


def _check_seen(store: JobStore) -> None:
    if store.locator.startswith("memory:"):
        raise UsageError("a memory: job store can't be seen by other processes: use --batch-system inline with it, or a file: store")


def _arguments(config: Config, locator: str, lease: Lease) -> list[str]:
    return arguments(locator, lease.epoch, config.max_log_size, config.durability == "power-cut")


def _work_dir(config: Config) -> str | None:
    """Give the work directory as it is named from anywhere: jobs change directories."""
    if config.work_dir is None:
        return None
    if not os.path.isdir(config.work_dir):
        raise UsageError(f"--work-dir {config.work_dir} is no directory: make it first, or name another one")
    if not os.access(config.work_dir, os.W_OK | os.X_OK):
        raise UsageError(f"--work-dir {config.work_dir} can't be written: allow it, or name another one")
    return os.path.abspath(config.work_dir)


# ── other hosts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _ssh(config: Config, store: JobStore, lease: Lease, stack: ExitStack, say: Say) -> BatchSystem:
    hosts = [name for word in config.hosts for name in word.split(",") if name]
    if not hosts:
        raise UsageError("--batch-system ssh needs hosts: --hosts NAME, repeated or with commas")
    _check_seen(store)
    asked = surroundings.asked_for(config.env, os.environ)
    url, token = _serve(config, store, hosts, stack)
    shipped, data = _ship(config, store, lease, url, say)
    sender = Sender(store, url)
    archive = core.core_archive()
    name = f"resources/core-{hashlib.sha256(archive).hexdigest()}.zip"
    if not sender.shared_file_exists(name):
        with sender.write_shared_file(name) as stream:
            stream.write(archive)
    arrive = {
        "shipment": {"url": f"{url}/o/{store.code_key(lease.epoch)}", "sha256": hashlib.sha256(data).hexdigest()},
        "needs": shipped.needs,
        "command": ["-m", "jobsys.batch.agent", "--quiet-start", *_limits(config), "--", *_arguments(config, url, lease)],
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
    start_command = Start(core.bootstrap_command(python), preamble)
    return SshBatchSystem(hosts, start_command, ssh=shlex.split(config.ssh), patience=config.host_patience)


def _limits(config: Config) -> list[str]:
    given = {"cores": config.max_cores, "memory": config.max_memory, "disk": config.max_disk}
    words = [word for name, value in given.items() if value is not None for word in (f"--max-{name}", str(value))]
    words += ["--isolation", config.isolation, "--patience", str(_AGENT_PATIENCE * config.host_patience)]
    return [*words, "--work-dir", config.work_dir] if config.work_dir else words


def _serve(config: Config, store: JobStore, hosts: Sequence[str], stack: ExitStack) -> tuple[str, str]:
    """Give the URL and the token by which other hosts reach the store; a directory is served from here as long as the run goes on."""
    if store.locator.startswith(("http:", "https:")):
        return store.locator, os.environ[TOKEN_VARIABLE]
    root = store.storage.local_path("x")
    if root is None:
        raise UsageError(f"workers on other hosts can't reach {store.locator}: use a file: store, or one behind 'jobsys serve'")
    address, _, port = (config.store_address or "").partition(":")
    where, durable = f"0.0.0.0:{port or 0}", config.durability == "power-cut"
    server = StoreServer(os.path.dirname(root), address=address or _own_address(hosts[0]), listen=where, durable=durable)
    served = stack.enter_context(server)
    return served.url, served.token


def _own_address(host: str) -> str:
    """Find the address of this machine on the way to a host; its name, where that can't be told."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((host.rpartition("@")[2], 9))  # sends nothing
            return str(way.getsockname()[0])
    except OSError:
        return socket.gethostname()


# ── the code ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ship(config: Config, store: JobStore, lease: Lease, base: str | None, say: Say) -> tuple[Shipment, bytes]:
    """Save the code and say so in the store; tell what changed since the last start."""
    remote = base is not None
    main, sender = Main(), Sender(store, base)
    last = _last(store, lease.epoch)
    if config.same_code:
        if last is None:
            raise ResourceException("--same-code: the job store does not know what code the run was started with. Leave it out.")
        made = shipment.again(sender, last, remote=remote)
    else:
        plan = make_plan(main.start, _options(config, remote=remote))
        made = shipment.make(sender, plan, main, remote=remote)
        if main.descriptor is None:
            digest, names = namespace.save(sender, last.names if last else ())
            made = msgspec.structs.replace(made, session=digest, names=names)
        if last is not None and (lines := changes(store, last, made)):
            way = "jobs not yet run get the new code; --same-code keeps the old"
            say("the code is not what it was at the last start (" + way + ")\n  " + "\n  ".join(lines))
    if remote:
        say(_told(made, sender.sent))
    shipment.name_script()
    return made, shipment.write(store, lease.epoch, made)


def _options(config: Config, *, remote: bool) -> Options:
    return Options(
        config.ship, cast(ShipEnvironment, config.ship_env), config.ship_limit, remote, facts=os.path.join(Cache.of_host().root, "digests")
    )


def _last(store: JobStore, epoch: int) -> Shipment | None:
    for earlier in range(epoch - 1, 0, -1):
        try:
            return shipment.read(store, earlier)
        except NotFoundError:
            continue
    return None


def _told(made: Shipment, sent: int) -> str:
    own, layers = (sum(each.size for each in parcels) for parcels in (made.roots, made.layers))
    sizes = f"{format_bytes(own)} of own code and {len(made.layers)} distributions ({format_bytes(layers)})"
    return f"shipping {sizes}; sent {format_bytes(sent)}"
