"""Frames survive any cut of the stream."""

from hypothesis import given
from hypothesis import strategies as st

from jobsys import framing
from jobsys.framing import Death, FrameReader

frames = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.integers(0, framing.NUMBER_MAX), st.binary(max_size=300)), max_size=30
)


@given(frames, st.lists(st.integers(1, 400)))
def test_whatever_the_pieces_the_frames_come_out_whole(wanted, cuts):
    stream = b"".join(framing.pack(*frame) for frame in wanted)
    reader = FrameReader()
    seen = []
    for cut in cuts:
        piece, stream = stream[:cut], stream[cut:]
        seen += reader.feed(piece)
    seen += reader.feed(stream)
    assert seen == wanted
    assert reader.feed(b"") == []


def test_a_large_frame_in_small_pieces_is_not_copied_again_and_again():
    payload = bytes(20_000_000)
    stream = framing.pack(framing.DONE, 1, 2, payload) + framing.pack(framing.SAY, 3)
    reader = FrameReader()
    seen = []
    for start in range(0, len(stream), 4096):
        seen += reader.feed(stream[start : start + 4096])
    assert [frame[:3] for frame in seen] == [(framing.DONE, 1, 2), (framing.SAY, 3, 0)]
    assert seen[0][3] == payload


@given(st.lists(st.integers(0, 2**63)))
def test_ids(ids):
    assert framing.unpack_ids(framing.pack_ids(ids)) == ids


def test_death():
    death = Death(exit_status=-9, reason="memory", message="m", memory=1, limit=2, log=b"\xff")
    assert framing.unpack_death(framing.pack_death(death)) == death
    assert framing.unpack_death(framing.pack_death(Death())) == Death()
