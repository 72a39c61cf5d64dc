"""Ships a run's code and tells the person what was sent, and what changed since the last start."""

import os
from collections.abc import Callable
from typing import cast

import msgspec

from jobsys import namespace, sending, shipment
from jobsys.archives import Archives
from jobsys.cache import Cache
from jobsys.changes import changes
from jobsys.config import Config
from jobsys.errors import FormatError, IntegrityError, NotFoundError, StorageError, UsageError
from jobsys.jobstores import JobStore
from jobsys.launch.base import Launch
from jobsys.requirements import format_bytes
from jobsys.resource import ResourceException
from jobsys.sending import Sender
from jobsys.shipment import Shipment
from jobsys.shipping.distributions import normal
from jobsys.shipping.main import Main
from jobsys.shipping.plan import Options, Plan, ShipEnvironment, facts_directory, make_plan


def ship(launch: Launch, place: Callable[[str], str] | None = None) -> tuple[Shipment, bytes]:
    """Save the code and say so in the store; tell what changed since the last start.

    Args:
        launch: the run.
        place: gives the URL at which workers on other hosts find a shared file; None if they run on this machine.

    Raises:
        UsageError: the own code is larger than the limit.
        ResourceException: the code can't be shipped, or is not there any more.
    """
    config, store, say = launch.config, launch.store, launch.say
    remote = place is not None
    main, sender = Main(), Sender(store, place, _archives() if remote else None)
    last = _last(launch)
    if config.same_code:
        if last is None:
            raise ResourceException("--same-code: the job store does not know what code the run was started with. Leave it out.")
        made = sending.again(sender, last, remote=remote)
    else:
        plan = make_plan(main.start, _options(config, remote=remote))
        _keep_key(config.s3_sse_key_file, plan)
        if plan.system_site and (staying := _staying(plan)):
            say(f"{', '.join(staying)}: imported, but not sent; hosts must have it installed, or give --ship-env always")
        made = sending.make(sender, plan, main, remote=remote, say=say)
        if main.descriptor is None:
            digest, names = namespace.save(sender, last.names if last else ())
            made = msgspec.structs.replace(made, session=digest, names=names)
        if last is not None and (lines := _changes(store, last, made)):
            way = "jobs not yet run get the new code; --same-code keeps the old"
            say("the code is not what it was at the last start (" + way + ")\n  " + "\n  ".join(lines))
    if remote:
        say(_told(made, sender.sent))
    shipment.name_script()
    return made, shipment.write(store, launch.lease.epoch, made)


def _keep_key(path: str | None, plan: Plan) -> None:
    """Refuse to send the key by which the server encrypts: it must be on no worker, and what lies in the job store may be copied.

    Raises:
        UsageError: it lies in a directory of own code.
    """
    key = path and os.path.realpath(os.path.expanduser(path))
    for root in plan.roots if key else ():
        if any(member.kind == "file" and os.path.realpath(member.source) == key for member in root.members()):
            way = "keep it elsewhere, or list it in a .jobsysignore"
            raise UsageError(f"the key {path} lies in {root.directory}, and would travel with the code: {way}")


def _staying(plan: Plan) -> list[str]:
    """Name the modules of installed distributions that the own code needs and that don't travel."""
    brought = {normal(layer.name.partition(" ")[0]) for layer in plan.layers}
    return [name for name in plan.closure.installed() if normal(name) not in brought]


def _archives() -> Archives | None:
    """Give the archives that this user sent to other stores; None where there is no cache."""
    try:
        return Archives.of(Cache.of_host())
    except StorageError:
        return None


def _options(config: Config, *, remote: bool) -> Options:
    return Options(config.ship, cast(ShipEnvironment, config.ship_env), config.ship_limit, remote, facts_directory())


def _last(launch: Launch) -> Shipment | None:
    """Read what was shipped last; None if nothing was, or another version of jobsys did it."""
    for earlier in range(launch.lease.epoch - 1, 0, -1):
        try:
            return shipment.read(launch.store, earlier)
        except NotFoundError:  # a leader that ended before it shipped anything
            continue
        except (FormatError, IntegrityError) as error:
            launch.say(f"what changed since the last start can't be told: {error}")
            return None
    return None


def _changes(store: JobStore, last: Shipment, made: Shipment) -> list[str]:
    try:
        return changes(store, last, made)
    except StorageError as error:
        return [f"it can't be told what changed: {error}"]


def _told(made: Shipment, sent: int) -> str:
    own, layers = (sum(each.size for each in parcels) for parcels in (made.roots, made.layers))
    sizes = f"{format_bytes(own)} of own code and {len(made.layers)} distributions ({format_bytes(layers)})"
    return f"shipping {sizes}; sent {format_bytes(sent)}"
