"""TES as a scheduler, over HTTP: the contract, and servers that fail, refuse, or lose an answer.

The server is a small one of our own (`tes_server.py`); our real one comes later.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.tes_server import Tes  # type: ignore[import-not-found]
from jobsys.batch.cluster import tes as tes_module
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, TaskId, TaskState
from jobsys.batch.cluster.tes import TesScheduler
from jobsys.errors import BatchSystemError
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import Bench, all_ended, check_scheduler, wait

Make = Callable[..., TesScheduler]


@pytest.fixture
def make(tes: Tes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make schedulers of the server, which hang up at the end."""
    made: list[TesScheduler] = []
    monkeypatch.setattr(tes_module, "PAUSE", 0.01)

    def of(**options: str) -> TesScheduler:
        made.append(TesScheduler({"url": tes.url, **{name.replace("_", "-"): value for name, value in options.items()}}))
        return made[-1]

    yield of
    for scheduler in made:
        scheduler.close()


def an_ask(count: int = 1, script: str = "exit 0") -> Ask:
    return Ask("jobsys-a", count, Requirements(), script)


def test_the_contract(make: Make, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    assert check_scheduler(Bench(make, folder=tmp_path / "shared"), {"statuses"}) == ["check_log"]


def test_a_look_sends_one_request_for_an_ask_and_none_when_all_have_ended(tes: Tes, make: Make) -> None:
    tes.page = 1000
    scheduler = make()
    native = scheduler.submit(an_ask(100))
    wait(Bench(make), scheduler, native, 100, all_ended(100))
    before = len(tes.requests)
    assert len(scheduler.look({native: range(100)})) == 100
    assert len(tes.requests) == before
    other = make()
    assert len(other.look({native: range(100)})) == 100
    assert [request.count("view=BASIC") for request in tes.requests[before:]] == [0, 1], "the tags once, for whoever did not submit them"


def test_a_failure_says_what_was_printed(make: Make) -> None:
    scheduler = make()
    native = scheduler.submit(an_ask(1, "echo what went wrong; exit 3"))
    seen = wait(Bench(make), scheduler, native, 1, all_ended(1))[0]
    assert (seen.reason, seen.exit_status, seen.message) == (Reason.FAILED, 3, "what went wrong")


def test_credentials(tes: Tes, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tes.authorization = "Bearer one"
    with pytest.raises(PassingError, match="401: who are you"):
        make().find("jobsys-a")
    monkeypatch.setenv("JOBSYS_TES_TOKEN", "one")
    assert make().find("jobsys-a") is None
    tes.authorization = "Basic bWU6w6Q6eA=="
    monkeypatch.delenv("JOBSYS_TES_TOKEN")
    monkeypatch.setenv("JOBSYS_TES_USER", "me")
    monkeypatch.setenv("JOBSYS_TES_PASSWORD", "ä:x")
    assert make().find("jobsys-a") is None
    tes.authorization = "Bearer two"
    (tmp_path / "token").write_text("one\n")
    scheduler = make(token_file=str(tmp_path / "token"))
    with pytest.raises(PassingError, match="401"):
        scheduler.find("jobsys-a")
    (tmp_path / "token").write_text("two\n")
    assert scheduler.find("jobsys-a") is None
    (tmp_path / "token").unlink()
    with pytest.raises(PassingError, match="token can't be read"):
        scheduler.find("jobsys-a")


def test_an_answer_that_is_lost_makes_no_second_task(tes: Tes, make: Make) -> None:
    tes.faults = [("POST /tasks", 0), ("GET /tasks", 429)]
    scheduler = make()
    native = scheduler.submit(an_ask(3))
    assert sorted(task["tags"]["jobsys-task"] for task in tes.tasks.values()) == ["0", "1", "2"]
    wait(Bench(make), scheduler, native, 3, all_ended(3))


def test_a_server_that_stays_out_of_order_may_come_back(tes: Tes, make: Make) -> None:
    scheduler = make()
    tes.faults = [("POST /tasks", 500)] * 3
    with pytest.raises(PassingError, match="500: failed on purpose"):
        scheduler.submit(an_ask(2))
    assert tes.faults == []
    assert scheduler.find("jobsys-a") is None
    assert scheduler.submit(an_ask(2, "exec sleep 600")) == "jobsys-a"
    for what, do in (
        ("GET /tasks", lambda: scheduler.look({"jobsys-a": [0]})),
        ("GET /tasks", lambda: scheduler.find("jobsys-a")),
        ("POST /tasks/", lambda: scheduler.cancel({"jobsys-a": None})),
    ):
        tes.faults = [(what, 502)]
        with pytest.raises(PassingError, match="502"):
            do()
    tes.faults = [("GET /tasks", 404)]
    with pytest.raises(PassingError, match="404"):  # it has been there before
        scheduler.look({"jobsys-a": [0]})
    scheduler.cancel({"jobsys-a": None})


def test_what_is_refused_for_good(tes: Tes, make: Make) -> None:
    tes.faults = [("POST /tasks", 400)]
    with pytest.raises(AskRefusedError, match=r"400: failed on purpose.*see what the message wants"):
        make().submit(an_ask())
    tes.faults = [("POST /tasks", 403)]
    with pytest.raises(AskRefusedError, match="JOBSYS_TES_TOKEN"):
        make().submit(an_ask())
    with pytest.raises(BatchSystemError, match=r"404: there is nothing here.*is that the URL") as caught:
        make(url=f"{tes.url}/elsewhere").submit(an_ask())
    assert not isinstance(caught.value, PassingError)


def test_a_server_that_is_gone(tes: Tes) -> None:
    scheduler = TesScheduler({"url": "http://127.0.0.1:1"})
    for do in (lambda: scheduler.look({"a": [0]}), lambda: scheduler.find("a"), lambda: scheduler.cancel({"a": None})):
        with pytest.raises(PassingError, match="does not answer"):
            do()


def test_of_two_tasks_with_one_number_the_one_counts_that_has_not_ended(tes: Tes, make: Make) -> None:
    scheduler = make()
    native = scheduler.submit(an_ask())
    wait(Bench(make), scheduler, native, 1, all_ended(1))
    [task] = tes.tasks.values()
    for id, state in (("x", "RUNNING"), ("y", "SYSTEM_ERROR")):
        tes.tasks[id] = {**task, "id": id, "state": state}
    assert make().look({native: [0]})[TaskId(native, 0)].state is TaskState.RUNNING


def test_a_server_that_knows_no_tags_tells_of_the_tasks_of_others(tes: Tes, make: Make) -> None:
    make().submit(an_ask())
    tes.list = lambda query, known=tes.list: known({name: value for name, value in query.items() if not name.startswith("tag_")})
    assert make().find("jobsys-a") == "jobsys-a"
    tes.tasks["x"] = {**next(iter(tes.tasks.values())), "id": "x", "name": "jobsys-b-0", "tags": {}}
    assert make().find("jobsys-b") is None
