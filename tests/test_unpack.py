"""How files are written: alone or together, by one thread or several, it comes to the same. Archives that lie: test_unpack_fuzz.py."""

import os
import tracemalloc
from hashlib import sha256

import pytest

from forging import Forged, forge  # type: ignore[import-not-found]
from jobsys import unpack as module
from jobsys.kept import damage
from jobsys.unpack import PIECE, read_directory, unpack

MIXED = [
    Forged(b"d", "directory", lies={"mode": 0o777}),
    *(Forged(b"d/%03d" % number, "file", b"%d" % number * 500, {"method": 8 * (number % 2)}) for number in range(150)),
    Forged(b"e", "file", bytes(PIECE + 1)),
    Forged(b"f", "file", bytes(3 * PIECE), {"method": 8}),
    Forged(b"g", "file", b"", {"method": 8}),
    Forged(b"h", "file", os.urandom(PIECE - 100)),
    Forged(b"i", "file", b"", {"mode": 0o600}),
]


def unpacked(tmp_path, entries):
    (tmp_path / "archive.zip").write_bytes(forge(entries))
    packed = read_directory(str(tmp_path / "archive.zip"))
    return packed, unpack(str(tmp_path / "archive.zip"), packed, str(tmp_path / "out"))


@pytest.mark.parametrize("wait", [-1.0, 1e9])
def test_together_and_alone_by_one_thread_and_by_several(tmp_path, monkeypatch, wait):
    monkeypatch.setattr(module, "_WAIT", wait)
    packed, kept = unpacked(tmp_path, MIXED)
    assert [each.entry for each in kept] == [each.entry for each in packed]
    assert damage(str(tmp_path / "out"), kept, alone=True) is None
    for each in MIXED[1:]:
        assert (tmp_path / "out" / each.name.decode()).read_bytes() == each.content


@pytest.mark.parametrize("mask", [0o000, 0o027, 0o077])
def test_the_umask_has_no_say(tmp_path, mask):
    before = os.umask(mask)
    try:
        unpacked(tmp_path, MIXED)
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "d").stat().st_mode & 0o777 == 0o777
    assert (tmp_path / "out" / "d" / "000").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "out" / "i").stat().st_mode & 0o777 == 0o600


def test_what_inflates_to_much_is_never_in_memory_together(tmp_path):
    content = bytes(2_000_000)
    (tmp_path / "archive.zip").write_bytes(forge([Forged(b"%02d" % number, "file", content, {"method": 8}) for number in range(20)]))
    packed = read_directory(str(tmp_path / "archive.zip"))
    tracemalloc.start()
    try:
        kept = unpack(str(tmp_path / "archive.zip"), packed, str(tmp_path / "out"))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert {each.sha256 for each in kept} == {sha256(content).hexdigest()}
