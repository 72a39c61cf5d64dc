import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import check_key, check_prefix, check_range, storage_error

PART = st.text("abZ09._~%=-", min_size=1, max_size=255).filter(lambda part: part not in (".", "..", ".tmp"))


@given(st.lists(PART, min_size=1, max_size=3))
def test_keys_of_legal_parts_pass(parts: list[str]) -> None:
    check_key("/".join(parts))


@given(st.text("a./~\n ä\0\\", max_size=12))
def test_no_key_leads_out(key: str) -> None:
    try:
        check_key(key)
    except StorageError:
        return
    parts = key.split("/")
    assert not {"", ".", "..", ".tmp"} & set(parts[:1])
    assert not {"", ".", ".."} & set(parts)
    assert set(key) <= set("a./~")


def test_a_hostile_key_is_refused_quickly_and_briefly() -> None:
    with pytest.raises(StorageError) as caught:
        check_key("a/" * 500_000 + "..")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/.", ".t"])
def test_prefixes_are_text(prefix: str) -> None:
    check_prefix(prefix)


def test_ranges() -> None:
    check_range(0, None)
    check_range(0, 0)
    with pytest.raises(StorageError, match="-1"):
        check_range(-1, None)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full .*MiB free in /.*--restart"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied to user [0-9]+"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ESTALE, "mount"),
        (errno.EXDEV, "cross-device"),
    ],
)
def test_the_system_speaks_plainly(number: int, words: str) -> None:
    error = storage_error(OSError(number, "Invalid cross-device link"), "write", "/no/such/folder/key")
    assert type(error) is StorageError
    with pytest.raises(StorageError, match=f"can't write /no/such/folder/key: .*{words}"):
        raise error


def test_absence_has_its_own_class() -> None:
    for number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        assert type(storage_error(OSError(number, ""), "read", "/a")) is NotFoundError
        assert type(storage_error(OSError(number, ""), "write", "/a")) is StorageError
