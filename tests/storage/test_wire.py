from urllib.parse import quote

import pytest

from jobsys.errors import IntegrityError, NotFoundError, StorageError
from jobsys.storage import wire
from jobsys.storage.wire import Range


@pytest.mark.parametrize(("kind", "status"), [(NotFoundError, 404), (IntegrityError, 409), (StorageError, 500)])
def test_an_error_comes_back_as_it_was(kind: type[StorageError], status: int) -> None:
    error = kind("can't write ünï: the disk is full (0.0 MiB free)")
    found, body = wire.encode_error(error)
    assert found == status
    for told in (wire.decode_error(body, None), wire.decode_error(b"", quote(body))):
        assert type(told) is kind
        assert str(told) == str(error)


def test_an_error_below_a_storage_error_is_one() -> None:
    class Special(NotFoundError):
        pass

    assert wire.encode_error(Special("x")) == wire.encode_error(NotFoundError("x"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "ValueError", "message": "x"}', b'{"error": 1, "message": "x"}'])
def test_what_is_no_error_of_a_storage(body: bytes) -> None:
    assert wire.decode_error(body, None) is None


@pytest.mark.parametrize("wanted", [Range(0, 1), Range(5, 100), Range(7, None), Range(0, 1 << 40)])
def test_a_range_comes_back_as_it_was(wanted: Range) -> None:
    assert wire.read_range_header(wanted.header()) == wanted


@pytest.mark.parametrize("text", [None, "", "bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", f"bytes={'9' * 40}-"])
def test_other_ranges_ask_for_all(text: str | None) -> None:
    assert wire.read_range_header(text) is None


def test_credentials() -> None:
    assert wire.are_credentials("Bearer secret", "secret")
    for wrong in (None, "", "secret", "Bearer secre", "Bearer secret ", "Basic secret", "Bearer s\udce9cret"):
        assert not wire.are_credentials(wrong, "secret"), wrong


@pytest.mark.parametrize(("text", "is_token"), [("aB-_9~", True), ("", False), ("a b", False), ("a\n", False), ("ä", False)])
def test_tokens(text: str, is_token: bool) -> None:
    assert wire.is_token(text) is is_token


def test_paths_are_quoted() -> None:
    assert wire.object_path("shared/a%2Fb=~") == "/o/shared/a%252Fb=~"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("LocalHost", True),
        ("a.localhost", True),
        ("10.0.0.1", False),
        ("fd00::1", False),
        ("localhost.example.org", False),
        ("", False),
        (None, False),
    ],
)
def test_what_means_the_machine_that_says_it(host: str | None, expected: bool) -> None:
    assert wire.is_loopback(host) is expected
