"""Real S3 servers for tests, and what stands in front of one: faults on purpose, and TLS.

Over the scripts in ``infra/servers``, which are found by TEST_SERVERS or in ``shared/`` beside the repository. Each server is one instance
for a session, with a directory and ports of its own; what is missing for one is told with the way out.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import requests

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = "infra/servers"
PROGRAMS: Final = {
    "ceph": {
        "radosgw": "radosgw",
        "ceph-mon": "ceph-mon",
        "ceph-mgr": "ceph-mgr",
        "ceph-osd": "ceph-osd",
        "ceph": "ceph-common",
        "curl": "curl",
    },
    "tls-haproxy": {"haproxy": "haproxy", "socat": "socat", "openssl": "openssl"},
    "faultproxy": {"curl": "curl"},
    "swift": {"swift-proxy-server": "", "curl": "curl"},
    "rclone": {"rclone": "", "curl": "curl"},
    "moto": {"moto_server": ""},
}
"""The programs of each server, and the packages of the system that have them; the others come with ``make dev``."""
OUR_BIN: Final = str(Path(sys.executable).parent)
SEARCHED: Final = f"{OUR_BIN}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
STARTING: Final = 110  # seconds
NAMED_SO: Final = {"ceph": "s3-ceph.sh", "swift": "s3-swift.sh", "rclone": "s3-rclone.sh"}


@dataclass(frozen=True)
class Server:
    """A server that runs: where it listens, and what its owner says to be let in, as environment variables."""

    name: str
    endpoint: str
    key: str
    secret: str
    other: tuple[str, str] = ("", "")  # another user's key and secret
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """Give the variables with which boto3 and jobsys find it, by another endpoint where one is given."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "JOBSYS_S3_ENDPOINT_URL": endpoint or self.endpoint,
            **self.more,
        }

    @property
    def address(self) -> str:
        """Give host and port."""
        return self.endpoint.partition("//")[2]


def find_scripts() -> Path | None:
    """Find the directory of the scripts by the environment variable, or below a ``shared`` beside the repository or one of its parents."""
    named = os.environ.get("TEST_SERVERS")
    if named:
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPTS).is_dir()), None)


def missing(name: str) -> str | None:
    """Say what is missing for a server, with the way out; None if it can be started."""
    scripts = find_scripts()
    if name != "moto" and (scripts is None or not scripts.is_dir()):
        return f"there is no {SCRIPTS} in a directory shared/ beside the repository: set TEST_SERVERS to its path"
    lacking = {program: package for program, package in PROGRAMS[name].items() if shutil.which(program, path=SEARCHED) is None}
    if not lacking:
        return None
    packages = sorted({package for package in lacking.values() if package})
    way = f"apt-get install -y --no-install-recommends {' '.join(packages)}" if packages else "make dev"
    return f"there is no program {min(lacking)!r}: {way}"


def free_ports(count: int) -> int:
    """Find so many ports in a row that nobody listens on, below those that the system gives to connections; give the first."""
    begin = 10_000 + os.getpid() % 200 * 100
    for first in [*range(begin, 32_000 - count, 100), *range(10_000, begin, 100)]:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                taken = stack.enter_context(socket.socket())
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(("127.0.0.1", port))
            return first
    raise RuntimeError("no ports are free")


@contextlib.contextmanager
def scripted(name: str, state: Path, *arguments: str, ports: int = 2) -> Iterator[int]:
    """Start a server by its script and stop it at the end; gives its first port."""
    scripts = find_scripts()
    assert scripts is not None
    script, port = scripts / NAMED_SO.get(name, f"{name}.sh"), free_ports(ports)
    environment = {**os.environ, "PATH": SEARCHED, "PYTHON": sys.executable, "CEPH_STORE": "memstore", "NO_PROXY": "127.0.0.1,localhost"}
    state.mkdir(parents=True, exist_ok=True)
    try:
        run_script(script, "start", *arguments, str(state), str(port), environment=environment, log=state / "start.out")
        yield port
    finally:
        run_script(script, "stop", str(state), str(port), environment=environment, log=state / "stop.out")


