"""A store that is kept up to date over a pretended API server: what is asked for, and when."""

import pytest

from batch.cluster.kube_pretend import PretendApi, down  # type: ignore[import-not-found]
from jobsys.batch.cluster.kube_store import Store
from jobsys.batch.cluster.kube_watch import NAMES, Watched
from jobsys.batch.cluster.scheduler import PassingError


def add(api, ask, number, state="waits"):
    labels = {"app.kubernetes.io/managed-by": "jobsys", "jobsys/ask": ask}
    name = f"{ask}-{number}"
    api.objects["pods"][name] = {"metadata": {"name": name, "labels": labels}, "status": {"phase": state}}


@pytest.fixture
def api():
    made = PretendApi()
    for number in range(4):
        add(made, "a", number)
    return made


@pytest.fixture
def watched(api):
    return Watched(api, "pods", Store(lambda item: item["metadata"]["name"][-1] + item["status"]["phase"]))


def test_nothing_is_asked_for_where_nobody_is_looked_at(api, watched):
    assert watched.look([]) == {}
    assert api.log == []


def test_the_first_list_comes_in_pages_and_a_watch_follows(api, watched):
    assert watched.look(["a", "b"]) == {"a": ["0waits", "1waits", "2waits", "3waits"], "b": []}
    assert api.log == [f"GET {api.path('pods')}"] * 2 + ["WATCH pods"]
    add(api, "b", 0, "runs")
    add(api, "c", 0, "runs")
    api.log.clear()
    assert watched.look(["a", "b"])["b"] == ["0runs"]
    assert api.log == []


def test_many_asks_are_listed_so_many_at_a_time(api, watched):
    names = [f"n{number}" for number in range(NAMES + 1)]
    watched.look(names)
    assert len(api.log) == 3
    watched.look([*names, "a"])
    assert len(api.log) == 5


def test_what_is_new_is_listed_and_what_the_watch_is_behind_with_does_not_undo_that(api, watched):
    watched.look(["a"])
    add(api, "b", 0)
    api.notice()
    add(api, "b", 0, "runs")
    api.notice()
    assert watched.look(["a", "b"])["b"] == ["0runs"]
    assert watched.look(["a", "b"])["b"] == ["0runs"]


def test_a_list_of_all_that_fails_in_the_middle_is_made_again(api, watched):
    watched.look(["a"])
    watched._stream.over = True
    api.objects["pods"].clear()
    api.notice()
    api.forgotten = api.version_now
    lists = iter("1")

    def refuse(method, *_):
        if method == "GET" and not next(lists, ""):
            down()

    api.refuse = refuse
    names = ["a", *(f"n{number}" for number in range(NAMES))]
    with pytest.raises(PassingError):
        watched.look(names)
    add(api, "a", 7)
    api.refuse = lambda *_: None
    assert watched.look(names)["a"] == ["7waits"]
