import copy
import dataclasses
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobsys import pickling
from jobsys.errors import PicklingError, PromiseError
from jobsys.job import FunctionJob
from jobsys.promise import Promise, promise_job


def promise() -> Promise[Any]:
    return FunctionJob(len, ([],), name="early").rv()


def travelled(value: Any, *given: Any) -> Any:
    """Pickle a value, and unpickle it with values for its promises."""
    data, sources = pickling.dump(value, "it")
    assert len(sources) == len(given)
    return pickling.load(data, given.__getitem__)


USES: list[Callable[[Any], Any]] = [
    bool,
    int,
    float,
    complex,
    len,
    list,
    iter,
    next,
    reversed,
    abs,
    round,
    bytes,
    operator.index,
    operator.neg,
    operator.invert,
    lambda p: p + 1,
    lambda p: 1 + p,
    lambda p: 2**p,
    lambda p: p @ p,
    lambda p: p < 3,
    lambda p: p == 3,
    lambda p: p != "x",
    lambda p: 3 in p,
    lambda p: f"/data/{p}.txt",
    lambda p: f"{p:>10}",
    lambda p: Path(p),
    lambda p: p.shape,
    lambda p: p(1),
    lambda p: p.__setitem__(0, 1),
    lambda p: [a + b for a, b in p],
    lambda p: "yes" if p else "no",
]


@pytest.mark.parametrize("use", USES, ids=range(len(USES)))
def test_a_use_as_a_value_is_refused_and_says_what_to_do(use: Callable[[Any], Any]) -> None:
    with pytest.raises(PromiseError, match=r"job 'early'.*has no value yet: pass it to another job"):
        use(promise())


def test_with_is_refused() -> None:
    with pytest.raises((PromiseError, TypeError)), promise():
        raise AssertionError


def test_what_looks_but_does_not_use() -> None:
    one, other = promise(), promise()
    assert repr(one[0]["k"]) == "<promise of job 'early'[0]['k']>"
    assert not hasattr(one, "shape")
    assert one == one
    assert one != other
    assert {one: 1, other: 2}[one] == 1
    assert other in [one, other]
    assert callable(promise_job(one).run)


def test_a_copy_promises_the_same() -> None:
    @dataclasses.dataclass
    class Sample:
        value: Any

    given = promise()
    assert copy.copy(given) is given
    assert copy.deepcopy([given])[0] is given
    assert dataclasses.asdict(Sample(given))["value"] is given


def test_a_path_leads_into_the_value() -> None:
    given = promise()
    assert travelled([given["rows"][1], given["rows"][:2]], {"rows": [1, 2, 3]}) == [2, [1, 2]]
    assert travelled(given[given[0]], [2, 1, 7]) == 7, "a promise may be the key to another"


@pytest.mark.parametrize("value", [{}, {"rows": [1]}, {"rows": 7}, None])
def test_a_path_that_does_not_fit_names_the_step(value: Any) -> None:
    with pytest.raises(PromiseError, match=r"path \['rows'\](\[3\])? does not fit the value: \w+Error"):
        travelled(promise()["rows"][3], value)


def test_a_user_s_own_getitem_may_raise_anything() -> None:
    class Odd:
        def __getitem__(self, key: str) -> None:
            raise OSError("no disk")

    with pytest.raises(PromiseError, match="OSError: no disk"):
        travelled(promise()["x"], Odd())


def test_promises_anywhere_share_one_value() -> None:
    given, other = promise(), promise()

    class Slotted:
        __slots__ = ("inside",)
        inside: Any

    slotted = Slotted()
    slotted.inside = given
    value = [given, (given,), {"k": given}, {given}, {given: 1}, slotted, lambda default=given: default, lambda: given, other]
    out = travelled(value, "V", "W")
    assert out[:5] == ["V", ("V",), {"k": "V"}, {"V"}, {"V": 1}]
    assert (out[5].inside, out[6](), out[7](), out[8]) == ("V", "V", "V", "W")


def test_an_unhashable_value_for_a_key_is_an_error() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        travelled({promise(): 1}, [])


def test_outside_of_a_job_it_neither_leaves_nor_arrives() -> None:
    import pickle

    with pytest.raises(PicklingError, match=r"job 'early' can travel only inside"):
        pickle.dumps(promise())
    data, _ = pickling.dump(promise(), "it")
    with pytest.raises(PromiseError, match="outside of a job"):
        pickle.loads(data)
