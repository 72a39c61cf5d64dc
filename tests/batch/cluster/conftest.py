"""What the tests of tasks share: a scheduler of processes, a store, a server in the place of Kubernetes, and little patience."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.cluster.kube_server import Server  # type: ignore[import-not-found]
from batch.cluster.places import store_at  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.cluster import crew
from jobsys.batch.cluster import system as cluster
from jobsys.jobstores import JobStore


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crew, "GRACE", 0.3)
    monkeypatch.setattr(cluster, "POLL", (0.2, 1.0))


@pytest.fixture
def scheduler() -> Iterator[PretendScheduler]:
    made = PretendScheduler(2)
    yield made
    PretendScheduler.close(made)  # whatever a test has made of its own close


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return store_at(tmp_path / "store")


@pytest.fixture
def api_server() -> Iterator[Server]:
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def kubeconfig(tmp_path: Path, api_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a kubeconfig with two contexts; the token lies in a file."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "token").write_text("secret-1")
    users = [{"name": "u", "user": {"tokenFile": str(tmp_path / "token")}}]
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ]
    clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api_server.server_port}"}}]
    path = tmp_path / "config"
    whole = {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, "contexts": contexts, "current-context": "one"}
    path.write_text(json.dumps(whole))
    return str(path)
