"""What an answer of S3, or none, means: one error in plain words for each. Sends nothing."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as UnconnectedError,
)

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import PassingError as PassingError


class BusyError(PassingError):
    """The server itself said so: its address is right."""


class CredentialsError(PassingError):
    """The credentials are not, or no longer, accepted; others may have come meanwhile."""


class SkewError(PassingError):
    """This machine's clock is too far off; ``seconds`` is by how much the server's is ahead."""

    def __init__(self, text: str, seconds: float) -> None:
        """Take the text and the difference."""
        super().__init__(text)
        self.seconds = seconds


class RefusedError(StorageError):
    """There is an object already, or it is another one than was asked for."""


class NotOfferedError(StorageError):
    """The server does not offer what was asked for."""


class RangeError(StorageError):
    """The range lies behind the object's end."""


_PASSING: Final = frozenset(
    {
        *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
        *("Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests", "Busy"),
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "ClientDisconnected", "RequestThrottled"),
    }
)
_PASSING_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"})
_UNKNOWN: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException"})
_WRONG_REGION: Final = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_GIVING: Final = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "GetRoleCredentials", "CreateToken"})
_NO_UPLOAD: Final = frozenset({"NoSuchUpload"})
_RENEW: Final = "renew them (aws sso login, a new token, the role of this machine), then go on with --restart"
_REGION: Final = re.compile(r"expecting '([a-z0-9-]+)'")


def translate(error: Exception, doing: str, place: str, now: float) -> StorageError:
    """Give the error to raise for one of botocore's.

    Args:
        error: what botocore raised.
        doing: what was asked for: read, write, list …
        place: of what: ``s3://bucket/key``.
        now: this machine's time, in seconds since the epoch.
    """
    if isinstance(error, ClientError) and error.operation_name in _GIVING:  # on the way to S3
        return CredentialsError(f"can't {doing} {place}: the credentials can't be had ({_line(error)}); {_RENEW}")
    if isinstance(error, ClientError):
        return _answered(error.response, doing, place, now)
    if isinstance(error, BotoCoreError):
        return _unanswered(error, doing, place)
    if isinstance(error, RecursionError):  # botocore asks where a bucket is, and follows the answer, which is again that it is elsewhere
        return StorageError(f"can't {doing} {place}: {_region({}, '')}")
    return PassingError(f"can't {doing} {place}: {type(error).__name__}: {error}")  # a socket's own error


def _answered(response: Mapping[str, Any], doing: str, place: str, now: float) -> StorageError:
    code, message = str(response.get("Error", {}).get("Code", "")), str(response.get("Error", {}).get("Message", ""))
    meta = response.get("ResponseMetadata", {})
    status, headers = int(meta.get("HTTPStatusCode", 0)), meta.get("HTTPHeaders", {})
    said = f"{code} ({message[:300]})" if message and message != "None" else code or f"status {status}"
    known = _by_code(code, status, doing, place)
    if known is not None:
        return known
    if code == "RequestTimeTooSkewed":
        return _skewed(headers, doing, place, now)
    if code in _WRONG_REGION or status == 301:
        return StorageError(f"can't {doing} {place}: {_region(headers, message)}")
    if code in _EXPIRED | _UNKNOWN:
        old = "have expired" if code in _EXPIRED else "are not accepted"
        return CredentialsError(f"can't {doing} {place}: the credentials {old}: {said}; {_RENEW}")
    if code == "InvalidObjectState":
        return StorageError(f"can't {doing} {place}: it lies in an archive ({said}): restore it first (aws s3api restore-object)")
    if status == 403:
        return StorageError(f"can't {doing} {place}: no permission: {said}; {_permission(doing)}")
    if "hash of the key did not match" in message:
        return StorageError(f"can't {doing} {place}: it is encrypted with another key than that of --s3-sse-key-file ({said})")
    if "Server Side Encryption" in message:
        return StorageError(f"can't {doing} {place}: it is encrypted with a key of the user's own: give --s3-sse-key-file ({said})")
    if code in _PASSING or status in _PASSING_STATUS:
        return BusyError(f"can't {doing} {place}: the server answered {said}")
    return StorageError(f"can't {doing} {place}: the server answered {said}, status {status}")


def _by_code(code: str, status: int, doing: str, place: str) -> StorageError | None:
    if code == "NoSuchBucket":
        bucket = place.removeprefix("s3://").partition("/")[0]
        return StorageError(
            f"there is no bucket {bucket!r}: check its name, the endpoint and the account, or make it (aws s3 mb s3://{bucket})"
        )
    if code in _NO_UPLOAD:
        return NotFoundError(f"the upload of {place} is not known any more")
    if status == 404:
        return NotFoundError(f"there is nothing under {place}")
    if status == 412 or code == "PreconditionFailed":
        return RefusedError(f"can't {doing} {place}: there is an object already, or it is another one by now")
    if status == 501:
        return NotOfferedError(f"can't {doing} {place}: the server does not offer this ({code})")
    if status == 416:
        return RangeError(f"{place} ends before the bytes that were asked for")
    return None


def _permission(doing: str) -> str:
    needs = {"read": "s3:GetObject and s3:ListBucket", "write": "s3:PutObject", "list": "s3:ListBucket", "delete": "s3:DeleteObject"}
    return (
        f"the policy of the user or of the bucket must allow {needs.get(doing, 's3:GetObject, s3:PutObject, s3:ListBucket')}, "
        "and a bucket whose requester pays needs --s3-requester-pays"
    )


def _region(headers: Mapping[str, str], message: str) -> str:
    match = _REGION.search(message)
    named = headers.get("x-amz-bucket-region") or (match and match[1])
    way = f"set AWS_REGION={named}" if named else "set AWS_REGION to the bucket's region"
    return f"the bucket is in another region: {way}"


def _skewed(headers: Mapping[str, str], doing: str, place: str, now: float) -> SkewError:
    try:
        ahead = parsedate_to_datetime(headers["date"]).timestamp() - now
    except (KeyError, ValueError, TypeError):
        ahead = 0.0
    far = f"{abs(ahead) / 60:.0f} minutes {'behind' if ahead > 0 else 'ahead of'}" if ahead else "too far from"
    return SkewError(f"can't {doing} {place}: this machine's clock is {far} the server's: set it (NTP)", ahead)


def _unanswered(error: BotoCoreError, doing: str, place: str) -> StorageError:
    """Tell what is for good from what may pass."""
    what = f"can't {doing} {place}"
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        way = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role gives some"
        return CredentialsError(f"{what}: there are no credentials ({_line(error)}): {way}")
    if isinstance(error, (CredentialRetrievalError, TokenRetrievalError, SSOError)):
        return CredentialsError(f"{what}: the credentials can't be had ({_line(error)}); {_RENEW}")
    if isinstance(error, SSLError):
        way = "AWS_CA_BUNDLE may name the authority that the server's certificate is from"
        return StorageError(f"{what}: the server is not trusted ({_line(error)}); {way}")
    if isinstance(error, ProxyConnectionError):
        return PassingError(f"{what}: the proxy does not answer ({_line(error)}); check HTTP_PROXY and HTTPS_PROXY")
    if isinstance(error, (HTTPClientError, UnconnectedError, IncompleteReadError)):
        return PassingError(f"{what}: {_line(error)}; check the endpoint (--s3-endpoint-url, AWS_ENDPOINT_URL_S3) and the network")
    return StorageError(f"{what}: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
