"""The garbage collector waits, and is left as it was."""

import gc

from jobsys.collecting import seldom, uncollected


class Made:
    """Something that the collector sees."""


def old() -> set[int]:
    return {id(each) for each in gc.get_objects(generation=2)}


def test_what_was_made_meanwhile_counts_as_old():
    with uncollected():
        assert not gc.isenabled()
        made = [Made() for _ in range(2000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert {id(each) for each in made} <= old()


def test_garbage_of_the_meantime_is_found_in_the_end():
    with uncollected():
        made = Made()
        made.itself = made  # type: ignore[attr-defined]
        number = id(made)
        del made
    assert number in old()
    gc.collect()
    assert number not in old()


def test_what_the_program_has_frozen_stays_frozen():
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        with uncollected():
            made = Made()
        assert gc.get_freeze_count() == before > 0
        assert id(made) not in old()
    finally:
        gc.unfreeze()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_comes_seldom_and_as_before_again():
    before = gc.get_threshold()
    with seldom():
        assert gc.get_threshold() == (100 * before[0], *before[1:])
    assert gc.get_threshold() == before


def test_a_program_that_has_it_come_seldom_itself_is_left_alone():
    before = gc.get_threshold()
    gc.set_threshold(2**30, 5, 5)
    try:
        with seldom():
            assert gc.get_threshold() == (2**31 - 1, 5, 5)
        assert gc.get_threshold() == (2**30, 5, 5)
    finally:
        gc.set_threshold(*before)


def test_of_several_that_overlap_the_last_one_ends_it():
    before = gc.get_threshold()
    one, other, third, fourth = seldom(), seldom(), uncollected(), uncollected()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold() == (100 * before[0], *before[1:])
    other.__exit__(None, None, None)
    assert gc.get_threshold() == before
    third.__enter__()
    fourth.__enter__()
    third.__exit__(None, None, None)
    assert not gc.isenabled()
    fourth.__exit__(None, None, None)
    assert gc.isenabled()
