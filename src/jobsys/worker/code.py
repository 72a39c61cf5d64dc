"""What a worker host does first: fetch the code that the leader shipped, check it, import it."""

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from jobsys import shipment
from jobsys.cache import Cache
from jobsys.errors import StorageError, UsageError
from jobsys.jobstores import JobStore, open_store
from jobsys.kept import MANIFEST, seal
from jobsys.resource import Resource, ResourceException
from jobsys.shipment import Shipment
from jobsys.worker.execute import JobExecutor
from jobsys.worker.explain import Explainer


def arguments(locator: str, epoch: int, code: str, max_log: int, durable: bool) -> list[str]:
    """Make the command line that ``prepare`` reads; ``code`` is the SHA-256 of what says which code was shipped."""
    return [json.dumps([locator, epoch, code, max_log, durable])]  # a path that is no Unicode goes through this


def prepare(command_line: Sequence[str]) -> JobExecutor:
    """Make this process able to run the jobs of a run.

    Raises:
        JobsysError: the store can't be read, or the code can't be fetched, verified or imported.
    """
    locator, epoch, code, max_log, durable = json.loads(command_line[0])
    store = open_store(locator, durable=durable)
    shipped = shipment.read(store, epoch, code)
    shipment.check_interpreter(shipped)
    Resource.prepareSystem()
    roots, grown = _localize(store, shipped)
    sys.path[:] = shipment.import_path(shipped, roots, sys.path)
    if shipped.remote:
        _tell_programs(shipment.path_of_programs(shipped, roots))
    places = [(here, root.directory) for here, root in zip(roots, shipped.roots, strict=True)]
    _load_main(store, shipped, roots, places)
    _settle([*map(os.path.dirname, roots), os.path.dirname(sys.prefix)], grown=grown)
    sys.argv[:] = shipped.argv
    if isinstance(sys.stdout, io.TextIOWrapper):  # so that what a job prints and what its children print come in order
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    return JobExecutor(store, max_log, places)


def _load_main(store: JobStore, shipped: Shipment, roots: list[str], places: list[tuple[str, str]]) -> None:
    """Import the script; say where in it something was raised, in the user's own files."""
    try:
        shipment.load_main(store, shipped, roots)
    except (StorageError, ResourceException):
        raise
    except Exception as error:  # noqa: BLE001 - the user's code is imported here
        failure = Explainer(places).failure(error)
        text = failure.message if isinstance(error, UsageError) else f"the script can't be imported: {failure.message}"
        raise UsageError(f"{text}\n{failure.traceback}".rstrip()) from None


def _localize(store: JobStore, shipped: Shipment) -> tuple[list[str], bool]:
    """Have the roots of own code on this host, and let ``Resource.lookup`` find them; tell where they lie, and whether one is new here."""
    places, grown = [], False
    for root in shipped.roots:
        resource = shipment.resource_of(root)
        resource.register()
        grown = grown or not os.path.lexists(resource.localPath)
        if store.locator.startswith("s3:"):
            _have_from_bucket(store, root.shared, resource)
        else:
            resource.download()
        places.append(os.path.abspath(resource.localPath))
    return places, grown


def _have_from_bucket(store: JobStore, name: str, resource: Resource) -> None:
    """Use what this host has, if it is whole; else fetch it."""
    if os.path.lexists(resource.localPath):
        with suppress(ResourceException):  # it is damaged, and its URL is for who has access to the bucket
            resource.download()
            return
    _download_from_bucket(store, name, resource)


def _download_from_bucket(store: JobStore, name: str, resource: Resource) -> None:
    """Download by this host's own access to the bucket."""
    with tempfile.TemporaryFile(prefix="jobsys-") as spool:
        with store.read_shared_file(name) as stream:
            shutil.copyfileobj(stream, spool, 1 << 18)
        spool.flush()
        facts = resource.url.partition("#")[2]
        try:
            resource._replace(url=f"file:///proc/self/fd/{spool.fileno()}#{facts}").download()
        except ResourceException as error:
            raise ResourceException(f"{name} in {store.locator}: {error}") from error


def _tell_programs(path: Sequence[str]) -> None:
    """Let programs that jobs start find own code as the leader's do; what --env passed comes behind it."""
    if path:
        os.environ["PYTHONPATH"] = os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])


def _settle(held: Sequence[str], *, grown: bool) -> None:
    """Vouch for the bytecode of what was just loaded, and let a cache that has grown forget what nobody has used for long."""
    for place in dict.fromkeys(held):
        if os.path.isfile(f"{place}/{MANIFEST}"):  # else it is no place of a cache: the interpreter of the leader's machine
            seal(place)
    cache = Cache.around(os.environ[Resource.rootDirPathEnvName]) if grown else None
    if cache is not None:
        cache.evict()
