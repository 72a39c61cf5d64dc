"""Small reads come from larger pieces: the same bytes, far fewer reads, and no more than some pieces are kept."""

import random

import pytest

from jobsys.storage import blocks
from jobsys.storage.blocks import SIZE, Blocks

DATA = random.Random(1).randbytes(3 * SIZE + 1000)


class Source:
    """An object that notes how it is read."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, int]] = []

    def read(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((key, start))
        return DATA[start : start + length]


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (0, SIZE), (SIZE - 1, 2), (SIZE, SIZE), (3 * SIZE, 2000), (3 * SIZE + 999, 5), (4 * SIZE, 1), (2 * SIZE + 5, SIZE)],
)
def test_every_range_is_what_it_is_without_pieces(start: int, length: int) -> None:
    assert Blocks(Source().read).get("a", start, length) == DATA[start : start + length]


def test_what_lies_side_by_side_is_read_once() -> None:
    source = Source()
    pieces = Blocks(source.read)
    for start in range(0, SIZE, 100):
        assert pieces.get("a", start, 50) == DATA[start : start + 50]
    assert source.reads == [("a", 0), ("a", SIZE)]
    assert pieces.get("b", 0, 1) == DATA[:1]
    assert source.reads[2:] == [("b", 0)]


def test_only_some_are_kept_and_those_used_last() -> None:
    source = Source()
    pieces = Blocks(source.read)
    for number in range(blocks._MOST):
        pieces.get(str(number), 0, 1)
    pieces.get("0", 0, 1)
    pieces.get("new", 0, 1)
    assert len(pieces._kept) == blocks._MOST
    known = len(source.reads)
    pieces.get("0", 0, 1)
    assert len(source.reads) == known
    pieces.get("1", 0, 1)
    assert len(source.reads) == known + 1


def test_a_read_that_fails_leaves_nothing_behind() -> None:
    def fail(key: str, start: int, length: int) -> bytes:
        raise ConnectionError(key)

    pieces = Blocks(fail)
    with pytest.raises(ConnectionError):
        pieces.get("a", 0, 1)
    assert pieces._kept == {}
