import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import jobsys
from jobsys import pickling
from jobsys.errors import FailedJobsError, GraphError, PicklingError, RequirementError, UsageError
from jobsys.function import JobFunction
from jobsys.job import FunctionJob
from jobsys.promise import promise_job


def run(workflow: Any, **options: Any) -> Any:
    """Run in this process; every argument and value is pickled all the same."""
    return jobsys.run(workflow, f"memory:{uuid.uuid4().hex}", batch_system="inline", progress="off", retries=0, **options)


def travelled(value: Any) -> Any:
    data, _ = pickling.dump(value, "it")
    return pickling.load(data, lambda slot: slot)


@jobsys.job
def double(x: Any) -> Any:
    return 2 * x


@jobsys.job(memory="100M", cores=2, retries=3)
def heavy(x: Any) -> Any:
    return x


def shouted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@jobsys.job
@shouted
def wrapped_below(x: Any) -> Any:
    return x + 1


@shouted
@jobsys.job
def wrapped_above(x: Any) -> Any:
    return x + 2


@shouted
@shouted
@jobsys.job(memory="1G")
def wrapped_twice(x: Any) -> Any:
    return x + 3


class Shop:
    scale = 10

    def __init__(self, bad: Any = None) -> None:
        self.rate = 3
        self.bad = bad

    @jobsys.job
    def price(self, x: int) -> int:
        return self.rate * x

    @classmethod
    @jobsys.job
    def large(cls, x: int) -> int:
        return cls.scale * x

    @staticmethod
    @jobsys.job
    def plain(x: int) -> int:
        return x

    @jobsys.job
    @staticmethod
    def plain_too(x: int) -> int:
        return -x

    def method(self, x: int) -> int:
        return self.rate + x

    class Till:
        @jobsys.job
        def count(self, x: int) -> int:
            return x + 100


class Adder:
    def __call__(self, a: int, b: int) -> int:
        return a + b


def test_every_way_to_write_a_job() -> None:
    offset = 7

    @jobsys.job
    def closure(x: int) -> int:
        return x + offset

    @jobsys.job
    def factorial(n: int) -> Any:
        return 1 if n < 2 else multiply(n, factorial(n - 1))

    @jobsys.job
    def multiply(a: int, b: int) -> int:
        return a * b

    class Local:
        @jobsys.job
        def get(self, x: int) -> int:
            return x + 1000

    assert run(double(4)) == 8
    assert run(closure(1)) == 8
    assert run(factorial(6)) == 720
    assert run(jobsys.job(lambda x: x - 1)(5)) == 4
    assert run([wrapped_below(1), wrapped_above(1), wrapped_twice(1)]) == [2, 3, 4]
    assert run([Shop().price(2), Shop.large(2), Shop.plain(2), Shop().plain(2), Shop.plain_too(2), Shop().plain_too(2)]) == [
        6,
        20,
        2,
        2,
        -2,
        -2,
    ]
    assert run(Shop.price(Shop(), 2)) == 6
    assert run([Shop.Till().count(1), Local().get(1)]) == [101, 1001]
    assert run(jobsys.job(Shop().method)(2)) == 5
    assert run(jobsys.job(functools.partial(pow, 2))(5)) == 32
    assert run(jobsys.job(functools.partial(lambda a, b: a - b, 9))(5)) == 4
    assert run(jobsys.job(Adder())(2, 3)) == 5
    assert run(jobsys.job(dict)(a=1)) == {"a": 1}
    assert run(jobsys.job(max)(1, 5)) == 5
    assert run(double(double.as_job(1).rv())) == 4


def test_functions_travel_as_arguments_and_are_called_inside() -> None:
    @jobsys.job
    def call(function: Any, x: Any) -> Any:
        return function(x)

    for function, answer in [
        (double, 6),
        (heavy.with_requirements(name="other"), 3),
        (Shop().price, 9),
        (Shop().method, 6),
        (Shop.large, 30),
        (lambda x: -x, -3),
        (functools.partial(double), 6),
        (functools.partial(double.call), 6),
        (wrapped_twice, 6),
    ]:
        assert run(call(function, 3)) == answer


def test_options_travel_with_a_function() -> None:
    @jobsys.job(cores=3)
    def nested(x: Any) -> Any:
        return x

    assert travelled(heavy) is heavy
    assert travelled(Shop.price) is Shop.price
    assert travelled(wrapped_above.__wrapped__) is wrapped_above.__wrapped__  # type: ignore[attr-defined]
    assert travelled(heavy.with_requirements(memory="4G")).options.requirements.memory == 4_000_000_000
    assert travelled(heavy.with_requirements(memory="4G")).options.retries == 3
    assert travelled(nested).options.requirements.cores == 3
    bound = travelled(Shop().price.with_requirements(memory="4G"))
    assert bound.options.requirements.memory == 4_000_000_000
    assert bound.call(2) == 6
    with pytest.raises(PicklingError, match="'double' can't travel"):
        travelled(double.with_requirements(after=double(1)))


