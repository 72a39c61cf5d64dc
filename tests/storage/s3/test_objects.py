"""Which object a URL means."""

import pytest

from jobsys.errors import StorageError
from jobsys.storage.s3.objects import at
from jobsys.storage.s3.options import Options

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://bucket/key", "bucket", "key"),
        ("S3://my.bucket/a b/%20#?", "my.bucket", "a b/%20#?"),
        (f"s3://{ARN}/a/b", ARN, "a/b"),
        (f"s3://{ARN.replace('point/', 'point:')}/a", ARN.replace("point/", "point:"), "a"),
    ],
)
def test_bucket_and_key(url: str, bucket: str, key: str) -> None:
    place = at(url)
    assert (place.access.bucket.name, place.key) == (bucket, key)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3:///key", "s3://bucket/a/", f"s3://{ARN}", f"s3://{ARN}/"])
def test_no_object(url: str) -> None:
    with pytest.raises(StorageError, match="names no object of S3"):
        at(url)


def test_the_server_that_is_named_is_asked_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSYS_S3_ENDPOINT_URL", "http://environment")
    assert at("s3://bucket/key").access.bucket.options == Options(endpoint_url="http://environment")
    named = Options(endpoint_url="http://named", owner="123456789012", sse="AES256")
    assert at("s3://bucket/key", named).access.bucket.options == Options(endpoint_url="http://named")
