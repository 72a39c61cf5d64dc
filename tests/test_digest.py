import hashlib
import io
import random
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from jobsys.digest import LARGE, ContentDigest, FileDigest, chunks, hand_on, sha256, short


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_one_pass_gives_both_hashes_whatever_the_pieces(data: bytes, size: int) -> None:
    digest = ContentDigest()
    for piece in chunks(io.BytesIO(data), size):
        assert 0 < len(piece) <= size
        digest.update(memoryview(piece))
    assert digest.size == len(data)
    assert digest.md5 == hashlib.md5(data).hexdigest()
    assert digest.sha256 == hashlib.sha256(data).hexdigest() == sha256(data)


def test_nothing_has_the_well_known_hashes() -> None:
    digest = ContentDigest()
    assert (digest.size, digest.md5) == (0, "d41d8cd98f00b204e9800998ecf8427e")
    assert digest.sha256.startswith("e3b0c442")


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 7])
def test_a_large_file_is_told_by_its_blake3_and_a_small_one_by_its_sha256(size: int) -> None:
    data = random.Random(size).randbytes(size)
    right = blake3(data).digest() if size > LARGE else hashlib.sha256(data).digest()
    assert short(data) == right[:16]
    for step in (max(1, size), max(1, size // 3), 700_001):
        digest = FileDigest()
        for start in range(0, size, step):
            digest.update(memoryview(data)[start : start + step])
        assert (digest.size, digest.digest()) == (size, right)


class Dribble(io.BytesIO):
    """Gives less than it is asked for."""

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        return super().readinto(view[: len(view) // 3 + 1])


@pytest.mark.parametrize("kind", [io.BytesIO, Dribble])
@pytest.mark.parametrize("size", [0, 5, LARGE, 4 * LARGE + 3])
@pytest.mark.parametrize("told", [0, 1, None])
def test_what_is_handed_on_is_what_is_hashed(kind: type[io.BytesIO], size: int, told: int | None) -> None:
    """Also where the size that was told is wrong: a file may grow or shrink."""
    data, copy = random.Random(size).randbytes(size), bytearray()
    found = hand_on(kind(data), (size if told is None else told * 9 * LARGE), copy.extend)
    assert copy == data
    assert found.digest()[:16] == short(data)


def test_an_error_on_the_way_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        hand_on(io.BytesIO(bytes(3 * LARGE)), 3 * LARGE, lambda _: 1 // 0)
