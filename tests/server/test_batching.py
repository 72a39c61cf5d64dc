"""Many small writes as one."""

import threading

import pytest

from jobsys.server.batching import Batcher


def test_what_comes_while_a_write_is_under_way_goes_along_with_the_next():
    begun, go_on, batches = threading.Event(), threading.Event(), []

    def write(items):
        batches.append(list(items))
        begun.set()
        assert go_on.wait(10)
        return [item * 10 for item in items]

    batcher = Batcher(write, "test")
    first = batcher.put(1)
    assert begun.wait(10)
    rest = [batcher.put(number) for number in (2, 3, 4)]
    go_on.set()
    assert [first.result(10), *(each.result(10) for each in rest)] == [10, 20, 30, 40]
    assert batches == [[1], [2, 3, 4]]
    batcher.close()


def test_one_that_fails_does_not_take_the_others_along():
    hold = threading.Event()

    def write(items):
        hold.wait(10)
        if 13 in items:
            raise ValueError(f"{items} holds 13")
        return items

    batcher = Batcher(write, "test")
    futures = [batcher.put(number) for number in (0, 1, 13, 2)]
    hold.set()
    assert [futures[number].result(10) for number in (0, 1, 3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="holds 13"):
        futures[2].result(10)
    batcher.close()


def test_what_was_put_before_the_end_is_written():
    batcher: Batcher[int, int] = Batcher(lambda items: items, "test")
    futures = [batcher.put(number) for number in range(2000)]
    batcher.close()
    assert [each.result(0) for each in futures] == list(range(2000))
