"""What lists and events tell: wherever a watch is cut, and whatever is listed meanwhile, the state is that of a list."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster.kube_store import Store

ASKS = ["a", "b", "c"]
NAMES = [f"{ask}-{number}" for ask in ASKS for number in range(2)]


def made(name: str, version: int, state: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"jobsys/ask": name[0]}, "resourceVersion": str(version)}, "state": state}


class History:
    """What has happened on a server: its objects now, and an event for each change."""

    def __init__(self) -> None:
        self.version = 7
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[int, dict[str, Any]]] = []

    def happen(self, name: str, state: str) -> None:
        """Let an object be made or changed, or go."""
        if state == "gone" and name not in self.objects:
            return
        self.version += 1
        kind = "MODIFIED" if name in self.objects else "ADDED"
        one = made(name, self.version, state)
        self.objects[name] = one
        if state == "gone":
            kind = "DELETED"
            del self.objects[name]
        self.events.append((self.version, {"type": kind, "object": one}))

    def since(self, version: str) -> list[dict[str, Any]]:
        return [event for at, event in self.events if at > int(version)]

    def told(self, asks: list[str]) -> dict[str, dict[str, str]]:
        return {ask: {name: one["state"] for name, one in self.objects.items() if name[0] == ask} for ask in asks}


def state_of(store: Store[str]) -> dict[str, dict[str, str]]:
    return {ask: {name: held.what for name, held in found.items()} for ask, found in store.asks.items()}


def read(item: dict[str, Any]) -> str:
    return str(item["state"])


happens = st.tuples(st.sampled_from(NAMES), st.sampled_from(["waits", "runs", "gone"]))
steps = st.one_of(
    happens,
    st.tuples(st.just("hear"), st.integers(1, 5)),
    st.tuples(st.just("list"), st.sampled_from(ASKS)),
    st.tuples(st.sampled_from(["cut", "expire", "bookmark"]), st.none()),
)


@given(st.lists(happens, max_size=8), st.lists(steps, max_size=40))
def test_any_cut_gives_the_state_of_a_list(before, then):
    history, store = History(), Store(read)
    for name, state in before:
        history.happen(name, state)
    asks = ["a"]
    store.listed(asks, history.objects.values())
    store.version = str(history.version)
    arrived: list[dict[str, Any]] = []  # events that the server has sent, which nobody has taken yet
    sent = store.version
    for what, detail in then:
        if what in NAMES:
            history.happen(what, detail)
            arrived += history.since(sent)
            sent = str(history.version)
        elif what == "hear":
            for _ in range(min(detail, len(arrived))):
                store.apply(arrived.pop(0))
        elif what == "list":
            asks = sorted({*asks, detail})
            store.listed([detail], history.objects.values())
        elif what == "cut":
            arrived = history.since(store.version)
        elif what == "expire":
            store.apply({"type": "ERROR", "object": {"kind": "Status", "code": 410}})
            assert store.version == ""
            store.listed(asks, history.objects.values())
            arrived, store.version = [], str(history.version)
        elif not arrived:
            store.apply({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": sent}}})
    for event in arrived:
        store.apply(event)
    assert state_of(store) == history.told(asks)
    assert store.version == str(history.version) == sent


@given(st.lists(happens, max_size=30), st.integers(0, 30))
def test_what_is_final_outlasts_its_object(changes, at):
    history, store = History(), Store(read, lambda state: state == "runs")
    store.listed(ASKS, [])
    store.version = "7"
    for name, state in changes:
        history.happen(name, state)
    for event in history.since(store.version)[:at]:
        store.apply(event)
    known = {name: state for found in state_of(store).values() for name, state in found.items()}
    store.listed(ASKS, history.objects.values())
    now = {name: state for found in state_of(store).values() for name, state in found.items()}
    there = {name: one["state"] for name, one in history.objects.items()}
    assert now == {name: state for name, state in known.items() if state == "runs"} | there


def test_an_object_that_ended_is_known_when_it_is_gone():
    store = Store(read, lambda state: state == "ended")
    store.listed(["a"], [made("a-0", 3, "runs"), made("a-1", 4, "runs"), made("b-0", 5, "runs")])
    store.apply({"type": "DELETED", "object": made("a-0", 6, "ended")})
    store.apply({"type": "DELETED", "object": made("a-1", 7, "runs")})
    store.apply({"type": "ADDED", "object": made("b-1", 8, "runs")})
    assert state_of(store) == {"a": {"a-0": "ended"}}
    assert store.version == "8"
    store.keep(["b"])
    assert store.asks == {}


def test_a_list_that_breaks_off_changes_nothing():
    store = Store(read)
    store.listed(["a"], [made("a-0", 3, "runs")])

    def items():
        yield made("a-1", 4, "runs")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.listed(["a", "b"], items())
    assert state_of(store) == {"a": {"a-0": "runs"}}
