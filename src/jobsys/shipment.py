"""What code a run's workers need: saved by the leader, fetched and loaded by a worker. Both ends of one format."""

import os
import sys
import types
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from jobsys import namespace, session
from jobsys.arrival import interpreter
from jobsys.digest import sha256
from jobsys.errors import FormatError, IntegrityError, JobsysError, UsageError
from jobsys.job import loading
from jobsys.jobstores import JobStore
from jobsys.modules import loaded_name
from jobsys.resource import DirectoryResource, FileResource, ModuleDescriptor, Resource, ResourceException
from jobsys.sealing import NO_SEAL
from jobsys.shipping.origins import is_standard, site_directories

FORMAT: Final = 2


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A tree, or a file, in the store."""

    label: str  # how people call it
    name: str  # its name on a host, beside its digest
    kind: Literal["directory", "file"] = "directory"
    directory: str = ""  # of a root: where it lies on the leader
    shared: str  # the name of its archive in the store
    url: str
    md5: str
    sha256: str
    size: int


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """The code of one epoch. The part of jobsys that brings it to a bare host reads it as JSON (``arrival/arrive.py``)."""

    format: int = FORMAT
    interpreter: dict[str, Any]
    needs: dict[str, Any]
    options: list[str]  # of the interpreter
    environment: dict[str, str]
    directory: str
    argv: list[str]
    roots: list[Parcel]
    layers: list[Parcel]
    system_site: bool
    remote: bool
    path: list[tuple[str, int, str]]  # PathEntry
    main: tuple[str, str, bool] | None  # ModuleDescriptor; None for a session
    place: tuple[int, str] | None  # of the script: root, directory in it
    session: str = ""  # the SHA-256 of its namespace, where there is no script
    names: list[str] = []  # what is in that


def write(store: JobStore, epoch: int, shipment: Shipment) -> bytes:
    """Keep what was shipped for an epoch, sealed for later leaders; return the bytes, whose digest a worker is told.

    Raises:
        RunKeyError: the run's key is not on this host.
    """
    data = store.key.seal(store.code_key(epoch), msgspec.json.encode(shipment))
    store.write_code(epoch, data)
    return data


def name_script() -> None:
    """Let ``__main__`` be found by its real name, too: what workers send back names the script's classes so.

    Raises:
        ResourceException: it can't be shipped.
    """
    main = sys.modules["__main__"]
    if not session.is_session(main):
        real = ModuleDescriptor.forModule("__main__").name
        spec = getattr(main, "__spec__", None)  # a debugger's may have none
        sys.modules.setdefault(real if spec is not None and real != "__main__" else loaded_name(real), main)


# ── a worker ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(store: JobStore, epoch: int, digest: str | None = None) -> Shipment:
    """Read what was shipped for an epoch.

    Args:
        store: the job store.
        epoch: the leader's.
        digest: the SHA-256 that the leader told this worker; a leader, which is told none, checks the seal of the run's key.

    Raises:
        FormatError: another version of jobsys wrote it.
        IntegrityError: it is not what was written; no code was loaded.
        RunKeyError: the run's key is not on this host, and no digest was given.
    """
    data = store.read_code(epoch)
    wrong = "" if digest in (None, sha256(data)) else f"it does not have the SHA-256 {digest}"
    if digest is None and not store.key.bears_seal(store.code_key(epoch), data):
        wrong = NO_SEAL
    if wrong:
        raise IntegrityError(
            f"{store.code_key(epoch)} in {store.locator}, which says what code belongs to epoch {epoch}, is not what the leader wrote, and "
            f"no code was loaded: {wrong}; start the run again with --restart"
        )
    try:
        found = msgspec.json.decode(data, type=dict[str, Any])
        if found.get("format") != FORMAT:
            raise FormatError(f"the code of epoch {epoch} was shipped by another version of jobsys (format {found.get('format')})")
        return msgspec.convert(found, Shipment)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"what says which code belongs to epoch {epoch} can't be read: {error}") from error


def check_interpreter(shipment: Shipment) -> None:
    """Refuse to run the leader's code in an interpreter that can't.

    Raises:
        JobsysError: it can't; the message names both sides.
    """
    problem = interpreter.mismatch(shipment.interpreter, interpreter.facts(), shipment.needs)
    if problem:
        raise JobsysError(problem)


def resource_of(root: Parcel) -> Resource:
    """Give a root as a resource, for ``register`` and ``download``."""
    kind = DirectoryResource if root.kind == "directory" else FileResource
    return kind.of_path(root.directory, root.name, root.url, root.md5)


def import_path(shipment: Shipment, roots: Sequence[str], mine: Sequence[str]) -> list[str]:
    """Write ``sys.path`` as on the leader.

    Args:
        shipment: what was shipped.
        roots: where its roots lie on this host.
        mine: this interpreter's own ``sys.path``; what of it has no place on the leader's comes last.
    """
    sites = site_directories()
    path: list[str] = []
    for kind, root, inside in shipment.path:
        if kind == "root":
            path.append(os.path.join(roots[root], inside) if inside else roots[root])
        elif kind == "standard":
            path += [each for each in mine if is_standard(each)]
        elif kind == "site":
            path += sites if shipment.remote or not os.path.isdir(inside) else [inside]
        elif not shipment.remote and os.path.exists(inside):
            path.append(inside)
    return list(dict.fromkeys([*path, *mine]))


def path_of_programs(shipment: Shipment, roots: Sequence[str]) -> list[str]:
    """List the roots where programs that a job starts find own code: not the script's directory, which on the leader only it has."""
    entries = list(shipment.path)
    if entries and (shipment.place is None or (entries[0][1], entries[0][2]) == shipment.place):
        del entries[0]
    path = [os.path.join(roots[root], inside) if inside else roots[root] for kind, root, inside in entries if kind == "root"]
    return list(dict.fromkeys(path))


def load_main(store: JobStore, shipment: Shipment, roots: Sequence[str]) -> types.ModuleType | None:
    """Import the script that was shipped, under its own name, and let ``__main__`` mean it; for a session, fill it with what it has.

    Raises:
        UsageError: the script runs its workflow when it is imported.
        ResourceException: it can't be imported.
    """
    if shipment.main is None:
        namespace.load(store, shipment.session)
        return sys.modules["__main__"]
    descriptor = ModuleDescriptor(*shipment.main)
    if shipment.place is not None:
        root, inside = shipment.place
        descriptor = descriptor._replace(dirPath=os.path.join(roots[root], inside) if inside else roots[root])
    module = _guarded(descriptor, shipment.argv)
    if module is not None:
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module  # as a leader calls it that multiprocessing has started
    return module


def _guarded(descriptor: ModuleDescriptor, argv: list[str]) -> types.ModuleType | None:
    before, sys.argv = sys.argv, argv
    token = loading.set(True)
    try:
        return descriptor.load()
    except SystemExit as error:
        raise UsageError(
            f"the script {descriptor.name!r} called sys.exit({error.code!r}) while a worker imported it: put what only the leader "
            f'should do under `if __name__ == "__main__":`'
        ) from error
    except ImportError as error:
        raise ResourceException(
            f"a worker can't import {descriptor.name!r} from what was shipped: {error}. Modules of your own that nothing names travel "
            f"with --ship PATH; distributions must be in the environment that is shipped (--ship-env always), or installed there"
        ) from error
    finally:
        loading.reset(token)
        sys.argv = before
