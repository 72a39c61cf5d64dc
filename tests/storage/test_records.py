"""Records in a file that only grows: what counts, whatever the end of the file looks like."""

import tracemalloc
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.storage import records
from jobsys.storage.records import GONE, Contents, follows, head, is_whole, parse, scan, search, whole

KEYS = st.from_regex(r"[a-z0-9/]{1,40}", fullmatch=True)
OBJECTS = st.lists(st.tuples(KEYS, st.binary(max_size=300), st.booleans()), max_size=12)


def written(objects: list[tuple[str, bytes, bool]], start: int = 0) -> bytes:
    data = bytes(start)
    for key, content, gone in objects:
        data += head(key, content, len(data), 1.5, gone=gone) + content
    return data


def reading(data: bytes) -> records.Read:
    return lambda length, at: data[at : at + length]


@given(OBJECTS, st.integers(0, 20_000))
def test_what_was_written_is_found(objects: list[tuple[str, bytes, bool]], zeros: int) -> None:
    data = written(objects)
    found = whole(reading(data + bytes(zeros)), 0)
    assert [(record.key, data[record.begin : record.end], record.gone) for record in found] == objects
    assert all(record.time == 1.5 and record.crc == zlib.crc32(data[record.begin : record.end]) for record in found)
    assert (found[-1].end if found else 0) == len(data)
    assert not follows(reading(data + bytes(zeros)), len(data) + 1)


@pytest.mark.parametrize("size", [1, 4000, 4096, 5000, 70_000, 300_000])
def test_records_of_any_size_follow_each_other(size: int) -> None:
    objects = [(f"k/{number}", bytes([number]) * (size + number), False) for number in range(5)] + [("k/small", b"x", False)] * 200
    assert [record.key for record in scan(reading(written(objects)), 0)] == [key for key, _, _ in objects]


@given(st.lists(st.integers(0, 30_000), max_size=40), st.integers(0, 30_000), st.data())
def test_a_record_is_found_by_bisection(sizes: list[int], zeros: int, draw: st.DataObject) -> None:
    objects = [(f"j/{number + 7:04d}", bytes([number]) * size, False) for number, size in enumerate(sizes)]
    data = written(objects)
    for number in draw.draw(st.lists(st.integers(0, len(sizes) + 10), max_size=5)):
        found = search(reading(data + bytes(zeros)), len(data) + draw.draw(st.integers(0, zeros)), f"j/{number:04d}")
        wanted = [content for key, content, _ in objects if key == f"j/{number:04d}"]
        assert [data[found.begin : found.end]] == wanted if found else not wanted
        assert found is None or is_whole(reading(data), found)
    assert search(reading(data), len(data), "other/key") is None


def test_a_record_of_which_the_end_is_missing_is_not_whole() -> None:
    data = written([("j/1", b"x" * 5000, False), ("j/2", b"y" * 9000, False)])
    first, second = scan(reading(data), 0)
    assert is_whole(reading(data[:-1]), first)
    assert not is_whole(reading(data[:-1]), second)


@given(OBJECTS.filter(bool), st.integers(0, 2**32), st.booleans())
def test_a_torn_record_at_the_end_does_not_count(objects: list[tuple[str, bytes, bool]], seed: int, longer: bool) -> None:
    """Of the last one any sectors are missing, and what follows is zeros or nothing."""
    data = written(objects)
    begin = whole(reading(data), 0)[-1].at
    chance = Random(seed)
    torn = bytearray(data + bytes(5000 if longer else 0))
    where = chance.randrange(begin, len(data))
    torn[where] ^= 1 << chance.randrange(8)
    torn[where + 1 : len(data)] = bytes(len(data) - where - 1) if chance.random() < 0.5 else torn[where + 1 : len(data)]
    found = whole(reading(bytes(torn)), 0)
    assert len(found) == len(objects) - 1
    assert not follows(reading(bytes(torn)), begin + 1)
    assert len(whole(reading(data[: chance.randrange(begin, len(data))]), 0)) == len(objects) - 1


def test_what_is_damaged_before_the_end_is_told_from_a_torn_end() -> None:
    data = bytearray(written([("a", b"x" * 100, False), ("b", b"y", False), ("c", b"", False)]))
    data[10] ^= 1
    assert whole(reading(bytes(data)), 0) == []
    assert follows(reading(bytes(data)), 1)


def test_a_copy_of_a_record_inside_of_another_is_none() -> None:
    inner = written([("secret", b"value", False)])
    data = written([("outer", inner * 3, False)])
    assert [record.key for record in whole(reading(data), 0)] == ["outer"]
    torn = data[:20] + bytes(10) + data[30:]
    assert not follows(reading(torn), 1)


def test_a_header_that_is_cut_off_is_none() -> None:
    data = written([("key", b"", False)])
    assert all(parse(data[:length], 0) is None for length in range(len(data)))
    assert parse(data, 0) is not None
    assert parse(data, 1) is None


@given(st.lists(st.tuples(st.sampled_from(["j/008", "j/009", "j/010", "j/011", "j/11", "x9", "x10", "x11", "y"]), st.integers(-1, 50))))
def test_contents_are_what_was_put_there_last(added: list[tuple[str, int]]) -> None:
    contents, expected = Contents(), dict[str, int]()
    for key, at in added:
        contents.add(key, at)
        expected[key] = at
    for key in [*expected, "j/012", "j/8", "x12", "x010", "z"]:
        assert contents.find(key) == expected.get(key)
    for after in ["", "j/009", "x10", "x9", "x1", "j/9", "y", "zz"]:
        found = list(contents.keys(after))
        assert sorted(found) == sorted(key for key in expected if key > after)


def test_a_long_log_takes_little_memory() -> None:
    contents = Contents()
    for number in range(100_000):
        contents.add(f"journal/{number + 7:010d}", number * 600)
    contents.add("journal/0000000050", GONE)
    assert not [key for key in contents._others if key != "journal/0000000050"]
    assert (contents.find("journal/0000000050"), contents.find("journal/0000000057")) == (GONE, 50 * 600)
    assert list(contents.keys("journal/0000100004")) == ["journal/0000100005", "journal/0000100006"]


@pytest.mark.parametrize("before", [0, 1 << 18, (1 << 18) - 20, (1 << 18) - 60, 3 << 18])
def test_a_record_behind_damage_is_seen_wherever_a_piece_ends(before: int) -> None:
    data = written([("j/1", b"x" * 10, False)], before)
    assert follows(reading(data), 0)
    assert not follows(reading(data[:-20]), 0)


def test_what_is_looked_through_for_a_record_is_read_once() -> None:
    size, reads = 40 << 18, [0]

    def read(length: int, at: int) -> bytes:
        reads[0] += length
        return memoryview(zeros)[at : at + length].tobytes()

    zeros = bytes(size)
    tracemalloc.start()
    try:
        assert not follows(read, 0)
        assert tracemalloc.get_traced_memory()[1] < size // 8
    finally:
        tracemalloc.stop()
    assert reads[0] < size * 1.1
