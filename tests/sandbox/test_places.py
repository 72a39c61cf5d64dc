"""Which URLs may be used."""

import pytest

from jobsys.sandbox.places import RefusedUrlError, check, is_allowed


@pytest.fixture
def places(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "database").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "database")
    (tmp_path / "data" / "inner").symlink_to(tmp_path / "data")
    return tmp_path


def test_files_lie_where_they_may(places):
    allowed = [str(places / "data")]
    for path in ("data", "data/x", "data/inner/x", "data/a/../b"):
        assert is_allowed(str(places / path), allowed), path
    for path in ("database/x", "data/../database", "data/link/x", "", "data/../../x"):
        assert not is_allowed(str(places / path), allowed), path
    assert is_allowed("/anything", ["/"])


@pytest.mark.parametrize("url", ["s3://bucket/key", "http://x/y", "HTTPS://x/y", "ftp://x/y", "sftp://x/y", "gs://x/y"])
def test_what_is_elsewhere_is_for_its_server_to_allow(url):
    check(url, [])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///etc/passwd", "nowhere"),
        ("/etc/passwd", "nowhere"),
        ("etc/passwd", "neither a URL nor an absolute path"),
        ("gopher://x", "no way to gopher"),
        ("file+x:///etc", "no way to file"),
        ("memory:x", "no way to memory"),
        ("", "neither"),
    ],
)
def test_what_is_refused(url, says):
    with pytest.raises(RefusedUrlError, match=says):
        check(url, [])
