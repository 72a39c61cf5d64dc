import hashlib
import io

from hypothesis import given
from hypothesis import strategies as st

from jobsys.digest import ContentDigest, chunks, sha256


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
