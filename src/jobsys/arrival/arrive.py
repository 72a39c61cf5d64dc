"""What a bare Python does once it has the core: bring the shipment to this host, assemble its environment, and become its program.

Called by the bootstrap; what goes wrong is raised, and the bootstrap tells the leader. Standard input and output are left alone.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from jobsys.arrival.environment import Environment, Layer, assembled
from jobsys.arrival.interpreter import facts, mismatch
from jobsys.arrival.whereabouts import enter, variables
from jobsys.cache import Cache
from jobsys.collecting import uncollected
from jobsys.errors import BatchSystemError, StorageError
from jobsys.fetch import Wanted, obtain_listed
from jobsys.holding import hold_over_exec
from jobsys.kept import Kept
from jobsys.late import configure

if TYPE_CHECKING:
    from concurrent.futures import Future

AT_ONCE: Final = 4
LARGE: Final = 20_000_000
"""From this size in bytes on, a host says how far it is with fetching."""
PAUSE: Final = 5.0


def main(config: dict[str, Any], fetch: Callable[[str, str, str], bytes]) -> NoReturn:
    """Become the program in ``config["arrive"]["command"]``, in the environment that was shipped.

    Args:
        config: what the leader said.
        fetch: gives the content of a URL that must have a SHA-256; the last argument is how to call it.

    Raises:
        BatchSystemError: this interpreter can't run what was shipped.
        StorageError: something can't be fetched or kept; the message names it.
        PackageError: an archive is not safe to unpack, or a layer is none.
    """
    arrive = config["arrive"]
    problem = mismatch(config["leader"], facts(), arrive["needs"])
    if problem:
        raise BatchSystemError(problem)
    configure(format=f"jobsys, host {os.uname().nodename}: %(message)s", level="WARNING")
    shipment = json.loads(fetch(arrive["shipment"]["url"], arrive["shipment"]["sha256"], "what the script needs"))
    for each in (*shipment["roots"], *shipment["layers"]):  # where the leader finds them now; what it once wrote down may have run out
        each["url"] = arrive["urls"].get(each["sha256"], each["url"])
    environment = bring(shipment)
    hold_over_exec()
    surroundings = variables(os.environ, shipment["environment"], config["environment"], environment.path)
    enter(shipment.get("directory"))
    python = [environment.python, *shipment["options"], "-s", "-P"]
    if "host" in arrive:
        surroundings |= importlib.import_module("jobsys.arrival.ahead").begin(arrive["host"], python, surroundings)
    os.execve(environment.python, [*python, *arrive["command"]], surroundings)


def bring(shipment: dict[str, Any]) -> Environment:
    """Have all that is shipped in this host's cache, held by this process, and the environment assembled; make room if that took any."""
    cache = Cache.of_host()
    if os.statvfs(cache.root).f_flag & os.ST_NOEXEC:  # msgspec is native, if nothing else is
        raise StorageError(
            f"the cache {cache.root} is on a file system that is mounted noexec, from which Python can't load native modules: "
            "let JOBSYS_CACHE name a directory on another (--env JOBSYS_CACHE=/path)"
        )
    with uncollected():
        environment, grown = _brought(shipment, cache)
    if grown:
        cache.evict()
    return environment


def _brought(shipment: dict[str, Any], cache: Cache) -> tuple[Environment, bool]:
    """Give the environment, and whether anything was not there."""
    layers = [Layer(place(cache, each), each["name"], each["sha256"]) for each in shipment["layers"]]
    python = getattr(sys, "_base_executable", None) or sys.executable
    system_site = shipment.get("system_site", False)
    environment = assembled(layers, root=cache.root, python=python, system_site=system_site)
    wanted = [*(() if environment else shipment["layers"]), *shipment["roots"]]
    grown = environment is None or not all(os.path.isdir(place(cache, each)) for each in wanted)
    lists = obtain_all(wanted, cache, stamped={each.place for each in layers})
    if environment is None:
        assemble = importlib.import_module("jobsys.arrival.assemble").assemble  # most processes find what another has made
        environment = cast(Environment, assemble(layers, root=cache.root, python=python, system_site=system_site, lists=lists))
    return environment, grown


def place(cache: Cache, shipped: dict[str, Any]) -> str:
    """Give the place of a shipped tree in the cache: the one that a resource of this name and digest has."""
    name = md5(os.fsencode(shipped["name"]), usedforsecurity=False).hexdigest()[:8]
    return f"{cache.code}/{shipped['sha256']}-{name}"


def obtain_all(shipped: Iterable[dict[str, Any]], cache: Cache, stamped: Collection[str] = ()) -> dict[str, list[Kept]]:
    """Have trees in the cache and give their lists: some at a time where one is missing. A failure is raised once what runs has ended.

    Of those in ``stamped`` that are there already, only files whose stamps have changed are read, however small the tree.
    """
    wanted = {place(cache, each): each for each in shipped}

    def obtained(path: str) -> list[Kept]:
        each = wanted[path]
        what = Wanted(each["url"], each["name"], each["md5"], each["sha256"], each.get("kind") != "file")
        return obtain_listed(what, path, small=0 if path in stamped else None)[1]

    missing = {path: each.get("size", 0) for path, each in wanted.items() if not os.path.isdir(path)}
    if not missing:
        return {path: obtained(path) for path in wanted}
    with importlib.import_module("concurrent.futures").ThreadPoolExecutor(AT_ONCE) as pool:
        largest_first = sorted(wanted, key=lambda path: wanted[path].get("size", 0), reverse=True)  # so that none is waited for alone
        futures = {pool.submit(obtained, path): path for path in largest_first}
        try:
            _watch(futures, missing)
        finally:
            pool.shutdown(cancel_futures=True)
    return {path: future.result() for future, path in futures.items()}


def _watch(futures: dict["Future[list[Kept]]", str], missing: dict[str, int]) -> None:
    """Wait for all, and say now and then how far it is where there is much to fetch."""
    total = sum(missing.values())
    say_at = time.monotonic()
    concurrent = importlib.import_module("concurrent.futures")
    while True:
        done, running = concurrent.wait(futures, PAUSE if total > LARGE else None, concurrent.FIRST_EXCEPTION)
        for future in done:
            future.result()
        if not running:
            return
        if time.monotonic() >= say_at:
            say_at = time.monotonic() + PAUSE
            here = sum(missing.get(futures[future], 0) for future in done) + sum(_transferred(futures[future]) for future in running)
            print(_progress(min(here, total), total), file=sys.stderr, flush=True)  # noqa: T201 - whoever waits for this host reads it


def _progress(here: int, total: int) -> str:
    return f"jobsys, host {os.uname().nodename}: fetching what the script needs, {here / 1e6:.0f} of {total / 1e6:.0f} MB are here"


def _transferred(path: str) -> int:
    try:
        return os.path.getsize(f"{path}.transfer")
    except FileNotFoundError:  # not begun, or unpacked already
        return 0
