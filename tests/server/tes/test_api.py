"""The TES API over HTTP, without anything behind it that runs tasks."""

import json

import pytest
from starlette.testclient import TestClient

from jobsys.server import attempts, tasks
from jobsys.server.settings import Settings
from jobsys.server.states import RunState
from jobsys.server.tes.app import create_app
from server.asking import find  # type: ignore[import-not-found]

BASE = "/ga4gh/tes/v1"
ECHO = {"image": "alpine", "command": ["echo", "hi"]}


@pytest.fixture
def client(database_url):
    with TestClient(create_app(Settings(database=database_url, max_content=1 << 20)), raise_server_exceptions=False) as made:
        yield made


def create(client, headers=None, **task):
    answer = client.post(f"{BASE}/tasks", json={"executors": [ECHO], **task}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def get(client, id, view="FULL"):
    return client.get(f"{BASE}/tasks/{id}", params={"view": view}).json()


def ran(client, id):
    """Write down what a worker might say."""
    database = client.app.state.database
    with database.writing() as connection:
        seq = find(connection, id).seq
        attempts.begin(connection, seq, 1, 1.0, "host1")
        attempts.execution(connection, seq, 1, 0, {"started": 2.0, "stdout": "out", "stderr": "err", "exit_code": 3, "ended": 3.5})
        attempts.note(connection, seq, 1, ["a note"])
        output = {"url": "file:///x", "path": "/x", "size_bytes": "12"}
        attempts.end(connection, seq, 1, 4.0, {"runtime": "none"}, [output])


def test_service_info_is_truthful(client):
    told = client.get(f"{BASE}/service-info").json()
    assert told["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
    assert {"id", "name", "organization", "version"} <= told.keys()
    assert told["tesResources_backend_parameters"] == ["max_retries", "max_runtime_s"]
    assert "mailto" not in json.dumps(told)


@pytest.mark.parametrize("prefix", [BASE, "/v1", ""])
def test_it_is_served_where_clients_look(client, prefix):
    assert client.get(f"{prefix}/service-info").status_code == 200
    assert client.get(f"{prefix}/tasks/service-info").json()["type"]["artifact"] == "tes"
    assert client.get(f"{prefix}/tasks").json() == {"tasks": []}


def test_views(client):
    inputs = [{"path": "/in", "content": "abc"}, {"path": "/d/", "url": "s3://b/d", "type": "DIRECTORY"}]
    id = create(client, name="n", inputs=inputs, tags={"a": "b", "nothing": None}, resources={"cpu_cores": 1.0})
    ran(client, id)
    assert get(client, id, "MINIMAL") == client.get(f"{BASE}/tasks/{id}").json() == {"id": id, "state": "QUEUED"}
    basic, full = get(client, id, "BASIC"), get(client, id, "FULL")
    assert full["inputs"][0] == {"path": "/in", "type": "FILE", "content": "abc"}
    assert basic["inputs"][0] == {"path": "/in", "type": "FILE"}
    assert full["tags"] == {"a": "b"}
    assert json.dumps(full["resources"]) == '{"cpu_cores": 1}'
    (log,) = full["logs"]
    assert log["system_logs"] == ["a note"]
    assert log["outputs"] == [{"url": "file:///x", "path": "/x", "size_bytes": "12"}]
    assert log["metadata"] == {"host": "host1", "runtime": "none"}
    assert log["logs"][0]["stdout"] == "out"
    assert log["logs"][0]["exit_code"] == 3
    assert log["start_time"] == "1970-01-01T00:00:01.000Z"
    assert "system_logs" not in basic["logs"][0]
    assert not {"stdout", "stderr"} & basic["logs"][0]["logs"][0].keys()


WRONG = [
    ({}, ["executors"]),
    ({"executors": []}, ["executors"]),
    ({"executors": [{"image": "x", "command": []}]}, ["executors[0].command"]),
    ({"executors": [{"image": "", "command": ["a"]}]}, ["executors[0].image"]),
    ({"executors": [{"command": ["a"]}, {"image": 1, "command": ["a"]}]}, ["executors[0].image", "executors[1].image"]),
    ({"executors": [{**ECHO, "workdir": "x", "stdout": "y"}]}, ["executors[0].workdir", "executors[0].stdout"]),
    ({"executors": [{**ECHO, "env": {"A=B": "x"}}]}, ["executors[0].env.A=B.[key]"]),
    ({"executors": [ECHO], "inputs": [{"path": "x", "url": "y"}, {"path": "/a"}]}, ["inputs[0].path", "inputs[1]"]),
    ({"executors": [ECHO], "inputs": [{"path": "/a/../b", "url": "y"}]}, ["inputs[0].path"]),
    ({"executors": [ECHO], "inputs": [{"path": "/a/", "url": "y"}]}, ["inputs[0]"]),
    ({"executors": [ECHO], "outputs": [{"path": "/a*", "url": "y"}]}, ["outputs[0]"]),
    ({"executors": [ECHO], "outputs": [{"path": "/a/*", "path_prefix": "/b", "url": "y"}]}, ["outputs[0]"]),
    ({"executors": [ECHO], "outputs": [{"path": "/a"}]}, ["outputs[0].url"]),
    ({"executors": [ECHO], "outputs": [{"path": "/", "url": "y"}]}, ["outputs[0].path"]),
    ({"executors": [ECHO], "volumes": ["a", "/"]}, ["volumes[0]", "volumes[1]"]),
    ({"executors": [ECHO], "resources": {"cpu_cores": "4", "ram_gb": -1}}, ["resources.cpu_cores", "resources.ram_gb"]),
    ({"executors": [ECHO], "tags": {"a": 1}}, ["tags.a"]),
    ({"executors": [ECHO], "tags": {"a": "\0"}}, ["tags.a"]),
    ({"executors": [ECHO], "name": "\ud800"}, ["name"]),
    ({"executors": [ECHO], "inputs": [{"path": "/a", "content": "x" * ((1 << 20) + 1)}]}, ["inputs[0].content"]),
    (
        {"executors": [ECHO], "resources": {"backend_parameters": {"VmSize": "x"}, "backend_parameters_strict": True}},
        ["resources.backend_parameters"],
    ),
    (
        {"executors": [ECHO], "resources": {"backend_parameters": {"max_runtime_s": "soon", "Max_Retries": "-1"}}},
        ["resources.backend_parameters.Max_Retries", "resources.backend_parameters.max_runtime_s"],
    ),
]


@pytest.mark.parametrize(("task", "fields"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_a_task_that_makes_no_sense_is_refused_with_all_that_is_wrong(client, task, fields):
    answer = client.post(f"{BASE}/tasks", content=json.dumps(task), headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert [each["field"] for each in told["details"]] == fields
    assert (told["status_code"], told["error"], told["msg"]) == (400, "bad_request", told["message"])
    assert client.get(f"{BASE}/tasks").json() == {"tasks": []}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 400),
    ],
)
def test_bodies_that_are_no_task(client, body, kind, status):
    answer = client.post(f"{BASE}/tasks", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status
    assert {"msg", "status_code", "error", "message", "details"} == answer.json().keys()


def test_a_body_that_is_too_large(tmp_path):
    with TestClient(create_app(Settings(directory=str(tmp_path), max_body=1000)), raise_server_exceptions=False) as client:
        said = client.post(f"{BASE}/tasks", json={"executors": [ECHO], "name": "x" * 1000})
        assert (said.status_code, said.json()["error"]) == (413, "too_large")
        streamed = client.post(f"{BASE}/tasks", content=iter([b"x" * 600, b"x" * 600]), headers={"content-type": "application/json"})
        assert (streamed.status_code, streamed.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/tasks/unknown", 404),
        ("GET", "/tasks/%00", 404),
        ("GET", "/tasks/ä b", 404),
        ("POST", "/tasks/unknown:cancel", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/tasks", 405),
        ("GET", "/tasks/x?view=ALL", 400),
        ("GET", "/tasks?view=", 400),
        ("GET", "/tasks?state=DONE", 400),
        ("GET", "/tasks?page_size=0", 400),
        ("GET", "/tasks?page_size=-1", 400),
        ("GET", "/tasks?page_size=x", 400),
        ("GET", "/tasks?page_token=x", 400),
        ("GET", "/tasks?tag_value=x", 400),
    ],
)
def test_errors_have_one_shape(client, method, path, status):
    answer = client.request(method, BASE + path)
    assert answer.status_code == status
    told = answer.json()
    assert {"msg", "status_code", "error", "message", "details"} == told.keys()
    assert told["status_code"] == status
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("path", "methods"), [("/tasks", "GET, POST"), ("/tasks/x", "GET"), ("/tasks/x:cancel", "GET, POST")])
def test_which_methods_are_possible_is_said(client, path, methods):
    refused = client.options(BASE + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)


def test_what_a_client_may_not_set_is_ignored(client):
    id = create(client, id="mine", state="COMPLETE", logs=[{"logs": [], "outputs": []}], creation_time="x", unknown=1)
    assert id != "mine"
    shown = get(client, id)
    assert (shown["state"], shown["logs"]) == ("QUEUED", [])
    assert "unknown" not in shown


def test_a_shown_task_can_be_submitted_again(client):
    shown = get(client, create(client, inputs=[{"path": "/x", "content": ""}], volumes=["/v"]))
    again = client.post(f"{BASE}/tasks", json=shown)
    assert again.status_code == 200
    assert get(client, again.json()["id"])["inputs"] == shown["inputs"]


def test_backend_parameters_that_are_not_supported_are_left_out_and_said(client):
    parameters = {"VmSize": "x", "Max_Runtime_S": "5"}
    shown = get(client, create(client, resources={"backend_parameters": parameters}))
    assert shown["resources"]["backend_parameters"] == {"Max_Runtime_S": "5"}
    assert shown["logs"][0]["system_logs"] == ["backend parameter 'VmSize' is not supported, and was left out"]


def test_pages(client):
    ids = [create(client) for _ in range(11)]
    seen, token = [], None
    while token != "":
        answer = client.get(f"{BASE}/tasks", params={"page_size": 3, **({"page_token": token} if token else {})}).json()
        seen += [task["id"] for task in answer["tasks"]]
        token = answer.get("next_page_token", "")
        create(client)
        if token:
            other = client.get(f"{BASE}/tasks", params={"page_size": 3, "page_token": token, "state": "QUEUED"})
            assert other.status_code == 400
    assert seen == ids[::-1]


def test_tags_and_prefixes(client):
    one = create(client, tags={"foo": "bar"}, name="a%b")
    two = create(client, tags={"foo": "", "x": "y"}, name="ab")
    for question, found in [
        ("tag_key=foo&tag_value=bar", [one]),
        ("tag_key=foo&tag_value=", [two, one]),
        ("tag_key=foo", [two, one]),
        ("tag_key=x&tag_value=y&tag_key=foo", [two]),
        ("tag_key=Foo", []),
        ("name_prefix=a%25", [one]),
        ("name_prefix=A", []),
        ("state=UNKNOWN", []),
        ("state=QUEUED&name_prefix=ab", [two]),
    ]:
        assert [task["id"] for task in client.get(f"{BASE}/tasks?{question}").json()["tasks"]] == found, question


def test_cancel(client):
    id = create(client)
    assert client.post(f"{BASE}/tasks/{id}:cancel").json() == {}
    assert get(client, id, "MINIMAL")["state"] == "CANCELED"
    assert client.post(f"{BASE}/tasks/{id}:cancel").status_code == 200
    running = create(client)
    with client.app.state.database.writing() as connection:
        seq = find(connection, running).seq
        tasks.move(connection, seq, RunState.INITIALIZING, 1.0)
    client.post(f"{BASE}/tasks/{running}:cancel")
    assert get(client, running, "MINIMAL")["state"] == "CANCELING"


def test_a_key_makes_a_submission_safe_to_repeat(client):
    key = {"Idempotency-Key": "k"}
    assert create(client, key, name="a") == create(client, key, name="a")
    refused = client.post(f"{BASE}/tasks", json={"executors": [ECHO], "name": "b"}, headers=key)
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path):
    with TestClient(create_app(Settings(directory=str(tmp_path)))) as client:
        id = create(client, name="kept")
    with TestClient(create_app(Settings(directory=str(tmp_path)))) as client:
        assert get(client, id)["name"] == "kept"


def test_a_database_that_fails_is_our_fault_and_says_nothing_of_itself(client):
    database = client.app.state.database
    with database.writing() as connection:
        for name in ("tags", "attempts", "executions", "events", "tasks"):
            connection.exec_driver_sql(f"DROP TABLE {name}")
    answer = client.get(f"{BASE}/tasks")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "tasks" not in answer.json()["message"]
    refused = client.post(f"{BASE}/tasks", json={"executors": [ECHO]})
    assert (refused.status_code, refused.json()["error"]) == (500, "db_error")


def test_its_own_description_can_be_read(client):
    document = client.get("/openapi.json").json()
    assert {f"{BASE}/service-info", f"{BASE}/tasks", f"{BASE}/tasks/{{id}}", f"{BASE}/tasks/{{id}}:cancel"} == document["paths"].keys()
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert operations == {"GetServiceInfo", "ListTasks", "CreateTask", "GetTask", "CancelTask"}
    assert client.get("/docs").status_code == 200
