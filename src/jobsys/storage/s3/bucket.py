"""The requests to S3 that jobsys makes, one method each, sent once; what comes back instead of an answer is an error in plain words."""

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.answers import NotOfferedError, PassingError, RangeError, RefusedError, translate
from jobsys.storage.s3.client import Client
from jobsys.storage.s3.options import AES, CUSTOMER, KMS, Options

PAGE: Final = 1000
"""The most keys in one list, and in one deletion."""
_SMALL: Final = 1 << 20  # larger bodies bear the SHA-256 of the signature, which every server checks, and no MD5 beside it
_UNEXPLAINED: Final = frozenset({400, 403})  # what an answer to HEAD, which has no body, may mean by it: expired, clock off, no permission
_FAILURES: Final = (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError, RecursionError)


class Piece(NamedTuple):
    """Bytes of an object, the size of the whole object in bytes, and the tag of the version that they are of."""

    data: bytes
    size: int
    tag: str


class Found(NamedTuple):
    """An object's size in bytes, when it was written (seconds since the epoch), and the tag of its version."""

    size: int
    modified: float
    tag: str


class Page(NamedTuple):
    """Some keys in order, the bytes of their objects, and whether there may be more behind them."""

    keys: list[str]
    size: int
    more: bool


class Source(NamedTuple):
    """What is to be copied: where it lies, its version, its size in bytes, and the user's own key that it is encrypted with, if any."""

    bucket: str
    key: str
    tag: str
    size: int
    secret: bytes = b""


class Upload(NamedTuple):
    """A multipart upload that was begun; ``begun`` in seconds since the epoch."""

    key: str
    id: str
    begun: float = 0.0


class Part(NamedTuple):
    """A part that was taken: its number from 1 on, its tag, and its SHA-256 as base64, where the server keeps that."""

    number: int
    tag: str
    sha256: str = ""


