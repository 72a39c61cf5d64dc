"""What an answer means: for each of those that people meet, one line with the cause and the way out."""

from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    UnauthorizedSSOTokenError,
)

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.answers import BusyError, CredentialsError, PassingError, RangeError, RefusedError, SkewError, translate

PLACE = "s3://bucket/key"


def answered(code: str, status: int, message: str = "", **headers: str) -> ClientError:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}
    return ClientError(response, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answered("SlowDown", 503), BusyError, "the server answered SlowDown"),
        (answered("InternalError", 500, "sorry"), BusyError, "InternalError (sorry)"),
        (answered("", 502), BusyError, "status 502"),
        (answered("ConditionalRequestConflict", 409), BusyError, "ConditionalRequestConflict"),
        (answered("XAmzContentSHA256Mismatch", 400), BusyError, "XAmzContentSHA256Mismatch"),
        (answered("NoSuchKey", 404), NotFoundError, "there is nothing under s3://bucket/key"),
        (answered("404", 404), NotFoundError, "there is nothing under s3://bucket/key"),
        (answered("NoSuchBucket", 404), StorageError, "there is no bucket 'bucket': check its name"),
        (answered("NoSuchUpload", 404), NotFoundError, "is not known any more"),
        (answered("PreconditionFailed", 412), RefusedError, "there is an object already"),
        (answered("InvalidRange", 416), RangeError, "ends before"),
        (answered("AccessDenied", 403), StorageError, "no permission: AccessDenied; the policy"),
        (answered("ExpiredToken", 400, "too old"), CredentialsError, "the credentials have expired: ExpiredToken (too old); renew them"),
        (answered("InvalidAccessKeyId", 403), CredentialsError, "are not accepted"),
        (answered("PermanentRedirect", 301, **{"x-amz-bucket-region": "eu-west-1"}), StorageError, "set AWS_REGION=eu-west-1"),
        (
            answered("AuthorizationHeaderMalformed", 400, "the region 'us-east-1' is wrong; expecting 'eu-west-3'"),
            StorageError,
            "set AWS_REGION=eu-west-3",
        ),
        (answered("InvalidRequest", 400, "stored using a form of Server Side Encryption."), StorageError, "give --s3-sse-key-file"),
        (answered("Strange", 418, "I am a teapot"), StorageError, "Strange (I am a teapot), status 418"),
        (answered("InvalidObjectState", 403, "GLACIER"), StorageError, "it lies in an archive (InvalidObjectState (GLACIER)): restore it"),
        (
            ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"),
            CredentialsError,
            "can't be had (An error occurred (AccessDenied)",
        ),
        (UnauthorizedSSOTokenError(), CredentialsError, "aws sso login"),
        (NoCredentialsError(), CredentialsError, "there are no credentials"),
        (CredentialRetrievalError(provider="sso", error_msg="log in"), CredentialsError, "can't be had"),
        (SSLError(endpoint_url="https://h", error="self-signed"), StorageError, "AWS_CA_BUNDLE"),
        (ProxyConnectionError(proxy_url="http://p"), PassingError, "check HTTP_PROXY"),
        (EndpointConnectionError(endpoint_url="http://h"), PassingError, "check the endpoint (--s3-endpoint-url"),
        (ConnectTimeoutError(endpoint_url="http://h"), PassingError, "check the endpoint"),
        (ReadTimeoutError(endpoint_url="http://h"), PassingError, "check the endpoint"),
        (ResponseStreamingError(error="cut"), PassingError, "check the endpoint"),
        (RecursionError(), StorageError, "the bucket is in another region"),
        (ConnectionResetError(104, "reset"), PassingError, "ConnectionResetError"),
    ],
)
def test_each_is_told_in_one_line(error: Exception, kind: type[StorageError], said: str) -> None:
    found = translate(error, "read", PLACE, 0.0)
    assert type(found) is kind
    assert said in str(found)
    assert "\n" not in str(found)
    assert PLACE in str(found) or "bucket 'bucket'" in str(found)


def test_a_clock_that_is_off_is_measured() -> None:
    error = answered("RequestTimeTooSkewed", 403, date="Thu, 01 Jan 1970 01:00:00 GMT")
    for now, seconds, said in ((2400.0, 1200.0, "20 minutes behind"), (4800.0, -1200.0, "20 minutes ahead of")):
        found = translate(error, "read", PLACE, now)
        assert isinstance(found, SkewError)
        assert found.seconds == seconds
        assert said in str(found)
    nothing = translate(answered("RequestTimeTooSkewed", 403), "read", PLACE, 0.0)
    assert isinstance(nothing, SkewError)
    assert nothing.seconds == 0
