"""Archives that were sent before are given back only as long as they are what they were; the least recently used go first."""

import os

import pytest

from jobsys.archives import Archives
from jobsys.digest import sha256

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def archives(tmp_path):
    return Archives(str(tmp_path / "archives"), 1000)


def keep(archives, tmp_path, digest, content, used=None):
    (tmp_path / "source").write_bytes(content)
    archives.keep(digest, str(tmp_path / "source"))
    if used is not None:
        (path,) = (each.path for each in archives.kept() if digest in each.path)
        os.utime(path, (used, used))


def content(archives, digest):
    stream = archives.open(digest)
    if stream is None:
        return None
    with stream:
        return stream.read()


def test_what_was_kept_comes_back(archives, tmp_path):
    assert content(archives, ONE) is None
    keep(archives, tmp_path, ONE, b"one")
    keep(archives, tmp_path, TWO, b"two")
    assert (content(archives, ONE), content(archives, TWO), content(archives, THREE)) == (b"one", b"two", None)
    assert os.stat(archives.directory).st_mode & 0o777 == 0o700


def test_one_that_is_not_what_it_was_is_forgotten(archives, tmp_path, caplog):
    keep(archives, tmp_path, ONE, b"one")
    (kept,) = archives.kept()
    with open(kept.path, "r+b") as stream:
        stream.write(b"O")
    assert content(archives, ONE) is None
    assert "is not what it was any more" in caplog.text
    assert list(archives.kept()) == []


def test_the_least_recently_used_make_room(archives, tmp_path):
    keep(archives, tmp_path, ONE, b"1" * 400, used=1)
    keep(archives, tmp_path, TWO, b"2" * 400, used=2)
    assert content(archives, ONE) == b"1" * 400, "which is a use"
    keep(archives, tmp_path, THREE, b"3" * 400)
    assert [content(archives, each) is not None for each in (ONE, TWO, THREE)] == [True, False, True]
    assert [each.size for each in archives.make_room(0)] == [400, 400]
    assert os.listdir(archives.directory) == []


def test_no_place_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"x")
    for directory in (tmp_path / "file" / "below", tmp_path / "file"):
        archives = Archives(str(directory), 1000)
        archives.keep(ONE, str(tmp_path / "file"))
    archives = Archives(str(tmp_path / "archives"), 1000)
    archives.keep(ONE, str(tmp_path / "missing"))
    assert list(archives.kept()) == []
    assert os.listdir(tmp_path / "archives") == []


def test_the_name_tells_both_digests(archives, tmp_path):
    keep(archives, tmp_path, ONE, b"one")
    assert os.listdir(archives.directory) == [f"{ONE}-{sha256(b'one')}.zip"]
