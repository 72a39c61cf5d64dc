"""Whole workflows on a real Kubernetes where tasks are evicted, or make room for more urgent pods."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cluster import check  # type: ignore[import-not-found]
from cluster.kubernetes_server import Cluster  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]
from cluster.sites import kubernetes_site  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(300, func_only=True),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS"),  # as the kubeconfig of our own says
]
OUTCOME: Final = "lost"
"""What becomes of attempts: before 1.26, which cannot be had here, Kubernetes does not tell why a pod was deleted."""


@pytest.fixture
def site(kubernetes_cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    with kubernetes_site(kubernetes_cluster, tmp_path) as used:
        yield used
        used.end()


def space(site: Site) -> str:
    """Give the namespace in which a site's pods are."""
    return str(next(word.partition("=")[2] for word in site.options if word.startswith("namespace=")))


def kubectl(site: Site, *words: str, given: Any = None) -> str:
    environment = {**os.environ, **site.environment}
    text = json.dumps(given) if given else None
    done = subprocess.run(
        ["kubectl", "--namespace", space(site), *words],
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pods_are_evicted(site: Site) -> None:
    """As `kubectl drain` does it, and what takes hosts away that are hardly used."""

    def evict() -> None:
        for pod in site.queued():
            name = pod.removeprefix("pod/")
            eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name, "namespace": space(site)}}
            kubectl(site, "create", "--raw", f"/api/v1/namespaces/{space(site)}/pods/{name}/eviction", "-f", "-", given=eviction)

    check.check_runs_again(site, evict, OUTCOME)


def test_a_more_urgent_pod_takes_their_place(site: Site, kubernetes_cluster: Cluster) -> None:
    nodes = json.loads(kubectl(site, "get", "nodes", "-o", "json"))["items"]
    cores = sum(int(node["status"]["allocatable"]["cpu"]) for node in nodes)
    urgent = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "value": 1000}
    asked = {"requests": {"cpu": f"{cores * 1000 - 500}m"}}
    container = {"name": "c", "image": kubernetes_cluster.image, "imagePullPolicy": "Never", "command": ["true"], "resources": asked}
    spec = {"priorityClassName": "urgent", "restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"}, "spec": spec}

    def push_out() -> None:
        kubectl(site, "create", "-f", "-", given=urgent)
        kubectl(site, "create", "-f", "-", given=pod)

    try:
        check.check_runs_again(site, push_out, OUTCOME, "--preemptible")
        assert "Preempted" in kubectl(site, "get", "events", "-o", "custom-columns=R:.reason")
    finally:
        kubectl(site, "delete", "pod/urgent", "priorityclass/urgent", "--ignore-not-found")
