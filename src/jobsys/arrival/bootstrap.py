"""Makes a bare Python on another host fetch the core archive and go on in it. Imports nothing of jobsys: it travels as text.

Parses and runs on Python 3.6, so that a wrong version gets a clear message. Speaks as ``framing.py`` does.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated and sys.path:
    del sys.path[0]  # the working directory, or that of this file: a json.py there is not meant

import hashlib
import http.client
import importlib
import json
import os
import platform
import random
import struct
import tempfile
import time
import traceback
import typing
import urllib.error
import urllib.request

MAGIC, CANNOT_START = b"\njobsys stream 1\n", 49
TRIES, PAUSE, TIMEOUT, PASSING = 5, 0.5, 60, (408, 416, 425, 429)
HOST = os.uname().nodename


class Failure(Exception):
    """The worker can't start; the text names the host, the cause and the way out."""


def write(data: bytes) -> None:
    """Write to the leader, past every buffer."""
    while data:
        data = data[os.write(1, data) :]


def read_line() -> bytes:
    """Read one line from the leader and not a byte more: what follows belongs to the worker."""
    line = byte = b""
    while byte != b"\n":
        byte = os.read(0, 1)
        line += byte
        if not byte:
            raise Failure(f"host {HOST}: the leader hung up before it said what to start")
    return line


def tell(kind: "type[BaseException]", error: BaseException, trace: typing.Any) -> None:
    """Tell the leader why no worker comes, as one frame."""
    text = str(error)
    if kind is not Failure and not kind.__module__.startswith("jobsys."):
        text = "the bootstrap failed:\n" + "".join(traceback.format_exception(kind, error, trace))
    if f"host {HOST}" not in text.partition("\n")[0]:
        text = f"host {HOST} ({sys.executable}): {text}"
    payload = text.encode("utf-8", "backslashreplace")
    write(struct.pack("<BQII", CANNOT_START, 0, 0, len(payload)) + payload)


def check_interpreter(leader: typing.Any, python: str) -> None:
    """Make sure that this is the leader's implementation and minor version of Python; the core may not even parse on another."""
    mine, theirs = platform.python_implementation(), leader["implementation"]
    if (mine, list(sys.version_info[:2])) == (theirs, leader["version"][:2]):
        return
    here = f"{mine} {'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    there = f"{theirs} {'.'.join(map(str, leader['version']))} ({leader['executable']})"
    way = f"start workers with Python {leader['version'][0]}.{leader['version'][1]}: --worker-python (now {python})"
    raise Failure(f"host {HOST} has {here}, the leader runs {there}: pickles and packages do not travel between them; {way}")


def cache_directory() -> str:
    """Find the directory where this host keeps what was fetched, as ``cache.py`` does."""
    reasons, chosen = [], os.environ.get("JOBSYS_CACHE", "")
    homes = [os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")]
    spare = f"{tempfile.gettempdir()}/jobsys-cache-{os.getuid()}"
    for place in [os.path.expanduser(chosen)] if chosen else [f"{home}/jobsys" for home in homes if os.path.isabs(home)] + [spare]:
        try:
            os.makedirs(place, 0o700, exist_ok=True)
            found = os.stat(place)
            if found.st_uid == os.getuid() and not found.st_mode & 0o022 and os.access(place, os.W_OK | os.X_OK):
                return place
            reasons.append(f"{place}: not writable, or not by you alone")
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    raise Failure(f"host {HOST} has no place to keep code in ({'; '.join(reasons)}). Name one by JOBSYS_CACHE")


def download(url: str) -> bytes:
    """Read a URL once; the token goes to the store only, and not along with a redirect."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    store, token = os.environ.get("JOBSYS_STORE_URL", ""), os.environ.get("JOBSYS_STORE_TOKEN")
    if store and token and url.startswith(store.rstrip("/") + "/"):
        request.add_unredirected_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return bytes(answer.read())


def fetch(url: str, sha256: str, what: str = "jobsys itself") -> bytes:
    """Read a URL until it has the digest, or the tries are used up."""
    for attempt in range(TRIES):
        time.sleep(PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5) if attempt else 0)
        try:
            data = download(url)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            cause = f"what came does not have the SHA-256 {sha256}: it was cut off, or changed in the store"
        except urllib.error.HTTPError as error:
            cause = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in PASSING:
                break
        except (OSError, http.client.HTTPException) as error:
            cause = f"{type(error).__name__}: {error}"
    way = "Is the job store's directory mounted there?" if url.startswith("file:") else "Can that host reach the job store's server?"
    raise Failure(f"host {HOST} can't fetch {what} from {url.partition('?')[0]}: {cause}. {way}")


def core_archive(url: str, sha256: str) -> str:
    """Have the core archive in this host's cache, verified, and give its path."""
    path = f"{cache_directory()}/core-{sha256}.zip"
    if os.path.isfile(path):
        with open(path, "rb") as stream:
            if hashlib.sha256(stream.read()).hexdigest() == sha256:
                return path
    data = fetch(url, sha256)
    try:
        descriptor, beside = tempfile.mkstemp(prefix=".core-", dir=os.path.dirname(path))
        with open(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(beside, path)
    except OSError as error:
        raise Failure(f"host {HOST} can't write {path}: {error.strerror}. Free space, or name another by JOBSYS_CACHE") from error
    return path


def main() -> None:
    """Read the configuration and become the worker."""
    write(MAGIC)
    sys.excepthook = tell
    config = json.loads(read_line().decode("utf-8"))
    check_interpreter(config["leader"], config["python"])
    os.environ.update(config["environment"])
    sys.path.insert(0, core_archive(config["core"]["url"], config["core"]["sha256"]))
    importlib.import_module("jobsys.arrival.arrive").main(config, fetch)


if __name__ == "__main__":
    main()
