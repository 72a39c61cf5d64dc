"""Locators of job stores in buckets."""

import pytest

from jobsys.errors import LocatorError, StorageError
from jobsys.jobstores import keys, s3
from jobsys.storage.s3.options import Options


@pytest.mark.parametrize(
    ("locator", "bucket", "prefix", "written"),
    [
        ("s3://bucket", "bucket", "", "s3://bucket"),
        ("s3://bucket/", "bucket", "", "s3://bucket"),
        ("S3://bucket/a/b/", "bucket", "a/b", "s3://bucket/a/b"),
        ("s3://my.bucket-1/ä b/c", "my.bucket-1", "ä b/c", "s3://my.bucket-1/ä b/c"),
        ("s3://Old_Style/x", "Old_Style", "x", "s3://Old_Style/x"),
        (
            "s3://arn:aws:s3:eu-north-1:123456789012:accesspoint/mine/a/b",
            "arn:aws:s3:eu-north-1:123456789012:accesspoint/mine",
            "a/b",
            "s3://arn:aws:s3:eu-north-1:123456789012:accesspoint/mine/a/b",
        ),
    ],
)
def test_locators(locator: str, bucket: str, prefix: str, written: str) -> None:
    place = s3.parse(locator)
    assert (place.bucket, place.prefix, str(place)) == (bucket, prefix, written)
    assert s3.parse(str(place)) == place


@pytest.mark.parametrize(
    "locator",
    [
        "s3:",
        "s3:bucket",
        "s3:/bucket/a",
        "s3://",
        "s3:///a",
        "s3://-bucket",
        "s3://b",
        "s3://bu cket/a",
        "s3://bucket?x",
        "s3://bucket:80/a",
    ],
)
def test_what_names_no_bucket(locator: str) -> None:
    with pytest.raises(LocatorError, match=r"names no bucket; write s3://bucket or s3://bucket/prefix$"):
        s3.parse(locator)


@pytest.mark.parametrize("prefix", ["a//b", "a/../b", "./a", "a\nb", "a/\x7f"])
def test_prefixes_that_lead_astray(prefix: str) -> None:
    with pytest.raises(LocatorError, match="the prefix must be parts between single slashes"):
        s3.parse(f"s3://bucket/{prefix}")


def test_a_prefix_leaves_room_for_the_longest_key() -> None:
    assert s3.storage(f"s3://bucket/{'a' * 123}", Options()).place("k" * 200) == f"{'a' * 123}/{'k' * 200}"
    with pytest.raises(StorageError, match=r"is too long a place: at most 123 bytes of prefix$"):
        s3.storage(f"s3://bucket/{'ä' * 62}", Options())


def test_only_keys_of_a_job_store_are_its_own() -> None:
    assert keys.is_own(keys.journal(1))
    assert not keys.is_own("other-run/journal/1")


def test_a_bucket_that_lists_nothing_in_order_is_refused() -> None:
    with pytest.raises(LocatorError, match="is a directory bucket of S3 Express"):
        s3.parse("s3://mine--use1-az4--x-s3/runs/one")
