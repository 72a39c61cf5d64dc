"""What the answers of racing writers mean; the race itself is run on servers, in tests/s3."""

import pytest

from jobsys.storage.s3.probe import agree


@pytest.mark.parametrize(
    ("won", "found", "right"),
    [
        ([3], b"3", True),
        ([], b"3", True),  # the winner's answer was lost
        ([3], b"4", False),  # somebody wrote over it
        ([3, 4], b"3", False),
        ([3, 4], b"4", False),
        ([1], b"11", False),
    ],
)
def test_one_winner_whose_object_it_is(won: list[int], found: bytes, right: bool) -> None:
    assert agree(won, found) is right
