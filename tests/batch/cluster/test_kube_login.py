"""Who we are to an API server, by the official package."""

import contextlib
import importlib
import logging
import warnings
from pathlib import Path

import botocore
import pytest

from jobsys.batch.cluster import kube_login
from jobsys.batch.cluster.kube_api import Api
from jobsys.errors import UsageError

CERTIFICATE = Path(botocore.__file__).with_name("cacert.pem")


def test_context_and_namespace_are_chosen(kubeconfig):
    assert Api(kubeconfig).namespace == "team"
    assert Api(kubeconfig, "two").namespace == "default"
    assert Api(kubeconfig, "two", "mine").path("jobs", "j") == "/apis/batch/v1/namespaces/mine/jobs/j"


def test_in_a_pod(api_server, tmp_path, monkeypatch):
    inside = importlib.import_module("kubernetes.config.incluster_config")
    names = {"SERVICE_TOKEN_FILENAME": "secret-3", "SERVICE_CERT_FILENAME": CERTIFICATE.read_text()}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(inside, name, str(tmp_path / name))
    (tmp_path / "namespace").write_text("mine\n")
    monkeypatch.setattr(kube_login, "_IN_POD", tmp_path / "namespace")
    nothing = importlib.import_module("kubernetes.config.kube_config")
    monkeypatch.setattr(nothing, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nothing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api_server.server_port))
    api = Api()
    assert api.namespace == "mine"
    configuration = api._log_in().configuration
    assert configuration.host == f"https://127.0.0.1:{api_server.server_port}"
    assert configuration.auth_settings()["BearerToken"]["value"].endswith("secret-3")


def test_no_way_in_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="kubectl get pods"):
        Api(str(tmp_path / "nothing")).version()


def test_the_package_is_missing(kubeconfig, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("jobsys.batch.cluster.kube_login.importlib.import_module", fail)
    with pytest.raises(UsageError, match=r"pip install 'jobsys\[kubernetes\]'"):
        Api(kubeconfig).version()


def test_that_the_server_is_not_verified_is_said_once(tmp_path, kubeconfig, caplog, monkeypatch):
    monkeypatch.setattr(kube_login, "_unverified", set())
    text = Path(kubeconfig).read_text().replace('"http://127.0.0.1', '"https://127.0.0.1')
    insecure = tmp_path / "insecure"
    insecure.write_text(text.replace('"cluster": {"server"', '"cluster": {"insecure-skip-tls-verify": true, "server"'))
    category = importlib.import_module("urllib3").exceptions.InsecureRequestWarning
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            kube_login.log_in(str(insecure), "")
    assert caplog.text.count("is not verified") == 1
    for host in ("127.0.0.1", "127.0.0.2"):
        with pytest.raises(category) if host == "127.0.0.2" else contextlib.nullcontext():
            warnings.warn(f"Unverified HTTPS request is being made to host '{host}'. Adding", category, stacklevel=1)
