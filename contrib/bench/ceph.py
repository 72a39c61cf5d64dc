"""Ceph's S3 gateway on this machine, while it is measured against: ``s3-ceph.sh`` starts it and stops it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from contest import HERE, ContestError, call, say, with_bytecode

SERVERS = "infra/servers"
NAMED = "TEST_SERVERS"
REGION = "us-east-1"
DISK_GB = 100  # of a sparse file: the gateway keeps for hours what was deleted, and a full disk answers nothing
_BESIDE = (0, 1, *range(10, 30))  # the ports that the script takes, from the first one on


class Server(NamedTuple):
    """A gateway that runs."""

    port: int

    def variables(self, port: int | None = None) -> dict[str, str]:
        """Give what a client finds it by, all of it in the environment; at another port where something stands between."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": "TESTACCESS",
            "AWS_SECRET_ACCESS_KEY": "testsecret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def make_bucket(self, name: str, directory: Path) -> None:
        """Make a bucket; modules that jobsys needs for S3 are compiled after that."""
        code = "import sys; from jobsys.jobstores import s3; s3.storage(sys.argv[1]).bucket.client().create_bucket(Bucket=sys.argv[2])"
        call([sys.executable, "-c", code, f"s3://{name}", name], directory, {**with_bytecode(directory / "place"), **self.variables()})


@contextmanager
def ceph(directory: Path) -> Iterator[Server]:
    """Run a gateway that keeps everything in a new directory below.

    Raises:
        ContestError: it can't be started; the message says what is missing.
    """
    script, state = _script(), directory / "ceph"
    state.mkdir()
    port = _free_ports()
    say("starting Ceph's gateway, which takes 20 seconds")
    try:
        _run(script, "start", state, port)
        yield Server(port)
    finally:
        _run(script, "stop", state, port)


def _script() -> Path:
    """Find the script by the environment variable, or below a directory ``shared`` beside the repository or one of its parents."""
    named = os.environ.get(NAMED)
    folders = [Path(named)] if named else [parent / "shared" / SERVERS for parent in HERE.parents]
    found = next((folder / "s3-ceph.sh" for folder in folders if (folder / "s3-ceph.sh").is_file()), None)
    if found is None:
        raise ContestError(f"there is no {SERVERS} in a directory shared/ beside the repository: set {NAMED} to its path")
    return found


def _run(script: Path, verb: str, state: Path, port: int) -> None:
    # A file and no pipe: what goes on running would hold a pipe open.
    log = state / f"{verb}.out"
    with log.open("w") as stream:
        ended = subprocess.run(
            [str(script), verb, str(state), str(port)],
            env={**os.environ, "CEPH_DISK_GB": str(DISK_GB)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise ContestError(f"{script.name} {verb} ended with {ended.returncode}: {log.read_text().strip()[-500:]}")


def _free_ports() -> int:
    """Find a port that is free together with the others that the script takes."""
    for first in range(21000, 31000, 40):
        if all(is_free(first + more) for more in _BESIDE):
            return first
    raise ContestError("no free ports were found between 21000 and 31000")


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
