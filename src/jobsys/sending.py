"""The leader's side of a shipment: trees become archives in the job store, unless they are there, and are described for workers."""

import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Final, Literal

import msgspec

from jobsys.archives import Archives
from jobsys.arrival import interpreter
from jobsys.collecting import uncollected
from jobsys.files import working_directory
from jobsys.jobstores import JobStore
from jobsys.record import printable
from jobsys.requirements import format_bytes
from jobsys.resource import DirectoryResource, FileResource, Resource, ResourceException, explained
from jobsys.shipment import Parcel, Shipment
from jobsys.shipping import surroundings
from jobsys.shipping.closure import Root
from jobsys.shipping.layers import Layer
from jobsys.shipping.main import Main
from jobsys.shipping.plan import Plan, tags
from jobsys.tree import Tree, read_members

_ARCHIVE: Final = r"resources/([0-9a-f]{64})\.zip"
ROOM: Final = 10 << 20
"""How many bytes of a layer stay in memory from reading to packing."""
MUCH: Final = 20_000_000
"""From this size in bytes on, it is said beforehand what will be sent."""
UNFINISHED: Final = 8
"""How many files may wait at a time for the disk, or for the network."""


class Sender:
    """The shared files of a job store as a leader ships to them: counts what is sent, and knows the URLs that workers use."""

    def __init__(self, store: JobStore, place: Callable[[str], str] | None = None, archives: Archives | None = None) -> None:
        """Send to a store.

        Args:
            store: where it goes.
            place: gives the URL at which workers find a shared file, if that is not the store's own.
            archives: those that were sent to other stores.
        """
        self._store = store
        self._place = place or store.shared_file_url
        self._archives = archives
        self.sent = 0
        self._pool: ThreadPoolExecutor | None = None
        self._unfinished: deque[Future[None]] = deque()

    @contextmanager
    def overlapping(self) -> Iterator[None]:
        """Go on while what was written is synced, or uploaded; at a clean exit all of it is there."""
        with ThreadPoolExecutor(2) as pool:
            self._pool = pool
            try:
                yield
                self._await(0)
            finally:  # what is under way ends well or leaves nothing; an error is one already
                self._pool = None
                self._unfinished.clear()

    def _await(self, left: int) -> None:
        while len(self._unfinished) > left:
            self._unfinished.popleft().result()

    @contextmanager
    def write_shared_file(self, name: str) -> Iterator[BinaryIO]:
        """Write a file of that name as a stream."""
        with ExitStack() as stack:
            stack.callback(self._keep, name)  # once it is there
            stream = stack.enter_context(self._store.write_shared_file(name))
            yield stream
            self.sent += stream.tell()
            if self._pool is not None:
                self._await(UNFINISHED)
                self._unfinished.append(self._pool.submit(stack.pop_all().close))

    def _keep(self, name: str) -> None:
        """Keep what was sent for other stores."""
        match = re.fullmatch(_ARCHIVE, name)
        path = self._store.shared_file_path(name)
        if self._archives is not None and match is not None and path is not None and os.path.isfile(path):
            self._archives.keep(match[1], path)

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is one; an archive that was sent elsewhere before is copied first."""
        if self._store.shared_file_exists(name):
            return True
        match = re.fullmatch(_ARCHIVE, name)
        found = self._archives.open(match[1]) if self._archives is not None and match is not None else None
        if found is None:
            return False
        with found, self._store.write_shared_file(name) as stream:
            shutil.copyfileobj(found, stream, 1 << 18)
            self.sent += stream.tell()
        return True

    def shared_file_url(self, name: str) -> str:
        """Give the URL from which a worker fetches it."""
        return self._place(name)

    def look_for(self, digests: Iterable[str]) -> None:
        """Find out about the archives of many trees at a time, which then need not be asked for one after the other."""
        self._store.look_for_shared_files(f"resources/{digest}.zip" for digest in digests)


def make(sender: Sender, plan: Plan, main: Main, *, remote: bool, say: Callable[[str], None] = lambda _: None) -> Shipment:
    """Save what travels, unless it is there, and describe it; ``say`` is told before where that is much.

    Raises:
        ResourceException: something can't be read, or does not keep still.
    """
    with sender.overlapping(), uncollected():
        known = [layer.known_summary for layer in plan.layers]
        sender.look_for([*(tree.sha256 for tree in plan.trees), *(each.sha256 for each in known if each is not None)])
        there = {number: parcel for number, layer in enumerate(plan.layers) if (parcel := _sent(sender, layer))}
        _announce(sender, plan, [layer for number, layer in enumerate(plan.layers) if number not in there], say)
        roots = [_send_root(sender, root, tree) for root, tree in zip(plan.roots, plan.trees, strict=True)]
        layers = _send_layers(sender, plan.layers, there)
    plan.save()
    facts = interpreter.facts()
    place = None if main.descriptor is None else plan.locate(main.descriptor.dirPath)
    return Shipment(
        interpreter=facts,
        needs=interpreter.native_needs(tags(plan), facts),
        options=surroundings.interpreter_options(),
        environment=surroundings.environment(os.environ) if remote else {},
        directory=printable(working_directory()),
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


def _announce(sender: Sender, plan: Plan, layers: list[Layer], say: Callable[[str], None]) -> None:
    """Say how much has to be sent, where that takes its time."""
    own = sum(tree.size for tree in plan.trees if not sender.shared_file_exists(f"resources/{tree.sha256}.zip"))
    size = sum(layer.expected_size for layer in layers)
    parts = [f"{format_bytes(own)} of own code"] * (own > 0) + [f"{len(layers)} distributions ({format_bytes(size)})"] * bool(layers)
    if own + size > MUCH:
        say(f"shipping {' and '.join(parts)}, which the job store does not have yet …")


def _send_layers(sender: Sender, layers: list[Layer], there: Mapping[int, Parcel]) -> list[Parcel]:
    """Send layers and list them in their order; what has most files goes first, so that the disk is not waited for in the end."""
    parcels: dict[int, Parcel | None] = dict(there)
    for number in sorted(set(range(len(layers))) - set(there), key=lambda number: -layers[number].listed):
        parcels[number] = _send_layer(sender, layers[number])
    return [parcel for _, parcel in sorted(parcels.items()) if parcel is not None]


def _sent(sender: Sender, layer: Layer) -> Parcel | None:
    """Describe a layer that is known and in the store; None for others."""
    known = layer.known_summary
    if known is None:
        return None
    resource = DirectoryResource.of_saved(sender, layer.name, _archive_name(layer), (known.md5, known.sha256), known.abi)
    return None if resource is None else _parcel(layer.name, resource, ".zip", known.size)


def _send_layer(sender: Sender, layer: Layer) -> Parcel | None:
    """Read a layer and send it, unless the store has it; None if nothing is in it."""
    with explained(layer.name):
        first = [layer.read(ROOM)]
        if not first[0].items:
            return None

        def read() -> Tree:
            return first.pop() if first else layer.read(anew=True)

        resource, tree = DirectoryResource.of_tree(sender, layer.name, _archive_name(layer), read)
    return _parcel(layer.name, resource, ".zip", tree.size)


def _archive_name(layer: Layer) -> str:
    return printable(layer.name).replace(" ", "-").replace("/", "-")


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
    sender.look_for(each.sha256 for each in (*old.roots, *old.layers) if each.kind == "directory")
    missing = [each.label for each in (*old.roots, *old.layers) if not sender.shared_file_exists(each.shared)]
    if missing or (remote and not old.remote):
        what = ", ".join(missing[:5]) or "the environment, which that run did not ship"
        raise ResourceException(f"the code that the run was started with is not in the job store any more: {what}. Leave out --same-code.")
    roots, layers = ([_moved(sender, each) for each in parcels] for parcels in (old.roots, old.layers))
    return msgspec.structs.replace(old, roots=roots, layers=layers, remote=remote)


def _moved(sender: Sender, parcel: Parcel) -> Parcel:
    _, hash, fragment = parcel.url.partition("#")
    return msgspec.structs.replace(parcel, url=sender.shared_file_url(parcel.shared) + hash + fragment)
