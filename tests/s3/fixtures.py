"""S3 servers as fixtures: each is started once, only if a test asks for it, and taken down with nothing left."""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from s3 import servers  # type: ignore[import-not-found]

MANY_OPEN = 200  # descriptors of this process, which may have 1024 on many machines


@pytest.fixture(scope="session")
def s3_state(isolated_session: None) -> Iterator[Path]:
    """Give a directory for what the servers keep; a short path, for there are sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="js-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _demand(name: str) -> None:
    lacking = servers.missing(name)
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {name}: {lacking}")


def _server(name: str, state: Path) -> "AbstractContextManager[servers.Server]":
    _demand(name)
    start: Callable[[Path], AbstractContextManager[servers.Server]] = getattr(servers, name)
    return start(state / name)


@pytest.fixture(scope="session")
def ceph(s3_state: Path) -> "Iterator[servers.Server]":
    with _server("ceph", s3_state) as server:
        yield server


@pytest.fixture(scope="session")
def moto(s3_state: Path) -> "Iterator[servers.Server]":
    with _server("moto", s3_state) as server:
        yield server


@pytest.fixture(scope="session")
def swift(s3_state: Path) -> "Iterator[servers.Server]":
    with _server("swift", s3_state) as server:
        yield server


@pytest.fixture(scope="session")
def rclone(s3_state: Path) -> "Iterator[servers.Server]":
    with _server("rclone", s3_state) as server:
        yield server


@pytest.fixture(scope="session")
def tls(s3_state: Path, ceph: "servers.Server") -> "Iterator[servers.Server]":
    _demand("tls-haproxy")
    with servers.tls(s3_state / "tls", ceph) as server:
        yield server


@pytest.fixture(scope="session")
def fault_port(s3_state: Path, ceph: "servers.Server") -> Iterator[int]:
    _demand("faultproxy")
    with servers.faultproxy(s3_state / "faults", ceph) as port:
        yield port


@pytest.fixture
def faults(fault_port: int) -> "Iterator[servers.Faults]":
    """Give the proxy in front of Ceph, with no fault set; none is left for the next test."""
    proxy = servers.Faults(fault_port)
    proxy.set()
    yield proxy
    proxy.close()


@pytest.fixture
def s3_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Give what makes a new bucket on a server, and puts into the environment what it takes to get there; gives the locator."""

    def make(server: servers.Server, endpoint: str = "") -> str:
        use(monkeypatch, server, endpoint)
        return f"s3://{bucket(server)}/{uuid.uuid4().hex[:8]}"

    yield make
    if len(os.listdir("/proc/self/fd")) > MANY_OPEN:
        gc.collect()  # clients of boto3 hang in cycles, each with its connections


def use(monkeypatch: pytest.MonkeyPatch, server: "servers.Server", endpoint: str = "") -> None:
    """Put into the environment what it takes to get to a server, and nothing else that boto3 would look at."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "JOBSYS_S3_")) or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)
    for name, value in server.environment(endpoint).items():
        monkeypatch.setenv(name, value)


_buckets: dict[str, str] = {}


def bucket(server: "servers.Server") -> str:
    """Give the bucket of this session on a server, made at the first call: new prefixes are cheaper than new buckets."""
    if server.endpoint not in _buckets:
        name = f"jobsys-{uuid.uuid4().hex[:12]}"
        new_client(server).create_bucket(Bucket=name)
        _buckets[server.endpoint] = name
    return _buckets[server.endpoint]


def new_client(server: "servers.Server", key: str = "", secret: str = "") -> "boto3.client":
    """Give boto3's own client, to look at what is there without a line of ours."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key or server.key,
        aws_secret_access_key=secret or server.secret,
        verify=server.more.get("AWS_CA_BUNDLE"),
        config=Config(
            request_checksum_calculation="when_required", response_checksum_validation="when_required"
        ),  # else Ceph wants a length
    )
