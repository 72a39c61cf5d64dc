"""What goes with a storage that is destroyed, and in which order."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from jobsys.errors import StorageError
from jobsys.storage.s3.bucket import Page, Upload
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.storage import S3Storage


class Versions:
    """A bucket that keeps versions."""

    name, options = "b", Options()

    def __init__(self, there: list[str], versions: list[tuple[str, str]], forbidden: str = "") -> None:
        self.there, self.kept, self.forbidden = there, versions, forbidden
        self.gone: list[str] = []

    def page(self, place: str, after: str) -> Page:
        return Page([key for key in self.there if key.startswith(place)], 0, False)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        if self.forbidden == "uploads":
            raise StorageError("no permission")
        return iter([Upload(f"{prefix}values/x", "1"), Upload(f"{prefix}else", "2")])

    def abort(self, upload: Upload) -> None:
        self.gone.append(f"upload {upload.key}")

    def keeps_versions(self) -> bool:
        return True

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        return iter(self.kept)

    def delete_versions(self, versions: Sequence[tuple[str, str]]) -> None:
        self.gone += [key for key, _ in versions]
        self.there = [key for key in self.there if key not in self.gone]

    def delete(self, keys: Sequence[str]) -> None:
        self.gone += keys


def storage_over(bucket: Any) -> S3Storage:
    return S3Storage(bucket, "run", own=lambda key: key != "else")


def test_what_is_still_seen_goes_last() -> None:
    bucket = Versions(["run/a"], [("run/a", "1"), ("run/else", "1"), ("run/z", "1"), ("run/z", "2")])
    storage_over(bucket).destroy()
    assert bucket.gone == ["upload run/values/x", "run/z", "run/z", "run/a"]


def test_what_may_not_be_done_is_found_out_before_anything_goes() -> None:
    bucket = Versions(["run/a"], [], forbidden="uploads")
    with pytest.raises(StorageError, match="no permission"):
        storage_over(bucket).destroy()
    assert not bucket.gone
