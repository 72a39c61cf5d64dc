import functools

import pytest

from jobsys.calls import check_call
from jobsys.errors import GraphError


def plain(a, b=1):
    return a, b


def starred(a, *rest, key, **more):
    return a, rest, key, more


def positional(a, /, *, key=1):
    return a, key


@functools.wraps(plain)
def wrapped(*args, **kwargs):
    return plain("given by the wrapper", *args, **kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1, 2), {}),
        (plain, (), {"a": 1}),
        (starred, (1, 2, 3), {"key": 1, "other": 2}),
        (positional, (1,), {"key": 2}),
        (wrapped, (), {}),
        (int, ("a", "b", "c"), {}),
        (print, (1,), {"end": ""}),
    ],
)
def test_what_fits_or_can_t_be_known_is_let_through(function, args, kwargs):
    check_call(function, args, kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "why"),
    [
        (plain, (), {}, "missing a required argument: 'a'; it takes (a, b=1)"),
        (plain, (1, 2, 3), {}, "too many positional arguments; it takes (a, b=1)"),
        (plain, (1,), {"a": 2}, "multiple values for argument 'a'; it takes (a, b=1)"),
        (plain, (1,), {"c": 2}, "got an unexpected keyword argument 'c'; it takes (a, b=1)"),
        (starred, (1,), {}, "missing a required argument: 'key'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(function, args, kwargs, why):
    with pytest.raises(GraphError) as refused:
        check_call(function, args, kwargs)
    assert str(refused.value).startswith(f"this call of {function.__qualname__!r} does not fit: {why.partition('; ')[0]}")
    assert why in str(refused.value) or "; it takes (a, *rest, key, **more)" in str(refused.value)
