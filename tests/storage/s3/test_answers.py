"""What servers and botocore say, in the words of jobsys; whole lines are compared in tests/s3, where a real server says it."""

from email.utils import formatdate

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    UnauthorizedSSOTokenError,
)

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.answers import CredentialsError, PassingError, RangeError, RefusedError, SkewError, translate

PLACE = "s3://bucket/key"
NOW = 1_000_000.0


def answered(status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None, doing: str = "write") -> StorageError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}}
    return translate(ClientError(response, "Any"), doing, PLACE, NOW)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", PassingError),
        (500, "InternalError", PassingError),
        (502, "", PassingError),
        (429, "TooManyRequests", PassingError),
        (409, "ConditionalRequestConflict", PassingError),
        (400, "RequestTimeout", PassingError),
        (400, "BadDigest", PassingError),
        (400, "ExpiredToken", CredentialsError),
        (403, "InvalidAccessKeyId", CredentialsError),
        (403, "SignatureDoesNotMatch", CredentialsError),
        (403, "RequestTimeTooSkewed", SkewError),
        (404, "NoSuchKey", NotFoundError),
        (404, "404", NotFoundError),  # a HEAD has no body
        (404, "NoSuchUpload", NotFoundError),
        (412, "PreconditionFailed", RefusedError),
        (412, "412", RefusedError),
        (416, "InvalidRange", RangeError),
        (404, "NoSuchBucket", StorageError),
        (403, "AccessDenied", StorageError),
        (301, "PermanentRedirect", StorageError),
        (400, "InvalidArgument", StorageError),
    ],
)
def test_each_answer_is_of_one_kind(status: int, code: str, kind: type[StorageError]) -> None:
    error = answered(status, code)
    assert type(error) is kind
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoCredentialsError(), CredentialsError),
        (CredentialRetrievalError(provider="p", error_msg="m"), CredentialsError),
        (UnauthorizedSSOTokenError(), CredentialsError),
        (EndpointConnectionError(endpoint_url="http://h", error="e"), PassingError),
        (ConnectTimeoutError(endpoint_url="http://h", error="e"), PassingError),
        (ReadTimeoutError(endpoint_url="http://h", error="e"), PassingError),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), PassingError),
        (ProxyConnectionError(proxy_url="http://p", error="e"), PassingError),
        (ConnectionResetError("reset"), PassingError),
        (SSLError(endpoint_url="https://h", error="e"), StorageError),
        (RecursionError(), StorageError),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Exception) else "",
)
def test_what_came_instead_of_an_answer_is_of_one_kind(error: Exception, kind: type[StorageError]) -> None:
    made = translate(error, "read", PLACE, NOW)
    assert type(made) is kind
    assert str(made).startswith("can't read s3://bucket/key: ")
    assert "\n" not in str(made)


@pytest.mark.parametrize(("seconds", "text"), [(1200, "20 minutes behind"), (-1200, "20 minutes ahead of")])
def test_the_difference_of_two_clocks(seconds: int, text: str) -> None:
    error = answered(403, "RequestTimeTooSkewed", headers={"date": formatdate(NOW + seconds, usegmt=True)})
    assert isinstance(error, SkewError)
    assert error.seconds == seconds
    assert str(error) == f"can't write s3://bucket/key: this machine's clock is {text} the server's: set it (NTP)"


def test_clocks_of_which_the_difference_is_not_said() -> None:
    error = answered(403, "RequestTimeTooSkewed", headers={"date": "today"})
    assert isinstance(error, SkewError)
    assert error.seconds == 0


@pytest.mark.parametrize(
    ("message", "headers"),
    [
        ("", {"x-amz-bucket-region": "eu-north-1"}),
        ("The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-north-1'", {}),
    ],
)
def test_the_region_that_a_bucket_is_in(message: str, headers: dict[str, str]) -> None:
    error = answered(400, "AuthorizationHeaderMalformed", message, headers)
    assert str(error) == "can't write s3://bucket/key: the bucket is in another region: set AWS_REGION=eu-north-1"


def test_what_a_server_says_comes_along_and_not_too_long() -> None:
    assert "AccessDenied (You shall not)" in str(answered(403, "AccessDenied", "You shall not"))
    assert len(str(answered(400, "Odd", "long " * 1000))) < 500