class Bucket:
    """One bucket."""

    def __init__(self, name: str, options: Options) -> None:
        """Send nothing yet."""
        self.name = name
        self.options = options
        self.client = Client(options)
        self._common: dict[str, Any] = {"Bucket": name}
        if options.owner:
            self._common["ExpectedBucketOwner"] = options.owner
        if options.requester_pays:
            self._common["RequestPayer"] = "requester"
        self._key = {}
        if options.sse == CUSTOMER:
            self._key = {"SSECustomerAlgorithm": AES, "SSECustomerKey": options.key()}
        self._new = self._key | _encryption(options.sse)
        self._keeps_sha256: bool | None = None  # known from the first answer on

    # -- objects ---------------------------------------------------------------------------------------------

    def put(self, key: str, body: bytes, *, if_absent: bool = False) -> None:
        """Write an object whole.

        Raises:
            RefusedError: there is one, and it was to be written only if there is none.
        """
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with self._naming("write", key):
            answer = self.client().put_object(Key=key, Body=body, **self._common, **self._new, **self._checksums(body), **condition)
        self._keeps_sha256 = "ChecksumSHA256" in answer

    def get(self, key: str, start: int = 0, length: int | None = None, tag: str = "") -> Piece:
        """Read a range of an object, of one version only where a tag is given.

        Raises:
            NotFoundError, RangeError: it is not there, or ends before.
            RefusedError: it is another version by now.
        """
        wanted: dict[str, Any] = {} if not start and length is None else {"Range": _range(start, length)}
        if tag:
            wanted["IfMatch"] = tag
        with self._naming("read", key):
            answer = self.client().get_object(Key=key, **self._common, **self._key, **wanted)
            data: bytes = answer["Body"].read()
            if len(data) != answer["ContentLength"]:
                raise OSError(f"{len(data)} of {answer['ContentLength']} bytes came")
            return _piece(answer, data, start, length)

    def head(self, key: str) -> Found:
        """Ask for size, time and version.

        Raises:
            NotFoundError: it is not there.
        """
        with self._naming("read", key):
            try:
                answer = self.client().head_object(Key=key, **self._common, **self._key)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _UNEXPLAINED:
                    self._hear_why(key)
                raise
        return Found(int(answer["ContentLength"]), answer["LastModified"].timestamp(), answer.get("ETag", ""))

    def _hear_why(self, key: str) -> None:
        """Ask for what was refused once more, by a request whose answer has a body with the reason."""
        with suppress(RangeError, RefusedError):
            self.get(key, 0, 1)

    def page(self, prefix: str, after: str = "") -> Page:
        """List some objects, sorted by key."""
        start = {"StartAfter": after} if after else {}
        with self._naming("list", prefix):
            answer = self.client().list_objects_v2(Prefix=prefix, MaxKeys=PAGE, **self._common, **start)
        found = answer.get("Contents", ())
        return Page([each["Key"] for each in found], sum(each["Size"] for each in found), bool(answer.get("IsTruncated")))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete up to a page of objects.

        Raises:
            StorageError: some are still there; the message names one.
        """
        if not keys:
            return
        if len(keys) == 1:
            with self._naming("delete", keys[0]):
                self.client().delete_object(Key=keys[0], **self._common)
            return
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with self._naming("delete", keys[0]):
            answer = self.client().delete_objects(Delete=objects, **self._common)
        self._check_deleted(answer)

    def _check_deleted(self, answer: Mapping[str, Any]) -> None:
        for left in answer.get("Errors", ()):
            if left.get("Code") not in {"NoSuchKey", "NoSuchVersion"}:
                error = ClientError({"Error": left, "ResponseMetadata": {"HTTPStatusCode": _status(left)}}, "DeleteObjects")
                raise translate(error, "delete", self.place(str(left.get("Key", ""))), time.time())

    def signed_url(self, key: str, seconds: int) -> str:
        """Make a URL by which anybody can read the object, for so many seconds; sends nothing."""
        with self._naming("sign a URL for", key):
            return str(self.client().generate_presigned_url("get_object", Params={"Key": key, **self._payer()}, ExpiresIn=seconds))

    def _payer(self) -> dict[str, Any]:
        """Give what a URL can hold: whose the bucket is would have to be said beside it."""
        return {name: value for name, value in self._common.items() if name != "ExpectedBucketOwner"}

    # -- uploads in parts ------------------------------------------------------------------------------------

    def begin(self, key: str) -> Upload:
        """Begin an upload in parts."""
        if self._keeps_sha256 is not False:
            try:
                return self._begin(key, {"ChecksumAlgorithm": "SHA256"})
            except NotOfferedError:
                self._keeps_sha256 = False
        return self._begin(key, {})

    def _begin(self, key: str, algorithm: dict[str, str]) -> Upload:
        with self._naming("write", key):
            answer = self.client().create_multipart_upload(Key=key, **self._common, **self._new, **algorithm)
        self._keeps_sha256 = answer.get("ChecksumAlgorithm") == "SHA256"
        return Upload(key, answer["UploadId"])

    def part(self, upload: Upload, number: int, body: bytes | bytearray) -> Part:
        """Send a part; numbers are from 1 on."""
        which = {"Key": upload.key, "UploadId": upload.id, "PartNumber": number}
        with self._naming("write", upload.key):
            answer = self.client().upload_part(Body=body, **which, **self._common, **self._key, **self._checksums(body))
        return Part(number, answer["ETag"], answer.get("ChecksumSHA256", ""))

    def copy_part(self, upload: Upload, number: int, source: Source, start: int, length: int) -> Part:
        """Have the server copy a part from another object."""
        which = {"Key": upload.key, "UploadId": upload.id, "PartNumber": number, "CopySourceRange": _range(start, length)}
        with self._naming("write", upload.key):
            answer = self.client().upload_part_copy(**which, **self._common, **self._key, **_copied(source))
        return Part(number, answer["CopyPartResult"]["ETag"], answer["CopyPartResult"].get("ChecksumSHA256", ""))

    def finish(self, upload: Upload, parts: Sequence[Part]) -> None:
        """Make the parts one object."""
        listed = [
            {"PartNumber": part.number, "ETag": part.tag} | ({"ChecksumSHA256": part.sha256} if part.sha256 else {}) for part in parts
        ]
        which = {"Key": upload.key, "UploadId": upload.id, "MultipartUpload": {"Parts": listed}}
        with self._naming("write", upload.key):
            self.client().complete_multipart_upload(**which, **self._common, **self._key)

    def abort(self, upload: Upload) -> None:
        """Forget an upload and its parts; one that is not known is no error."""
        try:
            with self._naming("delete", upload.key):
                self.client().abort_multipart_upload(Key=upload.key, UploadId=upload.id, **self._common)
        except NotFoundError:
            return

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Go through the uploads that were begun, and neither finished nor aborted."""
        marker: dict[str, str] = {}
        while True:
            try:
                with self._naming("list", prefix):
                    answer = self.client().list_multipart_uploads(Prefix=prefix, **self._common, **marker)
            except NotFoundError:  # the answer of servers that keep no such list
                return
            for each in answer.get("Uploads", ()):
                yield Upload(each["Key"], each["UploadId"], each["Initiated"].timestamp())
            if not answer.get("IsTruncated"):
                return
            marker = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def copy(self, source: Source, key: str) -> None:
        """Have the server copy an object of up to 5 GB."""
        with self._naming("write", key):
            self.client().copy_object(Key=key, **self._common, **self._new, **_copied(source))

    # -- older versions --------------------------------------------------------------------------------------

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Go through the versions and deletion marks of objects: keys and ids."""
        marker: dict[str, str] = {}
        while True:
            with self._naming("list", prefix):
                answer = self.client().list_object_versions(Prefix=prefix, **self._common, **marker)
            for each in (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())):
                yield each["Key"], each["VersionId"]
            if not answer.get("IsTruncated"):
                return
            marker = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}

    def delete_versions(self, versions: Sequence[tuple[str, str]]) -> None:
        """Delete up to a page of versions for good.

        Raises:
            StorageError: some are still there, such as locked ones; the message names one.
        """
        objects = {"Objects": [{"Key": key, "VersionId": version} for key, version in versions], "Quiet": True}
        with self._naming("delete", versions[0][0]):
            answer = self.client().delete_objects(Delete=objects, **self._common)
        self._check_deleted(answer)

    def keeps_versions(self) -> bool:
        """Tell whether what is deleted or replaced may be kept; False where the server does not know versions or will not tell.

        Raises:
            PassingError: it can't tell now.
        """
        try:
            with self._naming("list", ""):
                return bool(self.client().get_bucket_versioning(**self._owner()).get("Status"))
        except PassingError:
            raise
        except StorageError:
            return False

    # -- what all of them share ------------------------------------------------------------------------------

    def place(self, key: str) -> str:
        """Name an object for people."""
        return f"s3://{self.name}/{key}" if key else f"s3://{self.name}"

    def _owner(self) -> dict[str, Any]:
        return {name: value for name, value in self._common.items() if name != "RequestPayer"}

    def _checksums(self, body: bytes | bytearray) -> dict[str, str]:
        """Give the SHA-256 where the server keeps it; else the MD5, of small bodies: larger ones bear that of the signature only."""
        found = {}
        if self._keeps_sha256 is not False:
            found["ChecksumSHA256"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if not self._keeps_sha256 and len(body) <= _SMALL:
            found["ContentMD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        return found

    @contextmanager
    def _naming(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise translate(error, doing, self.place(key), time.time()) from error
        except RuntimeError as error:  # botocore's own, where the credentials that it was given have expired already
            if not str(error).startswith("Credentials"):
                raise
            found = CredentialRetrievalError(provider="boto3", error_msg=error)
            raise translate(found, doing, self.place(key), time.time()) from error


def _copied(source: Source) -> dict[str, Any]:
    which: dict[str, Any] = {"CopySource": {"Bucket": source.bucket, "Key": source.key}}
    if source.tag:
        which["CopySourceIfMatch"] = source.tag
    if source.secret:
        which |= {"CopySourceSSECustomerAlgorithm": AES, "CopySourceSSECustomerKey": source.secret}
    return which


def _encryption(sse: str) -> dict[str, str]:
    if sse.startswith(KMS):
        key = sse[len(KMS) + 1 :]
        return {"ServerSideEncryption": KMS} | ({"SSEKMSKeyId": key} if key else {})
    return {"ServerSideEncryption": AES} if sse == AES else {}


def _piece(answer: Mapping[str, Any], data: bytes, start: int, length: int | None) -> Piece:
    """Make sure that what came is the range asked for: a server, or a proxy before it, may give all there is, or another range."""
    came, _, whole = answer.get("ContentRange", "").rpartition("/")
    if not came:
        return Piece(data[start:] if length is None else data[start : start + length], len(data), answer.get("ETag", ""))
    size = int(whole) if whole.isdigit() else start + len(data)
    end = size if length is None else min(size, start + length)
    if not came.startswith(f"bytes {start}-") or len(data) != end - start:
        raise OSError(f"{len(data)} bytes came as {came}/{whole}, instead of those from {start} to {end}")
    return Piece(data, size, answer.get("ETag", ""))


def _range(start: int, length: int | None) -> str:
    return f"bytes={start}-" + ("" if length is None else str(start + length - 1))


def _status(error: dict[str, Any]) -> int:
    return {"AccessDenied": 403, "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503}.get(error.get("Code", ""), 400)
