"""An NFS server and two hosts that mount it, each with a kernel of its own, over ``umlhosts.sh``; one set at a time on a machine."""

import contextlib
import itertools
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from cluster.kernel import refused  # type: ignore[import-not-found]
from jobsys.storage.base import Stat, Storage
from jobsys.storage.served import ServedStorage
from s3.servers import REPOSITORY, SCRIPTS, find_scripts  # type: ignore[import-not-found]

PROGRAMS: Final = {
    "linux.uml": "user-mode-linux",
    "rpc.nfsd": "nfs-kernel-server",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ip": "iproute2",
    "modprobe": "kmod",
    "mkfs.ext4": "e2fsprogs",
}
SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NEEDS: Final = ("network bridges", "network taps (/dev/net/tun)", "programs in /dev/shm")
MOUNTED: Final = "/mnt/nfs"
EXPORTED: Final = "/mnt/export"
NETWORK: Final = "10.99.0"


def impossible() -> str | None:
    """Say why no such hosts can be had here at all."""
    if os.geteuid() != 0:
        return "hosts with a network of their own are for root"
    if os.path.exists("/sys/class/net/umlbr0"):
        return "another set of such hosts runs on this machine (umlbr0)"
    return refused(NEEDS) or None


def missing() -> str | None:
    """Say what is missing, with the way out."""
    scripts = find_scripts()
    if scripts is None or not (scripts / "umlhosts.sh").is_file():
        return f"there is no {SCRIPTS}/umlhosts.sh in a directory shared/ beside the repository: set TEST_SERVERS to the path of {SCRIPTS}"
    lacking = sorted({package for program, package in PROGRAMS.items() if shutil.which(program, path=SEARCHED) is None})
    return f"programs are missing: apt-get install -y --no-install-recommends {' '.join(lacking)}" if lacking else None


@dataclass
class Host:
    """A host: 0 has the disk, the others mount it."""

    number: int
    hosts: "Hosts"
    storage: ServedStorage
    agent: subprocess.Popen[str]

    @property
    def base(self) -> str:
        """Where the shared directory is."""
        return MOUNTED if self.number else EXPORTED

    def use(self, name: str) -> None:
        """Have its storage be that of a directory."""
        assert self.agent.stdin is not None
        self.agent.stdin.write(f"{self.base}/{name}\n")
        self.agent.stdin.flush()
        assert _line(self.agent.stdout) == "done"

    def run(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Run Python on it."""
        return self.hosts.python(self.number, "-c", code, *arguments)


class Hosts:
    """All of them."""

    def __init__(self, state: Path) -> None:
        """Start them; what the scripts print goes to a file."""
        scripts = find_scripts()
        assert scripts is not None
        self._script, self.state, self._all = str(scripts / "umlhosts.sh"), state, dict[int, Host]()
        hidden = [str(path) for path in (REPOSITORY, Path(sys.prefix)) if path.parts[1] in {"tmp", "mnt"}]
        self._environment = {**os.environ, "PATH": SEARCHED, "NFS_DISK_GB": "1", "UML_SHOW": " ".join(hidden)}
        self.control("start", "2")

    def control(self, *arguments: str) -> None:
        """Start, stop, crash or boot."""
        log = self.state.with_suffix(".log")
        with log.open("w") as stream:
            command = [self._script, *arguments, str(self.state)]
            done = subprocess.run(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=110)
        assert done.returncode == 0, log.read_text()

    def python(self, number: int, *arguments: str) -> subprocess.Popen[str]:
        """Run Python on a host, with this jobsys."""
        command = f"exec {shlex.join([sys.executable, *arguments])}"
        return subprocess.Popen(
            [self._script, "exec", str(number), command, str(self.state)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getitem__(self, number: int) -> Host:
        """Give a host, with an agent on it."""
        if number not in self._all:
            token = secrets.token_hex(16)
            agent = self.python(number, str(Path(__file__).with_name("agent.py")), token)
            port = _line(agent.stdout).rpartition(":")[2]
            self._all[number] = Host(number, self, ServedStorage(f"http://{NETWORK}.{100 + number}:{port}", token), agent)
        return self._all[number]

    def close(self) -> None:
        """End everything."""
        for host in self._all.values():
            host.storage.close()
            with host.agent, contextlib.suppress(BrokenPipeError):
                host.agent.communicate("", timeout=20)
        self.control("stop")


@contextlib.contextmanager
def started() -> Iterator[Hosts]:
    """Start the hosts and stop them."""
    with tempfile.TemporaryDirectory(prefix="nfs-", dir="/var/tmp") as folder:
        hosts = Hosts(Path(folder) / "s")
        try:
            yield hosts
        finally:
            hosts.close()


class Crossing(Storage):
    """Storage in a new directory, of which each call is made on the next of some hosts."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        """Agree on a directory."""
        every, name = list(hosts), secrets.token_hex(8)
        for host in every:
            host.use(name)
        self._turns = itertools.cycle([host.storage for host in every])

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        return next(self._turns).put(key, data, if_absent=if_absent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        return next(self._turns).get(key, start, length)

    def reader(self, key: str) -> AbstractContextManager[BinaryIO]:
        return next(self._turns).reader(key)

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:
        return next(self._turns).writer(key, executable=executable, later=later)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        return next(self._turns).list(prefix, after)

    def delete(self, keys: Iterable[str]) -> None:
        next(self._turns).delete(keys)

    def stat(self, key: str) -> Stat:
        return next(self._turns).stat(key)

    def url(self, key: str) -> str:
        return next(self._turns).url(key)


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()
