"""How workers on other hosts reach the job store: by its own server, by one that the leader starts, or on their own."""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import IPv6Address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from jobsys import early
from jobsys.errors import StorageError, UsageError
from jobsys.jobstores import JobStore, keys
from jobsys.jobstores.serving import StoreServer
from jobsys.launch.base import Launch
from jobsys.storage import wire
from jobsys.storage.base import Storage

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]|[\w.-]*)(?::(\d{1,5}))?", re.ASCII)


class Way(NamedTuple):
    """How a host reaches the store."""

    locator: str
    environment: Mapping[str, str]  # what it needs for that
    place: Callable[[str], str]  # gives the URL of a shared file
    object: Callable[[str], str]  # gives the URL of an object by its key
    server: int | None = None  # the process that serves the store from here
    passes: bool = False  # such URLs are good for some time only, and open what they name to anybody
    lasting: Callable[[str], str] | None = None  # then gives the URL of a shared file that may be written down


def way_to_store(launch: Launch, hosts: Sequence[str]) -> Way:
    """Find the way, and start the server that it needs; the server ends with the run.

    Raises:
        UsageError: an option makes no sense, or workers can't reach the store.
        StorageError: the server can't be started.
    """
    config, store = launch.config, launch.store
    if store.locator.startswith(("http:", "https:")) and config.s3_workers != "direct":
        base = store.locator
        environment = {wire.URL_VARIABLE: base, wire.TOKEN_VARIABLE: os.environ[wire.TOKEN_VARIABLE]}
        return Way(base, environment, lambda name: base + wire.object_path(store.shared_file_key(name)), _below(base))
    bucket = early.s3_options(config)
    settings = {} if bucket is None else bucket.environment()
    if bucket is not None and config.s3_workers == "direct":
        if store.storage.signed(keys.STORE) is None:
            raise UsageError("--s3-workers direct: with this encryption, or a requester who pays, hosts can't fetch code; leave it out")
        return Way(
            store.locator, settings, partial(_signed, store), partial(_opened, store.storage), passes=True, lasting=store.shared_file_url
        )
    if config.s3_workers == "direct":
        raise UsageError(f"--s3-workers direct goes with an s3: store, which {store.locator} is not: leave it out")
    address, port = split_store_address(config.store_address or "")
    where, durable = f"{'[::]' if ':' in address else '0.0.0.0'}:{port}", config.durability == "power-cut"
    name = address or _own_address(hosts[0])
    server = launch.stack.enter_context(StoreServer(store.locator, address=name, listen=where, durable=durable, environment=settings))
    place = urlsplit(store.storage.signed(keys.STORE) or "")
    if wire.is_loopback(place.hostname) and not wire.is_loopback(name):
        launch.say(f"hosts can't reach S3 at {place.netloc}, which is to each of them itself: all they read comes through the leader")
    environment = {wire.URL_VARIABLE: server.url, wire.TOKEN_VARIABLE: server.token}
    return Way(server.url, environment, lambda name: server.url + wire.shared_path(name), _below(server.url), server.pid)


def _signed(store: JobStore, name: str) -> str:
    return _opened(*store.shared_file_place(name))


def _opened(storage: Storage, key: str) -> str:
    url = storage.signed(key)
    if url is None:
        raise StorageError(f"{storage.url(key)} has no URL that opens it to hosts without access")
    return url


def _below(base: str) -> Callable[[str], str]:
    return lambda key: base + wire.object_path(key)


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
