"""How large the parts of an object are, and how they become one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.errors import NotFoundError
from jobsys.storage.s3.bucket import Found, Part, Upload
from jobsys.storage.s3.upload import MOST, PART, complete, even_part_size, part_size

LEAST = 5 << 20  # of all parts but the last, by the specification of S3
LARGEST_PART = 5 << 30
LARGEST = 5 << 40


def test_parts_of_a_stream_grow_and_stay_within_what_s3_takes() -> None:
    sizes = [part_size(number) for number in range(1, MOST + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] >= LEAST
    assert sizes[-1] <= LARGEST_PART
    assert sum(sizes) > 1 << 40
    assert len({*sizes[:3000]}) == 1, "some servers want the same size for all"


@given(st.integers(1, LARGEST))
def test_parts_of_a_known_size_are_even_and_not_too_many(size: int) -> None:
    each = even_part_size(size)
    assert max(LEAST, PART) <= each <= LARGEST_PART
    assert -(-size // each) <= MOST


class Finished:
    """A bucket that knows the upload no more."""

    def __init__(self, found: Found | None) -> None:
        self.found = found

    def finish(self, upload: Upload, parts: list[Part]) -> None:
        raise NotFoundError("the upload is not known any more")

    def head(self, key: str) -> Found:
        if self.found is None:
            raise NotFoundError("there is nothing")
        return self.found


@pytest.mark.parametrize(
    ("found", "mine"),
    [(Found(7, 0.0, '"abc-2"'), True), (Found(7, 0.0, '"abc-3"'), False), (Found(8, 0.0, '"abc-2"'), False), (None, False)],
)
def test_an_upload_whose_last_answer_was_lost_is_known_by_what_is_there(found: Found | None, mine: bool) -> None:
    bucket: Any = Finished(found)
    parts = [Part(1, "a"), Part(2, "b")]
    if mine:
        complete(bucket, Upload("key", "id"), parts, 7)
    else:
        with pytest.raises(NotFoundError):
            complete(bucket, Upload("key", "id"), parts, 7)
