"""What a run's key signs, and that it signs nothing else."""

import pickle

import pytest

from jobsys.sealing import BEGINNING, RunKey, check_signed, sign, signed

KEY = RunKey(bytes(range(32)))
DIGEST = b"d" * 32


def test_each_part_of_a_segment_counts():
    tag = KEY.segment(3, 100, DIGEST, BEGINNING)
    assert tag == RunKey(bytes(range(32))).segment(3, 100, DIGEST, BEGINNING)
    others = [
        KEY.segment(4, 100, DIGEST, BEGINNING),
        KEY.segment(3, 101, DIGEST, BEGINNING),
        KEY.segment(3, 100, b"e" * 32, BEGINNING),
        KEY.segment(3, 100, DIGEST, tag),
        RunKey(bytes(32)).segment(3, 100, DIGEST, BEGINNING),
    ]
    assert len({tag, *others}) == 6


def test_what_is_signed_for_one_purpose_passes_for_no_other():
    assert KEY.snapshot(3, DIGEST, DIGEST) != KEY.segment(3, 0, DIGEST, DIGEST)
    assert len({KEY.attempt(1, "1.1"), KEY.attempt(2, "1.1"), KEY.attempt(1, "1.2")}) == 3


@pytest.mark.parametrize("document", [b'{"a":1}', b'{"seal":"mine"}', b'{"a":{"b":[]}}'])
def test_a_sealed_document_is_json_and_bears_its_name(document):
    sealed = KEY.seal("code/1", document)
    assert KEY.bears_seal("code/1", sealed)
    assert not KEY.bears_seal("code/2", sealed)
    assert not RunKey(bytes(32)).bears_seal("code/1", sealed)
    assert not KEY.bears_seal("code/1", document)
    for place in range(len(sealed)):
        assert not KEY.bears_seal("code/1", sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        assert not KEY.bears_seal("code/1", sealed[:place])
    assert not KEY.bears_seal("code/1", sealed + b" ")


def test_a_report_is_signed_by_its_attempt():
    left = sign(b"key", b"report")
    check_signed(b"key", left)
    assert signed(left) == b"report"
    for wrong in (left[:-1], b"", b"x" + left, left + b"\0", sign(b"other", b"report")):
        with pytest.raises(Exception, match="not signed by the attempt"):
            check_signed(b"key", wrong)


def test_the_key_shows_and_moves_nothing():
    assert str(KEY) == repr(KEY) == "<the key of a run>"
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(KEY)