def test_a_name_is_a_name() -> None:
    def job_of(promise: Any) -> FunctionJob:
        found = promise_job(promise)
        assert isinstance(found, FunctionJob)
        return found

    assert job_of(double(1)).name == "double"
    assert job_of(Shop().price(1)).name == "Shop.price"
    assert job_of(jobsys.job(functools.partial(pow, 2))(1)).name == "pow"
    assert job_of(jobsys.job(Adder())(1, 2)).name == "Adder"
    assert job_of(jobsys.job(lambda: 1)()).name == "test_a_name_is_a_name.<lambda>"
    assert job_of(double.with_requirements(name="of two")(1)).name == "of two"
    assert job_of(double.with_requirements(name="\udcff")(1)).name == "\\udcff"
    assert repr(double) == "<job function double>"
    assert repr(jobsys.job(functools.partial(pow, 2))) == "<job function pow>"


def test_arguments_named_like_options_reach_the_function() -> None:
    @jobsys.job
    def greedy(x: int, **kwargs: Any) -> Any:
        return x, kwargs

    @jobsys.job
    def takes_after(after: Any) -> Any:
        return after

    named: dict[str, Any] = {"name": "a", "memory": "b", "cores": 3, "checkpoint": 4, "retries": 5, "self": 6, "function": 7}
    assert run(greedy(1, **named)) == (1, named)
    assert run(takes_after(after="mine")) == "mine"
    first = double(1)
    job = promise_job(greedy(1, after=[first]))
    assert job._options.after == (promise_job(first),)
    assert job.call[2] == {}


def test_after_takes_one_or_many_and_nothing_else() -> None:
    first, second = double(1), double(2)
    for given in (first, promise_job(first), [first], (first, second), {first}):
        assert promise_job(double(1, after=given))._options.after
    for wrong in ("name", 3, [3], {"a": first}):
        with pytest.raises(GraphError, match="after="):
            double(1, after=wrong)


def test_what_can_be_no_job_is_refused_where_it_is_written() -> None:
    async def later() -> None:
        await asyncio.sleep(0)

    def some() -> Iterator[int]:
        yield 1

    async def many() -> AsyncIterator[int]:
        yield 1

    for function, reason in ((later, "is async.*asyncio.run"), (some, "has a yield.*return the list"), (many, "has a yield")):
        with pytest.raises(GraphError, match=f"{function.__name__} {reason}"):
            jobsys.job(function)
        with pytest.raises(GraphError, match=reason):
            jobsys.Job().add_child_fn(function)
    with pytest.raises(GraphError, match="is no function"):
        jobsys.job("1G")  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="price: write @classmethod above @job"):
        jobsys.job(classmethod(Shop.price.function))  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="no option 'memroy'; do you mean 'memory'"):
        jobsys.job(memroy=1)
    with pytest.raises(RequirementError, match="memory='much'"):
        jobsys.job(memory="much")


def test_attributes_of_the_function_do_not_get_in_the_way() -> None:
    def function(x: int) -> int:
        return x

    function.options, function.function, function._bound = "o", "f", "b"  # type: ignore[attr-defined]
    made = jobsys.job(function)
    assert isinstance(made, JobFunction)
    assert made.call(3) == 3
    assert run(made(3)) == 3


def test_a_decorated_job_function_is_one_with_more_options() -> None:
    again = jobsys.job(name="again")(double)
    assert promise_job(again(2)).name == "again"
    assert promise_job(double(2)).name == "double"
    assert run(again(2)) == 4


def test_what_can_t_travel_is_named_before_anything_is_submitted() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(PicklingError, match=r"the call of 'double' can't be pickled: args\[0\]\['k'\]\[1\] is a _thread.lock"):
        run(double({"k": [0, lock]}))
    with pytest.raises(
        PicklingError, match=r"the call of '.*<lambda>' can't be pickled: its function -> .*<lambda>'s variable 'lock' is a _thread.lock"
    ):
        run(jobsys.job(lambda: lock)())
    with pytest.raises(PicklingError, match=r"the call of 'Shop.price' can't be pickled: args\[0\].bad is a generator .*make a list"):
        run(Shop(x for x in [1]).price(1))
    with pytest.raises(PicklingError, match=r"'Shop.method' can't be pickled: its function.__self__.bad is a _thread.lock"):
        run(jobsys.job(Shop(lock).method)(1))
    with pytest.raises(GraphError, match=r"is a function: call it, run\(double"):
        run(double)
    with pytest.raises(UsageError, match="no job in what"):
        run([1, 2])


def test_a_value_that_can_t_travel_fails_its_job_and_is_named() -> None:
    @jobsys.job
    def opens() -> Any:
        return {"rows": (x for x in [1])}

    with pytest.raises(FailedJobsError, match=r"the value that '.*opens' returned can't be pickled: \['rows'\] is a generator"):
        run(opens())


def test_a_chain_of_jobs_is_as_long_as_one_likes() -> None:
    @jobsys.job
    def countdown(n: int) -> Any:
        return "liftoff" if n == 0 else countdown(n - 1)

    chain = double(0)
    for _ in range(3000):
        chain = double(chain)
    assert run(chain) == 0
    assert run(countdown(1500)) == "liftoff"


def test_a_large_value_is_an_object_of_its_own() -> None:
    data = bytes(3_000_000)
    assert run(double(data)) == data * 2
    assert run(double(double(data))) == data * 4
