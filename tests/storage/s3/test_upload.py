"""How large the parts of an object are."""

from hypothesis import given
from hypothesis import strategies as st

from jobsys.storage.s3.upload import MOST, PART, even_part_size, part_size

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
