"""What code a run's workers need: saved by the leader, fetched and loaded by a worker. Both ends of one format."""

import os
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Literal

import msgspec

from jobsys import session
from jobsys.arrival import interpreter
from jobsys.errors import FormatError, IntegrityError, JobsysError, UsageError
from jobsys.job import loading
from jobsys.jobstores import JobStore
from jobsys.modules import loaded_name
from jobsys.record import printable
from jobsys.resource import DirectoryResource, FileResource, ModuleDescriptor, Resource, ResourceException, explained
from jobsys.shipping import surroundings
from jobsys.shipping.closure import Root
from jobsys.shipping.main import Main
from jobsys.shipping.origins import is_standard, site_directories
from jobsys.shipping.plan import Plan, tags
from jobsys.tree import Tree, read_members

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


class Sender:
    """The shared files of a job store as a leader ships to them: counts what is sent, and knows the URLs that workers use."""

    def __init__(self, store: JobStore, base: str | None = None) -> None:
        """Send to a store, which workers reach at ``base`` if not at its own URLs."""
        self._store = store
        self._base = base
        self.sent = 0

    @contextmanager
    def write_shared_file(self, name: str) -> Iterator[BinaryIO]:
        """Write a file of that name as a stream."""
        with self._store.write_shared_file(name) as stream:
            yield stream
            self.sent += stream.tell()

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is one."""
        return self._store.shared_file_exists(name)

    def shared_file_url(self, name: str) -> str:
        """Give the URL from which a worker fetches it."""
        return self._store.shared_file_url(name) if self._base is None else f"{self._base}/o/{self._store.shared_file_key(name)}"


# ── the leader ───────────────────────────────────────────────────────────────────────────────────────────────────────


def make(sender: Sender, plan: Plan, main: Main, *, remote: bool) -> Shipment:
    """Save what travels, unless it is there, and describe it.

    Raises:
        ResourceException: something can't be read, or does not keep still.
    """
    roots = [_send_root(sender, root, tree) for root, tree in zip(plan.roots, plan.trees, strict=True)]
    layers = [_send_layer(sender, layer.name, layer.tree) for layer in plan.layers]
    facts = interpreter.facts()
    place = None if main.descriptor is None else plan.locate(main.descriptor.dirPath)
    return Shipment(
        interpreter=facts,
        needs=interpreter.native_needs(tags(plan), facts),
        options=surroundings.interpreter_options(),
        environment=surroundings.environment(os.environ) if remote else {},
        directory=printable(os.getcwd()),
        argv=list(map(printable, surroundings.without_values(sys.argv))),
        roots=roots,
        layers=layers,
        system_site=plan.system_site,
        remote=remote,
        path=[(entry.kind, entry.root, printable(entry.inside)) for entry in plan.path],
        main=_described(main),
        place=None if place is None else (place[0], printable(place[1])),
    )


def _described(main: Main) -> tuple[str, str, bool] | None:
    found = main.descriptor
    return None if found is None else (printable(found.dirPath), printable(found.name), found.fromVirtualEnv)


def _send_root(sender: Sender, root: Root, tree: Tree) -> Parcel:
    name = printable(os.path.basename(root.directory)) or "root"
    if root.archive:
        resource: Resource = FileResource.create(sender, root.directory)
        return _parcel(root.directory, resource, "", tree.size, root.directory)
    first = [tree]

    def read() -> Tree:
        return first.pop() if first else read_members(root.scan())  # changed just now: nothing that was known counts

    with explained(root.directory):
        resource, tree = DirectoryResource.of_tree(sender, root.directory, name, read)
    return _parcel(root.directory, resource, ".zip", tree.size, root.directory)


def _send_layer(sender: Sender, label: str, tree: Tree) -> Parcel:
    with explained(label):
        resource, _ = DirectoryResource.of_tree(sender, label, printable(label).replace(" ", "-").replace("/", "-"), lambda: tree)
    return _parcel(label, resource, ".zip", tree.size)


def _parcel(label: str, resource: Resource, suffix: str, size: int, directory: str = "") -> Parcel:
    sha256 = resource.sha256
    kind: Literal["directory", "file"] = "directory" if suffix else "file"
    return Parcel(
        label=printable(label), name=resource.name, kind=kind, directory=printable(directory), shared=f"resources/{sha256}{suffix}",
        url=resource.url, md5=resource.contentHash, sha256=sha256, size=size,
    )  # fmt: skip


def again(sender: Sender, old: Shipment, *, remote: bool) -> Shipment:
    """Describe once more what was shipped for an earlier epoch, from where workers find it now.

    Raises:
        ResourceException: some of it is not in the store any more.
    """
    missing = [each.label for each in (*old.roots, *old.layers) if not sender.shared_file_exists(each.shared)]
    if missing or (remote and not old.remote):
        what = ", ".join(missing[:5]) or "the environment, which that run did not ship"
        raise ResourceException(f"the code that the run was started with is not in the job store any more: {what}. Leave out --same-code.")
    roots, layers = ([_moved(sender, each) for each in parcels] for parcels in (old.roots, old.layers))
    return msgspec.structs.replace(old, roots=roots, layers=layers, remote=remote)


def _moved(sender: Sender, parcel: Parcel) -> Parcel:
    _, hash, fragment = parcel.url.partition("#")
    return msgspec.structs.replace(parcel, url=sender.shared_file_url(parcel.shared) + hash + fragment)


def write(store: JobStore, epoch: int, shipment: Shipment) -> bytes:
    """Keep what was shipped for an epoch; return the bytes, whose digest a worker is told."""
    data = msgspec.json.encode(shipment)
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
        sys.modules.setdefault(real if main.__spec__ is not None and real != "__main__" else loaded_name(real), main)


# ── a worker ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(store: JobStore, epoch: int) -> Shipment:
    """Read what was shipped for an epoch.

    Raises:
        FormatError: another version of jobsys wrote it.
    """
    data = store.read_code(epoch)
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


def load_script(shipment: Shipment, roots: Sequence[str]) -> types.ModuleType | None:
    """Import the script that was shipped, under its own name, and let ``__main__`` mean it; make an empty one for a session.

    Raises:
        UsageError: the script runs its workflow when it is imported.
        ResourceException: it can't be imported.
    """
    if shipment.main is None:
        return session.start_session()
    descriptor = ModuleDescriptor(*shipment.main)
    if shipment.place is not None:
        root, inside = shipment.place
        descriptor = descriptor._replace(dirPath=os.path.join(roots[root], inside) if inside else roots[root])
    module = _guarded(descriptor, shipment.argv)
    if module is not None:
        sys.modules["__main__"] = module
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
