"""What a ledger makes of what Dask's scheduler tells its plugins, and of what workers say, in any order."""

from types import SimpleNamespace
from typing import Any

import pytest

from jobsys.batch.cluster import dask_ledger
from jobsys.batch.cluster.dask_ledger import KEEP, Ledger, key_of


class Scheduler:
    """What a ledger uses of Dask's scheduler."""

    allowed_failures = 3

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.plugins: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.workers: dict[str, Any] = {}
        self.released: list[tuple[str, list[str]]] = []

    def add_plugin(self, plugin: Any, name: str) -> None:
        self.plugins[name] = plugin

    def client_releases_keys(self, keys: list[str], client: str) -> None:
        self.released.append((client, keys))

    def client_desires_keys(self, keys: list[str], client: str) -> None:
        self.wanted = (client, keys)

    def add(self, name: str, count: int) -> None:
        """Let a graph come."""
        for number in range(count):
            key = key_of(name, number)
            self.tasks[key] = SimpleNamespace(key=key, state="processing", suspicious=0, who_wants=[SimpleNamespace(client_key="c")])
            self.plugins[dask_ledger.NAME].transition(key, "released", "waiting", stimulus_id="x")


@pytest.fixture
def scheduler() -> Scheduler:
    made = Scheduler()
    dask_ledger.ledger_of(made)
    made.add("a:b", 3)
    return made


def look(scheduler: Scheduler, number: int) -> tuple[Any, ...]:
    [found] = dask_ledger.look({"a:b": [number]}, dask_scheduler=scheduler)
    return found[2:]


def start(scheduler: Scheduler, number: int, worker: str = "w1") -> bool:
    return bool(scheduler.handlers["jobsys_start"](None, name="a:b", number=number, worker=worker, host="h"))


def end(scheduler: Scheduler, number: int, reason: str, worker: str = "w1") -> None:
    scheduler.handlers["jobsys_end"](None, name="a:b", number=number, worker=worker, reason=reason, status=9, message="m")


def ledger(scheduler: Scheduler) -> Ledger:
    found: Ledger = dask_ledger.ledger_of(scheduler)
    return found


def test_a_task_is_started_once(scheduler: Scheduler) -> None:
    assert look(scheduler, 0) == ("queued", "", None, "", "")
    scheduler.tasks[key_of("a:b", 0)].state = "no-worker"
    assert look(scheduler, 0)[3] == "no worker has what it asks for"
    assert start(scheduler, 0)
    assert scheduler.tasks[key_of("a:b", 0)].suspicious == 3, "the next death of its worker must be one too many"
    assert look(scheduler, 0) == ("running", "", None, "", "h")
    assert not start(scheduler, 0)
    assert not start(scheduler, 0, "w2")
    assert not start(scheduler, 7), "nobody asked for it"
    end(scheduler, 0, "", "w2")
    assert look(scheduler, 0)[0] == "running", "another worker has no say"
    end(scheduler, 0, "failed")
    assert look(scheduler, 0) == ("ended", "failed", 9, "m", "h")
    ledger(scheduler).transition(key_of("a:b", 0), "processing", "erred", stimulus_id="x", exception_text="later")
    assert look(scheduler, 0) == ("ended", "failed", 9, "m", "h")
    assert not start(scheduler, 0)


def test_a_worker_that_goes_loses_what_it_ran_and_nothing_else(scheduler: Scheduler) -> None:
    start(scheduler, 0)
    start(scheduler, 1, "w2")
    ledger(scheduler).remove_worker(scheduler, "w1", stimulus_id="x")
    assert [look(scheduler, number)[:2] for number in range(3)] == [("ended", "lost"), ("running", ""), ("queued", "")]
    assert scheduler.released == [("c", [key_of("a:b", 0)])], "else Dask runs it elsewhere"
    assert not start(scheduler, 0, "w2")


@pytest.mark.parametrize(
    ("finish", "more", "seen"),
    [
        ("memory", {}, ("ended", "", None, "")),
        ("erred", {}, ("ended", "lost", None, "its worker died")),
        ("erred", {"exception_text": "ValueError('x')"}, ("ended", "lost", None, "ValueError('x')")),
        ("forgotten", {}, ("ended", "lost", None, dask_ledger.LET_GO)),
        ("released", {}, ("queued", "", None, "")),
    ],
)
def test_what_dask_tells_of_a_task_of_which_its_worker_told_nothing(scheduler: Scheduler, finish: str, more: Any, seen: Any) -> None:
    ledger(scheduler).transition(key_of("a:b", 0), "processing", finish, stimulus_id="x", **more)
    assert look(scheduler, 0)[:4] == seen


def test_the_tasks_of_others_are_none_of_its_business(scheduler: Scheduler) -> None:
    for key in ("inc-1", ("x", 1), "jobsys", "jobsys:", "jobsys:a:b", 7):
        ledger(scheduler).transition(key, "waiting", "processing", stimulus_id="x")
    assert list(ledger(scheduler).asks) == ["a:b"]


def test_cancel(scheduler: Scheduler) -> None:
    start(scheduler, 0)
    dask_ledger.cancel({"a:b": [0, 9], "unknown": None}, dask_scheduler=scheduler)
    assert scheduler.released == [("c", [key_of("a:b", 0)])]
    assert look(scheduler, 0)[0] == "running", "it has ended when its worker says so"
    end(scheduler, 0, "failed")
    assert look(scheduler, 0)[:2] == ("ended", "canceled")
    dask_ledger.cancel({"a:b": None}, dask_scheduler=scheduler)
    assert scheduler.released[1:] == [("c", [key_of("a:b", 1), key_of("a:b", 2)])]


def test_who_lets_go_of_a_task_in_another_way_has_lost_it(scheduler: Scheduler) -> None:
    start(scheduler, 0)
    end(scheduler, 0, "canceled")
    assert look(scheduler, 0)[:2] == ("ended", "lost")


def test_a_leader_keeps_what_has_come_and_has_not_ended(scheduler: Scheduler) -> None:
    start(scheduler, 1)
    end(scheduler, 1, "")
    assert dask_ledger.keep("a:b", 3, dask_scheduler=scheduler) == 3
    assert scheduler.wanted == ("fire-and-forget", [key_of("a:b", 0), key_of("a:b", 2)])
    assert dask_ledger.keep("c", 3, dask_scheduler=scheduler) == 0


def test_what_has_ended_is_forgotten_after_an_hour(scheduler: Scheduler) -> None:
    for number in range(3):
        ledger(scheduler).forget(number)
        assert dask_ledger.find("a:b", dask_scheduler=scheduler)
        start(scheduler, number)
        end(scheduler, number, "")
    ledger(scheduler).forget(1000.0)
    ledger(scheduler).forget(1000.0 + KEEP)
    assert dask_ledger.find("a:b", dask_scheduler=scheduler)
    ledger(scheduler).forget(1001.0 + KEEP)
    assert not dask_ledger.find("a:b", dask_scheduler=scheduler)
    assert dask_ledger.look({"a:b": [0]}, dask_scheduler=scheduler) == []


def test_workers_are_told_by_kind(scheduler: Scheduler) -> None:
    scheduler.workers = {str(number): SimpleNamespace(resources={"GPU": number % 2}) for number in range(9)}
    assert sorted(dask_ledger.workers(dask_scheduler=scheduler), key=str) == [{"GPU": 0}, {"GPU": 1}]
