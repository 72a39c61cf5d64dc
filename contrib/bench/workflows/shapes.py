"""The graphs that jobsys and its peers are measured with: the same calls of the same functions for all.

A shape gets ``call``, which makes a call of one of these functions and gives a handle on its value, and which takes handles as arguments.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

Call = Callable[..., Any]

PARTS = 10
"""How many results of the map step go to one call of the reduce step, and into how many parts each result is split."""
SIZE = 10_000_000
"""Bytes of each result that is passed along."""


def echo(number):
    return number


def step(number):
    return number + 1


def total(*numbers):
    return sum(numbers)


def add_up(numbers):
    return sum(numbers)


def tally(number):
    """Map: count by remainder."""
    return {part: number + part for part in range(PARTS)}


def merge(part, *tallies):
    """Reduce: add one remainder's counts."""
    return sum(each[part] for each in tallies)


def meet(above, left):
    return (above + left) % 1_000_003


def make_bytes(size):
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


def turn(data):
    return data[1:] + data[:1]


def first_byte(data):
    return data[0] if len(data) == SIZE else -1


def fan_out(call: Call, count: int) -> Any:
    return call(add_up, [call(echo, number) for number in range(count)])


def chain(call: Call, count: int) -> Any:
    """Make calls of which each needs the one before."""
    value: Any = 0
    for _ in range(count):
        value = call(step, value)
    return value


def map_reduce(call: Call, count: int) -> Any:
    """Map ``count`` numbers, hand every result to every one of ten reducers, add up what they give."""
    mapped = [call(tally, number) for number in range(count)]
    return call(total, *(call(merge, part, *mapped) for part in range(PARTS)))


def lattice(call: Call, count: int) -> Any:
    """Make a square of ``count`` by ``count``: each cell needs the one above and the one to the left; along the diagonals."""
    cells: dict[tuple[int, int], Any] = {}
    for diagonal in range(2 * count - 1):
        for row in range(max(0, diagonal - count + 1), min(diagonal, count - 1) + 1):
            column = diagonal - row
            cells[row, column] = call(meet, cells.get((row - 1, column), 1), cells.get((row, column - 1), 1))
    return cells[count - 1, count - 1]


def passing(call: Call, count: int) -> Any:
    """Pass 10 MB through ``count`` calls, each of which changes them."""
    data = call(make_bytes, SIZE)
    for _ in range(count):
        data = call(turn, data)
    return call(first_byte, data)


class Shape(NamedTuple):
    """A graph, and how many calls are in it."""

    make: Callable[[Call, int], Any]
    calls: Callable[[int], int]


SHAPES = {
    "fan-out": Shape(fan_out, lambda count: count + 1),
    "chain": Shape(chain, operator.pos),
    "map-reduce": Shape(map_reduce, lambda count: count + PARTS + 1),
    "lattice": Shape(lattice, lambda count: count * count),
    "passing": Shape(passing, lambda count: count + 2),
}


def here_and_now(function: Callable[..., Any], *arguments: Any) -> Any:
    """Be a ``call`` that just calls: what comes out is what must come out everywhere."""
    return function(*arguments)