def run_script(script: Path, *arguments: str, environment: Mapping[str, str], log: Path) -> None:
    """Run one of the scripts; what it prints goes to a file, since what stays up would hold a pipe open."""
    with log.open("w") as stream:
        done = subprocess.run(
            [str(script), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, timeout=STARTING
        )
    assert done.returncode == 0, f"{script.name} {arguments[0]} ended with {done.returncode}:\n{log.read_text()}"


@contextlib.contextmanager
def ceph(state: Path) -> Iterator[Server]:
    """Run Ceph's gateway over a cluster of one disk that lies in memory."""
    with scripted("ceph", state, ports=30) as port:
        yield Server("ceph", f"http://127.0.0.1:{port}", "TESTACCESS", "testsecret", ("OTHERACCESS", "othersecret"))


@contextlib.contextmanager
def swift(state: Path) -> Iterator[Server]:
    """Run Swift with its S3 front end: it answers 412, but lets two writers win a race."""
    with scripted("swift", state, ports=5) as port:
        yield Server("swift", f"http://127.0.0.1:{port}", "test:tester", "testing", ("test:reader", "testing2"))


@contextlib.contextmanager
def rclone(state: Path) -> Iterator[Server]:
    """Run rclone over a directory: it takes conditions and ignores them."""
    with scripted("rclone", state) as port:
        yield Server("rclone", f"http://127.0.0.1:{port}", "TESTACCESS", "testsecret", ("OTHERACCESS", "othersecret"))


@contextlib.contextmanager
def moto(state: Path) -> Iterator[Server]:
    """Run moto in a process of its own: everything in memory, hardly anything checked."""
    port, log = free_ports(1), state / "moto.log"
    state.mkdir(parents=True, exist_ok=True)
    command = [f"{OUR_BIN}/moto_server", "-H", "127.0.0.1", "-p", str(port)]
    # the shell goes, so it is no child of ours: tests of batch systems look at all of these
    begun = subprocess.run(
        ["sh", "-c", '"$@" >"$0" 2>&1 </dev/null & echo $!', str(log), *command], process_group=0, stdout=subprocess.PIPE, check=True
    )
    process = psutil.Process(int(begun.stdout))
    try:
        _wait(f"http://127.0.0.1:{port}/moto-api/", process, log)
        yield Server("moto", f"http://127.0.0.1:{port}", "test", "test")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        psutil.wait_procs([process], timeout=5)


def _wait(url: str, process: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + STARTING
    with requests.Session() as session:
        session.trust_env = False
        while process.is_running() and time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if session.get(url, timeout=5).ok:
                    return
            time.sleep(0.05)
    raise AssertionError(f"no answer from {url}:\n{log.read_text()}")


class Faults:
    """The proxy that makes faults on purpose, while it runs."""

    def __init__(self, port: int) -> None:
        """Know its ports."""
        self.endpoint = f"http://127.0.0.1:{port}"
        self._control = f"http://127.0.0.1:{port + 1}"
        self._session = requests.Session()
        self._session.trust_env = False

    def set(self, *rules: Mapping[str, object]) -> None:
        """Make these faults from now on; the rules are those of faultproxy.py, and counts begin at nothing."""
        self._session.put(self._control, json=[dict(rule) for rule in rules], timeout=10).raise_for_status()

    def hits(self) -> list[int]:
        """Tell how often each rule has hit."""
        return [rule["hits"] for rule in self._session.get(self._control, timeout=10).json()["rules"]]

    def requests(self) -> int:
        """Tell how many requests have come, all in all."""
        return int(self._session.get(self._control, timeout=10).json()["made"].get("requests", 0))

    def close(self) -> None:
        """Make no faults any more."""
        self.set()
        self._session.close()


@contextlib.contextmanager
def faultproxy(state: Path, upstream: Server) -> Iterator[int]:
    """Run the proxy in front of a server; gives its port."""
    with scripted("faultproxy", state, upstream.address) as port:
        yield port


@contextlib.contextmanager
def tls(state: Path, upstream: Server) -> Iterator[Server]:
    """Put TLS in front of a server, with an authority of its own, which AWS_CA_BUNDLE names."""
    with scripted("tls-haproxy", state, upstream.address) as port:
        endpoint = f"https://localhost:{port + 1}"
        yield Server(upstream.name, endpoint, upstream.key, upstream.secret, upstream.other, {"AWS_CA_BUNDLE": str(state / "ca.pem")})
