"""Requests to an API server: against a server of HTTP that answers as it is told."""

import time
from email.utils import formatdate

import pytest

from batch.cluster.kube_server import Handler  # type: ignore[import-not-found]
from jobsys.batch.cluster import kube_api
from jobsys.batch.cluster.kube_api import AnswerError, Api, ExpiredError
from jobsys.batch.cluster.scheduler import PassingError


def test_who_and_where(api_server, kubeconfig):
    api_server.answers += [(200, {"major": "1", "minor": "20+"}), (201, {"ok": 1})]
    api = Api(kubeconfig)
    assert api.namespace == "team"
    assert api.version() == api.version() == (1, 20)
    assert api.create("pods", {"a": "é"}, dryRun="All") == {"ok": 1}
    method, path, headers, body = api_server.requests[1]
    assert (method, path, body) == ("POST", "/api/v1/namespaces/team/pods?dryRun=All", {"a": "é"})
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer secret-1"


def test_a_list_comes_in_pages(api_server, kubeconfig):
    long = {"items": [{"text": "x" * 2000}], "metadata": {"continue": "more of it&"}}
    api_server.answers += [(200, long), (200, {"items": [{"n": 2}], "metadata": {}})]
    found = list(Api(kubeconfig).list("pods", accept=kube_api.METADATA, labelSelector="a in (b,c)"))
    assert found == [{"text": "x" * 2000}, {"n": 2}]
    assert api_server.requests[0][1] == "/api/v1/namespaces/team/pods?labelSelector=a+in+%28b%2Cc%29&limit=500"
    assert api_server.requests[1][1].endswith("&continue=more+of+it%26")
    assert api_server.requests[0][2]["Accept"] == kube_api.METADATA


def test_how_far_the_clock_of_the_server_is_ahead(api_server, kubeconfig, monkeypatch):
    api_server.answers += [(200, {})] * 2
    api = Api(kubeconfig)
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: formatdate(time.time() + 1000, usegmt=True))
    api.request("GET", "/x")
    assert api.ahead == pytest.approx(1000, abs=3)
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: "today")
    api.request("GET", "/x")
    assert api.ahead == pytest.approx(1000, abs=3)


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
def test_whether_it_may_pass(status, said, kind, api_server, kubeconfig):
    api_server.answers.append((status, said))
    with pytest.raises(kind) as caught:
        Api(kubeconfig).request("GET", "/x")
    words = said.get("message", "") if isinstance(said, dict) else said.decode()
    assert words in str(caught.value)
    assert "secret-1" not in str(caught.value)
    assert len(api_server.requests) == 1


def test_nobody_listens(api_server, kubeconfig, tmp_path):
    text = (tmp_path / "config").read_text().replace(str(api_server.server_port), "1")
    (tmp_path / "other").write_text(text)
    with pytest.raises(PassingError, match="does not answer"):
        Api(str(tmp_path / "other")).version()


def test_what_is_there_and_what_is_not(api_server, kubeconfig):
    missing, there = (404, {"reason": "NotFound"}), (409, {"reason": "AlreadyExists"})
    api_server.answers += [missing, there, missing, (200, {"kind": "Status"}), missing, (409, {"reason": "Conflict"})]
    api = Api(kubeconfig)
    assert api.get("jobs", "j") is None
    assert api.create("jobs", {}) is None
    api.patch("jobs", "j", {"spec": {}})
    assert api_server.requests[-1][2]["Content-Type"] == "application/merge-patch+json"
    api.delete("pods", grace=5, labelSelector="a=b")
    assert api_server.requests[-1][3] == {"propagationPolicy": "Background", "gracePeriodSeconds": 5}
    with pytest.raises(AnswerError):
        api.request("GET", "/x")
    with pytest.raises(AnswerError):
        api.create("jobs", {})


def test_a_token_that_was_replaced(api_server, kubeconfig, tmp_path):
    api_server.answers += [(200, {}), (401, {"message": "Unauthorized"}), (200, {"fine": 1}), (401, {}), (401, {"message": "Unauthorized"})]
    api = Api(kubeconfig)
    api.request("GET", "/x")
    (tmp_path / "token").write_text("secret-2")
    assert api.request("GET", "/x") == {"fine": 1}
    assert api_server.requests[-1][2]["authorization"] == "Bearer secret-2"
    with pytest.raises(AnswerError, match="Unauthorized"):
        api.request("GET", "/x")


def test_an_answer_that_breaks_off(api_server, kubeconfig):
    api_server.answers.append((200, [b'{"items": [', None]))
    with pytest.raises(PassingError, match="in the middle"):
        Api(kubeconfig).request("GET", "/x")


def test_a_watch(api_server, kubeconfig):
    api_server.answers.append((200, []))
    stream = Api(kubeconfig).watch("pods", "17", labelSelector="a=b")
    stream._thread.join()
    assert (stream.take(), stream.over) == ([], True)
    query = "labelSelector=a%3Db&watch=1&allowWatchBookmarks=true&resourceVersion=17&timeoutSeconds=60"
    assert api_server.requests[0][1] == f"/api/v1/namespaces/team/pods?{query}"


@pytest.mark.parametrize(("status", "kind"), [(410, ExpiredError), (500, PassingError), (403, AnswerError)])
def test_a_watch_that_is_refused(status, kind, api_server, kubeconfig):
    api_server.answers.append((status, {"message": "no"}))
    with pytest.raises(kind, match="no"):
        Api(kubeconfig).watch("pods", "17")
