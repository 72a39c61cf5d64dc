import pytest

from jobsys.spelling import do_you_mean

OPTIONS = ("--retries", "--restart", "--progress", "--max-cores")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--retires", "; do you mean '--retries'?"),
        ("--RESTART", "; do you mean '--restart'?"),
        ("--max-core", "; do you mean '--max-cores'?"),
        ("--colour", ""),
    ],
)
def test_the_nearest_word_is_named_or_none(word, meant):
    assert do_you_mean(word, OPTIONS) == meant


def test_two_that_are_as_near_are_both_named():
    assert do_you_mean("stauts", ["status", "stats", "ship"]) == "; do you mean 'stats' or 'status'?"


def test_nothing_is_known():
    assert do_you_mean("word", []) == ""
