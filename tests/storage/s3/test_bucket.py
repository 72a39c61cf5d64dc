"""The requests, against a client that answers as this or that server does."""

import base64
import hashlib
import io
from typing import Any

import pytest
from botocore.exceptions import ClientError
from urllib3.exceptions import ProtocolError

from jobsys.errors import StorageError
from jobsys.storage.s3.answers import CredentialsError, PassingError, SkewError
from jobsys.storage.s3.bucket import Bucket, Part, Source
from jobsys.storage.s3.options import Options

KEY = base64.b64encode(bytes(32)).decode()


class Answers:
    """A client that notes what it is asked, and answers what the test says."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self) -> "Answers":
        return self

    def __getattr__(self, name: str) -> Any:
        def call(**given: Any) -> Any:
            self.asked.append((name, given))
            answer = self.answers.get(name, {})
            return answer(given) if callable(answer) else answer

        return call


def bucket_over(options: Options | None = None, **answers: Any) -> tuple[Bucket, Answers]:
    bucket, client = Bucket("b", options or Options()), Answers(**answers)
    bucket.client = client  # type: ignore[assignment]
    return bucket, client


def refused(status: int, code: str = "") -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}}
    return ClientError(response, "any")


def raising(error: Exception) -> Any:
    def answer(_: object) -> None:
        raise error

    return answer


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(400, "ExpiredToken", CredentialsError), (403, "RequestTimeTooSkewed", SkewError), (403, "AccessDenied", StorageError)],
)
def test_what_an_answer_to_head_can_not_say_is_asked_for(status: int, code: str, kind: type[StorageError]) -> None:
    bucket, client = bucket_over(head_object=raising(refused(status, str(status))), get_object=raising(refused(status, code)))
    with pytest.raises(StorageError, match="s3://b/k") as told:
        bucket.head("k")
    assert type(told.value) is kind
    assert client.asked[1][1]["Range"] == "bytes=0-0"


def test_a_head_that_is_refused_and_nothing_else_is_an_error() -> None:
    for answer in ({"Body": io.BytesIO(b"x"), "ContentLength": 1}, raising(refused(416, "InvalidRange"))):
        bucket, _ = bucket_over(head_object=raising(refused(403, "403")), get_object=answer)
        with pytest.raises(StorageError, match="no permission: 403"):
            bucket.head("k")


def test_credentials_that_have_expired_when_they_come_are_told() -> None:
    bucket, _ = bucket_over(
        get_object=raising(RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."))
    )
    with pytest.raises(CredentialsError, match=r"can't be had .* renew them"):
        bucket.get("k")
    bucket, _ = bucket_over(get_object=raising(RuntimeError("can't start new thread")))
    with pytest.raises(RuntimeError, match="new thread"):
        bucket.get("k")


def test_a_server_that_keeps_checksums_is_sent_nothing_else() -> None:
    bucket, client = bucket_over(put_object={"ChecksumSHA256": "x"})
    bucket.put("k", b"data")
    bucket.put("k", b"data")
    first, second = (given for _, given in client.asked)
    assert {"ChecksumSHA256", "ContentMD5"} <= first.keys()
    assert second["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    assert "ContentMD5" not in second


def test_a_server_that_keeps_none_is_sent_the_md5() -> None:
    bucket, client = bucket_over(put_object={})
    bucket.put("k", b"data")
    bucket.put("k", b"data")
    bucket.put("k", bytes(2 << 20))
    small, large = client.asked[1][1], client.asked[2][1]
    assert small["ContentMD5"] == base64.b64encode(hashlib.md5(b"data").digest()).decode()
    assert "ChecksumSHA256" not in small
    assert not {"ChecksumSHA256", "ContentMD5"} & large.keys(), "the signature has its SHA-256"


def test_a_server_that_does_not_know_checksums_of_parts_is_asked_without() -> None:
    def begin(given: dict[str, Any]) -> dict[str, str]:
        if "ChecksumAlgorithm" in given:
            raise refused(501, "NotImplemented")
        return {"UploadId": "u"}

    bucket, client = bucket_over(create_multipart_upload=begin, upload_part={"ETag": "e"})
    upload = bucket.begin("k")
    assert bucket.part(upload, 1, b"x" * 10) == Part(1, "e")
    assert "ChecksumSHA256" not in client.asked[-1][1]
    bucket.begin("k")
    assert [name for name, _ in client.asked].count("create_multipart_upload") == 3


def test_parts_bear_their_checksums_to_the_end() -> None:
    answers: Any = {
        "create_multipart_upload": {"UploadId": "u", "ChecksumAlgorithm": "SHA256"},
        "upload_part": {"ETag": "e", "ChecksumSHA256": "s"},
    }
    bucket, client = bucket_over(**answers)
    upload = bucket.begin("k")
    bucket.finish(upload, [bucket.part(upload, 1, b"x")])
    assert client.asked[-1][1]["MultipartUpload"] == {"Parts": [{"PartNumber": 1, "ETag": "e", "ChecksumSHA256": "s"}]}


def test_an_answer_that_breaks_off_below_botocore_may_come_whole_the_next_time() -> None:
    def broken(given: dict[str, Any]) -> None:
        raise ProtocolError("Connection broken")

    bucket, _ = bucket_over(list_objects_v2=broken)
    with pytest.raises(PassingError, match="can't list s3://b: ProtocolError"):
        bucket.page("")


def test_a_body_that_is_cut_off_is_not_believed() -> None:
    answer = {"Body": io.BytesIO(b"ha"), "ContentLength": 4}
    bucket, _ = bucket_over(get_object=answer)
    with pytest.raises(PassingError, match="2 of 4 bytes came"):
        bucket.get("k")


@pytest.mark.parametrize(("start", "length", "read"), [(0, 4, b"0123"), (3, 4, b"3456"), (8, 9, b"89"), (4, None, b"456789")])
def test_of_a_server_that_ignores_ranges_the_range_is_taken(start: int, length: int | None, read: bytes) -> None:
    bucket, _ = bucket_over(get_object={"Body": io.BytesIO(b"0123456789"), "ContentLength": 10})
    assert bucket.get("k", start, length)[:2] == (read, 10)


@pytest.mark.parametrize("came", ["bytes 0-3/10", "bytes 4-6/10", "bytes 3-6/1000"])
def test_another_range_is_not_believed(came: str) -> None:
    bucket, _ = bucket_over(get_object={"Body": io.BytesIO(b"abcd"), "ContentLength": 4, "ContentRange": came})
    with pytest.raises(PassingError, match="4 bytes came as bytes"):
        bucket.get("k", 3, 5)


@pytest.mark.parametrize("method", ["put", "get", "head", "page", "delete", "begin"])
def test_every_request_says_whose_the_bucket_is_and_who_pays(method: str) -> None:
    options = Options(owner="123456789012", requester_pays=True, sse="customer", sse_key=KEY)
    answers: Any = {
        "get_object": {"Body": io.BytesIO(), "ContentLength": 0},
        "head_object": {"ContentLength": 0, "LastModified": __import__("datetime").datetime.now()},
        "create_multipart_upload": {"UploadId": "u"},
    }
    bucket, client = bucket_over(options, **answers)
    arguments: Any = {"put": ("k", b""), "page": ("",), "delete": (["a", "b"],)}.get(method, ("k",))
    getattr(bucket, method)(*arguments)
    given = client.asked[0][1]
    assert (given["Bucket"], given["ExpectedBucketOwner"], given["RequestPayer"]) == ("b", "123456789012", "requester")
    assert (given.get("SSECustomerKey") == bytes(32)) is (method not in {"page", "delete"})


@pytest.mark.parametrize(
    ("sse", "sent"),
    [
        ("", {}),
        ("AES256", {"ServerSideEncryption": "AES256"}),
        ("aws:kms", {"ServerSideEncryption": "aws:kms"}),
        ("aws:kms:arn:x/y", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:x/y"}),
    ],
)
def test_how_the_server_shall_encrypt(sse: str, sent: dict[str, str]) -> None:
    bucket, client = bucket_over(Options(sse=sse))
    bucket.put("k", b"")
    bucket.copy(Source("c", "d", "tag", 1), "k")
    for _, given in client.asked:
        assert {name: value for name, value in given.items() if name.startswith(("ServerSide", "SSE"))} == sent


def test_what_could_not_be_deleted_is_told() -> None:
    errors = [{"Key": "a", "Code": "NoSuchKey"}, {"Key": "b", "Code": "AccessDenied", "Message": "no"}]
    bucket, _ = bucket_over(delete_objects={"Errors": errors})
    with pytest.raises(StorageError, match=r"can't delete s3://b/b: no permission: AccessDenied \(no\)"):
        bucket.delete(["a", "b", "c"])


def test_a_version_that_is_locked_is_told() -> None:
    bucket, _ = bucket_over(delete_objects={"Errors": [{"Key": "a", "VersionId": "1", "Code": "AccessDenied", "Message": "object lock"}]})
    with pytest.raises(StorageError, match="can't delete s3://b/a: no permission"):
        bucket.delete_versions([("a", "1")])


def test_whether_versions_are_kept_is_asked_again_where_it_can_not_be_told_now() -> None:
    assert bucket_over(get_bucket_versioning={"Status": "Suspended"})[0].keeps_versions()
    assert not bucket_over(get_bucket_versioning=raising(refused(403, "AccessDenied")))[0].keeps_versions()
    with pytest.raises(PassingError):
        bucket_over(get_bucket_versioning=raising(refused(503, "SlowDown")))[0].keeps_versions()


def test_the_source_of_a_copy_may_have_a_key_of_its_own() -> None:
    bucket, client = bucket_over()
    bucket.copy(Source("c", "d e", "tag", 1, bytes(32)), "k")
    given = client.asked[0][1]
    assert given["CopySource"] == {"Bucket": "c", "Key": "d e"}
    assert given["CopySourceSSECustomerKey"] == bytes(32)
    assert given["CopySourceIfMatch"] == "tag"
