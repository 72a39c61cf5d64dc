"""What code a run's workers need: found and saved by the leader, fetched and loaded by a worker. Both ends of one format."""

import os
import sys
import types
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from jobsys import namespace, session
from jobsys.errors import JobsysError, NotFoundError, UsageError
from jobsys.job import loading
from jobsys.jobstores import JobStore
from jobsys.modules import loaded_name
from jobsys.record import printable
from jobsys.resource import ModuleDescriptor, ResourceException


class Shipment(msgspec.Struct, frozen=True):
    """The code of one epoch: modules and the resources they are in, in the order of the leader's import path."""

    python: tuple[int, int]
    argv: list[str]
    path: list[str]
    environment: dict[str, str]  # how resources register themselves
    modules: list[tuple[str, str, bool]]  # ModuleDescriptors; the first is the script's
    session: str = ""  # the SHA-256 of its namespace, where there is no script
    names: list[str] = []  # what is in that


def ship(store: JobStore, epoch: int, modules: Iterable[str] = ("__main__",)) -> Shipment:
    """Save the modules' code as resources, and say so in the store; called by the leader.

    Raises:
        ResourceException: code can't be shipped.
    """
    environment: dict[str, str] = {}
    described: list[tuple[str, str, bool]] = []
    main = sys.modules["__main__"]
    in_session = session.is_session(main)
    for module in modules:
        if in_session and module == "__main__":
            continue
        descriptor = ModuleDescriptor.forModule(module)
        resource = descriptor.saveAsResourceTo(store)
        if resource is not None:
            environment.update(resource.registration())
        described.append((descriptor.dirPath, descriptor.name, descriptor.fromVirtualEnv))
    if described and not in_session:
        _name(main, described[0][1])
    argv = list(map(printable, sys.argv))
    path = [printable(entry or os.getcwd()) for entry in sys.path]  # a session has "" in it
    digest, names = namespace.save(store, _names_before(store, epoch)) if in_session else ("", [])
    shipment = Shipment(sys.version_info[:2], argv, path, environment, described, digest, names)
    store.write_code(epoch, msgspec.json.encode(shipment))
    return shipment


def _names_before(store: JobStore, epoch: int) -> list[str]:
    """Give what the workers of the last leader knew of its session."""
    for before in range(epoch - 1, 0, -1):
        with suppress(NotFoundError):  # a leader that ended before it shipped anything
            return read(store, before).names
    return []


def name_script() -> None:
    """Let ``__main__`` be found by its real name, too: what workers send back names the script's classes so.

    Raises:
        ResourceException: it can't be shipped.
    """
    main = sys.modules["__main__"]
    if not session.is_session(main):
        _name(main, ModuleDescriptor.forModule("__main__").name)


def _name(main: types.ModuleType, real: str) -> None:
    sys.modules.setdefault(real if main.__spec__ is not None and real != "__main__" else loaded_name(real), main)


def read(store: JobStore, epoch: int) -> Shipment:
    """Read what was shipped for an epoch."""
    return msgspec.json.decode(store.read_code(epoch), type=Shipment)


def check_python(shipment: Shipment) -> None:
    """Refuse to run the leader's code with another version of Python.

    Raises:
        JobsysError: the versions differ.
    """
    mine = sys.version_info[:2]
    if mine != shipment.python:
        there = ".".join(map(str, shipment.python))
        raise JobsysError(
            f"this worker runs Python {mine[0]}.{mine[1]} ({sys.executable}), the leader runs {there}: pickles and packages "
            f"do not travel between them; start workers with Python {there}"
        )


def load_script(descriptor: ModuleDescriptor, argv: list[str]) -> types.ModuleType | None:
    """Import the script that was shipped, under its own name, and let ``__main__`` mean it.

    Raises:
        UsageError: the script runs its workflow when it is imported.
    """
    before, sys.argv = sys.argv, argv
    token = loading.set(True)
    try:
        module = descriptor.load()
    except SystemExit as error:
        raise UsageError(
            f"the script {descriptor.name!r} called sys.exit({error.code!r}) while a worker imported it: put what only the leader "
            f'should do under `if __name__ == "__main__":`'
        ) from error
    except ImportError as error:
        raise ResourceException(
            f"a worker can't import {descriptor.name!r} from what was shipped: {error}. Modules beside the script travel with it; "
            f"others must be installed where workers run"
        ) from error
    finally:
        loading.reset(token)
        sys.argv = before
    if module is not None:
        sys.modules["__main__"] = module
    return module
