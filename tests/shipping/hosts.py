"""Pretend machines for tests of shipping: a head that has the leader's files, and hosts that have a bare Python and nothing else.

Over ``hosts.sh``, which is found by TEST_HOSTS_SCRIPT or in ``shared/`` beside the repository. Needs root, iproute2 and openssh-server.
"""

import io
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = "infra/schedulers/hosts.sh"
HEAD: Final = "head"
BARE: Final = ("n3", "n4")
HEAD_ADDRESS: Final = "10.77.0.1"
DECOYS: Final = ("helper", "models", "utils", "space", "stock", "lazy_one", "jobsys", "msgspec", "dill", "numpy", "greeter")
DECOY: Final = "raise RuntimeError(f'a decoy on the worker was imported: {__name__} from {__file__}')\n"
CLEAN: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def find_script() -> Path | None:
    """Find hosts.sh by the environment variable, or below a directory ``shared`` beside the repository or one of its parents."""
    named = os.environ.get("TEST_HOSTS_SCRIPT")
    if named:
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPT).is_file()), None)


def missing() -> str | None:
    """Say what is missing for pretend hosts, with the way out; None if they can be made."""
    script = find_script()
    if script is None or not script.is_file():
        return f"there is no {SCRIPT} in a directory shared/ beside the repository: set TEST_HOSTS_SCRIPT to its path"
    if os.geteuid() != 0:
        return "pretend hosts are made of namespaces, which takes root: run the tests as root"
    for program, package in (("ip", "iproute2"), ("sshd", "openssh-server"), ("ssh", "openssh-client"), ("unshare", "util-linux")):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"there is no program {program!r}: apt-get install -y --no-install-recommends {package}"
    return None


def worker_python() -> str:
    """Choose the interpreter of the hosts: the system's if its minor version is ours, else our own base interpreter."""
    system = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    return system if os.access(system, os.X_OK) else getattr(sys, "_base_executable", sys.executable)


def _is_of_the_host(pid: str, parent: str, line: str) -> bool:
    """Tell the first process of a host, its sleep, its sshd with what that forks, and ``ps`` itself."""
    return pid == "1" or line == "sleep 3600" or line.startswith(("sshd", "/usr/sbin/sshd", "ps -ww")) or line.endswith("<defunct>")


def _home() -> str:
    """Give root's own home, where ssh looks for keys whatever HOME says."""
    return pwd.getpwuid(os.getuid()).pw_dir


