"""The central directory of an archive: as zipfile reads it where it is ours, and refused where anything is out of place."""

import struct
import zipfile
from io import BytesIO

import pytest

from forging import MAX_32, Forged, forge  # type: ignore[import-not-found]
from jobsys.central import read_directory
from jobsys.errors import IntegrityError
from jobsys.package import pack
from jobsys.scan import read_tree

TREE = [Forged(b"d", "directory"), Forged(b"d/a", "file", b"12345"), Forged(b"l", "link", b"d/a")]


def read(tmp_path, archive):
    path = tmp_path / "archive.zip"
    path.write_bytes(archive)
    return read_directory(str(path))


def misleading(data):
    """Let the locator lead elsewhere."""
    place = data.index(b"PK\6\7") + 8
    return data[:place] + struct.pack("<Q", 7) + data[place + 8 :]


@pytest.mark.parametrize("compress", [False, True])
def test_it_reads_what_zipfile_reads(tmp_path, compress):
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    for name, text in (("d/é", "x" * 900), ("d/none", ""), ("d/a.py", "print(1)\n" * 99)):
        (tree / name).write_text(text)
    (tree / "d" / "link").symlink_to("a.py")
    stream = BytesIO()
    found = read_tree(str(tree))
    pack(found, stream, compress=compress)
    packed = read(tmp_path, stream.getvalue())
    assert [each.entry for each in packed] == [item.entry for item in found.items]
    with zipfile.ZipFile(stream) as opened:
        theirs = [(info.header_offset, info.compress_size, info.compress_type) for info in opened.infolist()]
    assert [each[1:] for each in packed] == theirs


def test_numbers_of_64_bits(tmp_path):
    lies = {"size": MAX_32 + 1, "compressed": MAX_32 + 2, "start": MAX_32}
    [each] = read(tmp_path, forge([Forged(b"a", "file", b"1", lies)], wide=1))
    assert (each.entry.size, each.compressed, each.header) == (MAX_32 + 1, MAX_32 + 2, MAX_32)


def test_an_archive_of_nothing(tmp_path):
    assert read(tmp_path, forge([])) == []


@pytest.mark.parametrize("extra", [struct.pack("<2H3s", 0x7075, 3, b"abc"), b"\1\0\0\0"])
def test_other_fields_are_passed_over(tmp_path, extra):
    [each] = read(tmp_path, forge([Forged(b"a", "file", b"1", {"extra": extra})]))
    assert each.entry.path == "a"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: b"", "requires a buffer"),
        (lambda data: data[:-1], "does not end"),
        (lambda data: data + b"x", "does not end"),
        (lambda data: b"x" + data, "not where it says"),
        (lambda data: data.replace(b"PK\1\2", b"PK\1\3", 1), "directory is damaged"),
        (lambda data: forge(TREE, count=2), "holds 3 entries and says 2"),
        (lambda data: forge(TREE, count=2, wide=1), "holds 3 entries and says 2"),
        (lambda data: forge(TREE, size=1 << 63, wide=1), "not where it says"),
        (lambda data: misleading(forge(TREE, wide=1)), "contradict each other"),
        (lambda data: forge([Forged(b"a", "file", b"1", {"flags": 1})]), "encrypted"),
        (lambda data: forge([Forged(b"a", "file", b"1", {"method": 12})]), "another way"),
        (lambda data: forge([Forged(b"a", "device")]), "another kind"),
        (lambda data: forge([Forged(b"\xff", "file", b"1", {"flags": 0x800})]), "decode"),
        (lambda data: forge([Forged(b"a", "file", b"1", {"extra": b"\1\0\xff\xff"})]), "damaged field"),
        (lambda data: forge([Forged(b"a", "file", b"1", {"extra": b"\1\0\0\0" * 2})]), "damaged field"),
        (lambda data: forge([Forged(b"a", "file", b"1", {"size": MAX_32, "extra": b"\1\0\0\0"})]), "damaged field"),
    ],
)
def test_what_is_out_of_place_is_refused(tmp_path, spoil, why):
    with pytest.raises(IntegrityError, match=why):
        read(tmp_path, spoil(forge(TREE)))


def test_a_number_that_is_not_there_is_refused(tmp_path):
    data = forge([Forged(b"a", "file", b"1")])
    start = data.index(b"PK\1\2") + 24  # the size
    with pytest.raises(IntegrityError, match="lacks a number"):
        read(tmp_path, data[:start] + b"\xff" * 4 + data[start + 4 :])
