"""Makes a bare Python on another host fetch the core archive and go on in it. Imports nothing of jobsys: it travels as text.

Parses and runs on Python 3.6, so that a wrong version gets a clear message. Speaks as ``framing.py`` does.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated and sys.path:
    del sys.path[0]  # the working directory, or that of this file: a json.py there is not meant

import contextlib
import hashlib
import importlib
import json
import os
import platform
import struct
import tempfile
import time
import typing

MAGIC, CANNOT_START = b"\njobsys stream 1\n", 49
TRIES, PAUSE, TIMEOUT, PASSING = 5, 0.5, 60, (408, 416, 425, 429)
HOST, OWN = os.uname().nodename, ("code", "core-", ".core-", ".CACHEDIR.TAG.")


class Failure(Exception):
    """The worker can't start; the text names the host, the cause and the way out."""


def write(data: bytes, to: int = 1) -> None:
    """Write to the leader, or a file, past every buffer."""
    while data:
        data = data[os.write(to, data) :]


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
        text = "the bootstrap failed:\n" + "".join(importlib.import_module("traceback").format_exception(kind, error, trace))
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


def cache_directory() -> int:
    """Open the first directory where ``cache.py`` looks that is, with a link to it, this user's alone; nobody can exchange it then."""
    homes, reasons = [os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")], []
    places = [os.path.expanduser(os.environ.get("JOBSYS_CACHE", "")), *(os.path.join(home, "jobsys") for home in homes)]
    for place in filter(os.path.isabs, [*places, f"{tempfile.gettempdir()}/jobsys-cache-{os.getuid()}"]):
        try:
            os.makedirs(place, 0o700, exist_ok=True)
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            found, names = os.fstat(directory), os.listdir(directory)
            private = {os.lstat(place).st_uid, found.st_uid} == {os.getuid()} and not found.st_mode & 0o022
            ours = all(name.startswith(OWN) for name in names) or os.path.isfile(f"{place}/CACHEDIR.TAG")
            if private and ours and os.access(place, os.W_OK | os.X_OK):
                return directory
            reasons.append(f"{place}: {'not writable, or not by you alone' if ours else 'not empty, and no cache'}")
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    raise Failure(f"host {HOST} has no place to keep code in ({'; '.join(reasons)}). Name one by JOBSYS_CACHE")


def download(url: str) -> bytes:
    """Read a URL once; the token goes to the store only, and not along with a redirect. What HTTP needs is loaded for HTTP only."""
    if url.startswith("file:///"):
        with open(importlib.import_module("urllib.parse").unquote_to_bytes(url[7:]), "rb") as file:
            return file.read()
    web = importlib.import_module("urllib.request")
    request = web.Request(url, headers={"Accept-Encoding": "identity"})
    store, token = os.environ.get("JOBSYS_STORE_URL", ""), os.environ.get("JOBSYS_STORE_TOKEN")
    if store and token and url.startswith(store.rstrip("/") + "/"):
        request.add_unredirected_header("Authorization", "Bearer " + token)
    with web.urlopen(request, timeout=TIMEOUT) as answer:
        return bytes(answer.read())


def fetch(url: str, sha256: str, what: str = "jobsys itself") -> bytes:
    """Read a URL until it has the digest, or the tries are used up."""
    failures = (OSError,) if url.startswith("file:") else (OSError, importlib.import_module("http.client").HTTPException)
    for attempt in range(TRIES):
        time.sleep(PAUSE * 2 ** (attempt - 1) * importlib.import_module("random").uniform(0.5, 1.5) if attempt else 0)
        try:
            data = download(url)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            cause = f"what came does not have the SHA-256 {sha256}: it was cut off, or changed in the store"
        except failures as error:
            cause, code = f"{type(error).__name__}: {error}", getattr(error, "code", 500)
            if code < 500 and code not in PASSING:
                break
    way = "Is the job store's directory mounted there?" if url.startswith("file:") else "Can it be reached there? Else set --store-address"
    raise Failure(f"host {HOST} can't fetch {what} from {url.partition('?')[0]}: {cause}. {way}")


def core_archive(url: str, sha256: str) -> str:
    """Have the core archive in this host's cache; the path given leads to the very file that was verified, whatever its name leads to."""
    directory, name, beside = cache_directory(), f"core-{sha256}.zip", f".core-{os.urandom(8).hex()}"
    with contextlib.suppress(OSError):  # what can't be read, or is a link, is replaced
        core = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        if os.fstat(core).st_uid == os.getuid() and hashlib.sha256(os.read(core, 1 << 24)).hexdigest() == sha256:
            return f"/proc/self/fd/{core}"
    data = fetch(url, sha256)
    try:
        core = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        write(data, core)
        os.replace(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise Failure(f"host {HOST} can't keep {name} in its cache: {error.strerror}. Free space, or set JOBSYS_CACHE") from error
    return f"/proc/self/fd/{core}"


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