class Hosts:
    """A head and bare hosts, up between ``with`` and its end. What is below ``base`` exists on the head only, under the same path."""

    def __init__(self, state: Path) -> None:
        """Keep everything in ``state``, a directory that is deleted at the end."""
        self.state = state
        self.base = state / "persist" / HEAD
        self.python = worker_python()
        self._script = find_script()

    def __enter__(self) -> Self:
        self.base.mkdir(parents=True, exist_ok=True)
        self._hosts("up", HEAD, *BARE, environment={"SHARED": "", "SSH": "1", "NET": HEAD_ADDRESS.rpartition(".")[0]})
        try:
            base = str(self.base)
            self._check(self.run(HEAD, ["sh", "-c", 'mkdir -p "$1" && mount --bind /persist "$1"', "sh", base]))
            for host in BARE:
                self._strip(host)
        except BaseException:
            self._down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._down()

    def _down(self) -> None:
        """End all hosts, and the sleep that the switch waits in: it has no process namespace that would take it along."""
        switch = self.state / "run" / "switch.pid"
        waiting = psutil.Process(int(switch.read_text())).children() if switch.exists() else []
        self._hosts("down")
        for process in waiting:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def run(
        self, host: str, argv: Sequence[str], cwd: str = "/", env: Mapping[str, str] = CLEAN, stdin: str | bytes = "", timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, with this environment and no other."""
        inside = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-c", 'cd "$0" && exec "$@"', cwd, *argv]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run([*self._command("run"), host, *inside], input=data, cwd="/", capture_output=True, timeout=timeout)
        return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))

    def start(self, host: str, argv: Sequence[str], cwd: str = "/", env: Mapping[str, str] = CLEAN) -> "subprocess.Popen[str]":
        """Start a command on a host and go on; what it prints goes to its pipes, and its process is found by ``processes``."""
        inside = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-c", 'cd "$0" && exec "$@"', cwd, *argv]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*self._command("run"), host, *inside], cwd="/", stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )

    def off(self, host: str) -> None:
        """Pull the plug: every process on a host dies at once, and no packet is answered."""
        self._hosts("off", host)

    def boot(self, host: str) -> None:
        """Start a host again, as bare as at first; only its /persist is what it was."""
        self._hosts("boot", host)
        self._strip(host)
        for other in {HEAD, *BARE} - {host}:  # they know it by its old network card, and a real host would have that still
            self._check(self.run(other, ["ip", "neigh", "flush", "all"]))

    def cut(self, host: str) -> None:
        """Unplug a host's network cable."""
        self._hosts("cut", host)

    def join(self, host: str) -> None:
        """Plug it in again."""
        self._hosts("join", host)

    def persist(self, host: str) -> Path:
        """Give the directory that is /persist on a host, as this machine sees it."""
        return self.state / "persist" / host

    def processes(self, host: str) -> dict[int, str]:
        """List the processes of a host by the numbers they have there, less those that make it a host and this question."""
        asked = self._check(self.run(host, ["ps", "-ww", "-e", "-o", "pid=,ppid=,args="]))
        rows = [line.split(maxsplit=2) for line in asked.splitlines()]
        return {int(row[0]): row[2] for row in rows if not _is_of_the_host(*row)}

    def put(self, host: str, files: Mapping[str, str | bytes]) -> None:
        """Write files on a host, by absolute path."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                entry = tarfile.TarInfo(name.lstrip("/"))
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))
        self._check(self.run(host, ["tar", "-x", "-f", "-", "-C", "/"], stdin=packed.getvalue()))

    def hidden(self) -> list[str]:
        """Name the leader's places that no bare host may have."""
        places = [_home(), str(REPOSITORY), str(self.base), os.path.expanduser("~")]
        prefixes = {sys.prefix, sys.base_prefix} - {"/usr", str(Path(self.python).parent.parent)}
        return [*places, *sorted(prefixes)]

    def site_packages(self) -> list[str]:
        """Name the directories in which the hosts' Python looks for installed distributions."""
        asked = self.run(BARE[0], [self.python, "-I", "-c", "import site; print(*site.getsitepackages(), sep='\\n')"])
        return [line for line in self._check(asked).split("\n") if line]

    def _strip(self, host: str) -> None:
        """Take from a host what the copy of this machine shows: leader's files and installed distributions. Then plant decoys."""
        packages = self.site_packages()
        self._check(self.run(host, ["cp", "-a", f"{_home()}/.ssh", "/run/ssh-keys"]))
        for place in [*self.hidden(), *packages]:  # a mode of 1777 would make sshd refuse the keys below
            self._check(self.run(host, ["sh", "-c", '[ ! -d "$0" ] || mount -t tmpfs -o mode=755 none "$0"', place]))
        self._check(self.run(host, ["mv", "/run/ssh-keys", f"{_home()}/.ssh"]))
        decoys = {f"{packages[0]}/{name}/__init__.py": DECOY for name in DECOYS}
        self.put(host, {**decoys, f"{packages[0]}/greeter-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeter\nVersion: 9.0\n"})

    def _command(self, verb: str) -> list[str]:
        return [str(self._script), str(self.state), verb]

    def _hosts(self, verb: str, *names: str, environment: Mapping[str, str] | None = None) -> None:
        log = self.state / f"{verb}.out"  # a file: what stays up would hold a pipe open
        with log.open("w") as stream:
            done = subprocess.run(
                [*self._command(verb), *names],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
        assert done.returncode == 0, f"hosts.sh {verb} ended with {done.returncode}:\n{log.read_text()}"

    @staticmethod
    def _check(done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout
