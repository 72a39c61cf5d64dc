"""The way to an API server: who we are by the official package, against a server of HTTP that answers as it is told."""

import gzip
import importlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import botocore
import pytest

from jobsys.batch.cluster import kube_api
from jobsys.batch.cluster.kube_api import AnswerError, Api
from jobsys.batch.cluster.scheduler import PassingError
from jobsys.errors import UsageError

CERTIFICATE = Path(botocore.__file__).with_name("cacert.pem")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, object]] = []
        self.requests: list[tuple[str, str, dict, object]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
        status, what = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            return
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        if len(data) > 1000:
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path, server, monkeypatch):
    """Write a kubeconfig with two contexts; the token lies in a file."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "token").write_text("secret-1")
    users = [{"name": "u", "user": {"tokenFile": str(tmp_path / "token")}}]
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ]
    clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]
    path = tmp_path / "config"
    whole = {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, "contexts": contexts, "current-context": "one"}
    path.write_text(json.dumps(whole))
    return str(path)


def test_who_and_where(server, config):
    server.answers += [(200, {"major": "1", "minor": "20+"}), (201, {"ok": 1})]
    api = Api(config)
    assert api.namespace == "team"
    assert api.version() == api.version() == (1, 20)
    assert api.create("pods", {"a": "é"}, dryRun="All") == {"ok": 1}
    method, path, headers, body = server.requests[1]
    assert (method, path, body) == ("POST", "/api/v1/namespaces/team/pods?dryRun=All", {"a": "é"})
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer secret-1"


def test_context_and_namespace_are_chosen(config):
    assert Api(config, "two").namespace == "default"
    assert Api(config, "two", "mine").path("jobs", "j") == "/apis/batch/v1/namespaces/mine/jobs/j"


def test_a_list_comes_in_pages(server, config):
    long = {"items": [{"text": "x" * 2000}], "metadata": {"continue": "more of it&"}}
    server.answers += [(200, long), (200, {"items": [{"n": 2}], "metadata": {}})]
    found = list(Api(config).list("pods", accept=kube_api.METADATA, labelSelector="a in (b,c)"))
    assert found == [{"text": "x" * 2000}, {"n": 2}]
    assert server.requests[0][1] == "/api/v1/namespaces/team/pods?labelSelector=a+in+%28b%2Cc%29&limit=500"
    assert server.requests[1][1].endswith("&continue=more+of+it%26")
    assert server.requests[0][2]["Accept"] == kube_api.METADATA


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (429, {"message": "slow down"}, PassingError),
        (500, {"message": "etcdserver: request timed out"}, PassingError),
        (503, b"upstream is gone", PassingError),
        (410, {"message": "too old resource version", "reason": "Expired"}, PassingError),
        (0, b"", PassingError),
        (403, {"message": "pods is forbidden", "reason": "Forbidden"}, AnswerError),
        (422, {"message": "is invalid", "reason": "Invalid"}, AnswerError),
        (302, b"", AnswerError),
    ],
)
def test_whether_it_may_pass(status, said, kind, server, config):
    server.answers.append((status, said))
    with pytest.raises(kind) as caught:
        Api(config).request("GET", "/x")
    words = said.get("message", "") if isinstance(said, dict) else said.decode()
    assert words in str(caught.value)
    assert "secret-1" not in str(caught.value)
    assert len(server.requests) == 1


def test_nobody_listens(server, config, tmp_path):
    text = (tmp_path / "config").read_text().replace(str(server.server_port), "1")
    (tmp_path / "other").write_text(text)
    with pytest.raises(PassingError, match="does not answer"):
        Api(str(tmp_path / "other")).version()


def test_what_is_there_and_what_is_not(server, config):
    missing, there = (404, {"reason": "NotFound"}), (409, {"reason": "AlreadyExists"})
    server.answers += [missing, there, missing, (200, {"kind": "Status"}), missing, (409, {"reason": "Conflict"})]
    api = Api(config)
    assert api.get("jobs", "j") is None
    assert api.create("jobs", {}) is None
    api.patch("jobs", "j", {"spec": {}})
    assert server.requests[-1][2]["Content-Type"] == "application/merge-patch+json"
    api.delete("pods", grace=5, labelSelector="a=b")
    assert server.requests[-1][3] == {"propagationPolicy": "Background", "gracePeriodSeconds": 5}
    with pytest.raises(AnswerError):
        api.request("GET", "/x")
    with pytest.raises(AnswerError):
        api.create("jobs", {})


def test_a_token_that_was_replaced(server, config, tmp_path):
    server.answers += [(200, {}), (401, {"message": "Unauthorized"}), (200, {"fine": 1}), (401, {}), (401, {"message": "Unauthorized"})]
    api = Api(config)
    api.request("GET", "/x")
    (tmp_path / "token").write_text("secret-2")
    assert api.request("GET", "/x") == {"fine": 1}
    assert server.requests[-1][2]["authorization"] == "Bearer secret-2"
    with pytest.raises(AnswerError, match="Unauthorized"):
        api.request("GET", "/x")


def test_in_a_pod(server, tmp_path, monkeypatch):
    inside = importlib.import_module("kubernetes.config.incluster_config")
    names = {"SERVICE_TOKEN_FILENAME": "secret-3", "SERVICE_CERT_FILENAME": CERTIFICATE.read_text()}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(inside, name, str(tmp_path / name))
    (tmp_path / "namespace").write_text("mine\n")
    monkeypatch.setattr(kube_api, "_IN_POD", tmp_path / "namespace")
    nothing = importlib.import_module("kubernetes.config.kube_config")
    monkeypatch.setattr(nothing, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nothing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
    api = Api()
    assert api.namespace == "mine"
    configuration, _ = api._log_in()
    assert configuration.host == f"https://127.0.0.1:{server.server_port}"
    assert configuration.auth_settings()["BearerToken"]["value"].endswith("secret-3")


def test_no_way_in_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="kubectl get pods"):
        Api(str(tmp_path / "nothing")).version()


def test_the_package_is_missing(config, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("jobsys.batch.cluster.kube_api.importlib.import_module", fail)
    with pytest.raises(UsageError, match=r"pip install 'jobsys\[kubernetes\]'"):
        Api(config).version()
