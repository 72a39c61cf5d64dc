import collections
import functools
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jobsys import pickling
from jobsys.errors import PicklingError
from jobsys.job import FunctionJob


def round_trip(value: Any) -> Any:
    data, _ = pickling.dump(value, "it")
    return pickling.load(data, lambda slot: slot)


def refusal(value: Any, labels: tuple[str, ...] = ()) -> str:
    with pytest.raises(PicklingError) as caught:
        pickling.dump(value, "the thing", labels)
    return str(caught.value)


def test_one_object_in_two_places_stays_one() -> None:
    shared = [1]
    first, second = round_trip((shared, {"again": shared}))
    assert first is second["again"]


def test_a_value_travels_as_it_is_when_it_is_pickled() -> None:
    value = [1]
    data, _ = pickling.dump(value, "it")
    value.append(2)
    assert pickling.load(data, lambda slot: slot) == [1]


class Held:
    def __init__(self, what: Any) -> None:
        self.what = what

    def get(self) -> Any:
        return self.what


class Stated:
    def __init__(self, what: Any) -> None:
        self._what = what

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": [self._what]}


class Slotted:
    __slots__ = ("inside",)
    inside: Any


def closure(what: Any) -> Any:
    def inner() -> Any:
        return what

    return inner


def default(what: Any) -> Any:
    return lambda value=what, *, keyword=what: (value, keyword)


def slotted(what: Any) -> Slotted:
    made = Slotted()
    made.inside = what
    return made


Row = collections.namedtuple("Row", ["cells"])

CULPRITS = [
    (threading.Lock, "_thread.lock"),
    (threading.RLock, "_thread.RLock"),
    (lambda: (x for x in [1]), "generator"),
    (sys._getframe, "frame"),
    (lambda: memoryview(b""), "memoryview"),
]
PLACES = [
    (lambda bad: bad, "it is a "),
    (lambda bad: [0, {"a": [1, {"b": bad}]}], "[1]['a'][1]['b'] is a "),
    (lambda bad: Held([bad]), ".what[0] is a "),
    (Stated, ".kept[0] is a "),
    (slotted, ".inside is a "),
    (closure, "-> closure.<locals>.inner's variable 'what' is a "),
    (default, "-> default.<locals>.<lambda>'s default 0 is a "),
    (lambda bad: functools.partial(print, bad), "[0] is a "),
    (lambda bad: Held(bad).get, ".__self__.what is a "),
    (lambda bad: Row([bad]), ".cells[0] is a "),
    (lambda bad: [Held({"k": (1, closure(bad))})], "[0].what['k'][1] -> closure.<locals>.inner's variable 'what' is a "),
]


@pytest.mark.parametrize(("place", "path"), PLACES, ids=[path for _, path in PLACES])
@pytest.mark.parametrize(("make", "kind"), CULPRITS, ids=[kind for _, kind in CULPRITS])
def test_the_culprit_and_the_way_to_it_are_named(make: Any, kind: str, place: Any, path: str) -> None:
    assert f"{path}{kind} (" in refusal(place(make()))


def test_open_files_and_sockets_are_not_opened_a_second_time(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as text, (tmp_path / "f").open("rb") as binary, socket.socket() as connection:
        assert "[0] is a _io.TextIOWrapper" in refusal([text])
        assert "pass the file's path" in refusal([binary])
        assert "[0] is a socket.socket" in refusal([connection])


def test_labels_name_the_parts_of_a_call() -> None:
    text = refusal((print, (1, [threading.Lock()]), {}), ("its function", "args", "kwargs"))
    assert text.startswith("the thing can't be pickled: args[1][0] is a _thread.lock")


class Raising:
    def __getstate__(self) -> None:
        raise KeyError("boo")


class Reducing:
    def __reduce__(self) -> Any:
        raise OSError("no disk")


class Rude:
    def __reduce__(self) -> Any:
        raise RuntimeError("reduce")

    def __repr__(self) -> str:
        raise RuntimeError("repr")


@pytest.mark.parametrize(("kind", "cause"), [(Raising, "KeyError: 'boo'"), (Reducing, "OSError: no disk"), (Rude, "RuntimeError: reduce")])
def test_what_a_class_raises_itself_is_told(kind: type, cause: str) -> None:
    text = refusal([1, kind()])
    assert f"[1] is a {__name__}.{kind.__name__} (" in text
    assert cause in text


def test_a_first_attempt_leaves_no_slots_behind() -> None:
    """The second attempt numbers the promises anew; counted from where the first one stopped, they would be filled wrongly."""
    jobs = [FunctionJob(len, ([],), name=str(n)) for n in range(3)]

    class Once:
        tried = 0

        def __reduce__(self) -> Any:
            Once.tried += 1
            if Once.tried == 1:
                jobs[1].rv().__reduce__()  # takes a slot
                raise ValueError("only dill may")
            return str, ("done",)

    data, sources = pickling.dump([jobs[0].rv(), Once(), jobs[2].rv()], "it")
    assert [source is job for source, job in zip(sources, (jobs[0], jobs[2]), strict=True)] == [True, True]
    assert pickling.load(data, ("zero", "two").__getitem__) == ["zero", "done", "two"]
    assert Once.tried == 2


def test_sources_are_told_apart_by_identity() -> None:
    class Same(FunctionJob):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    first, second = Same(len), Same(len)
    _, sources = pickling.dump([first.rv(), second.rv(), first.rv()], "it")
    assert len(sources) == 2


def test_too_deep_is_said_and_not_tried_for_minutes() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    began = time.monotonic()
    assert "nested too deeply" in refusal(deep)
    assert time.monotonic() - began < 5


def test_a_culprit_behind_a_million_good_parts_is_found_in_one_pass() -> None:
    value = [*range(300_000), threading.Lock()]
    began = time.monotonic()
    assert "[300000] is a _thread.lock" in refusal(value)
    assert time.monotonic() - began < 20


def test_a_job_inside_arguments_is_refused_with_what_it_is() -> None:
    with pytest.raises(PicklingError, match=r"the thing can't be pickled: job 'len' can't travel .* pass its promise"):
        pickling.dump([FunctionJob(len)], "the thing")


def test_a_name_that_is_not_there_is_told() -> None:
    data, _ = pickling.dump(Held(1), "it")
    missing = data.replace(b"Held", b"Hold")
    with pytest.raises(PicklingError, match="'Hold'"):
        pickling.load(missing, lambda slot: slot)
    with pytest.raises(PicklingError, match="nowhere_at_all"):
        pickling.load(b"cnowhere_at_all\nx\n.", lambda slot: slot)
