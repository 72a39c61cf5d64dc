"""What boto3's client sends, as jobsys makes it; nothing leaves the process."""

import base64
import io
import logging

import pytest
from botocore.awsrequest import AWSResponse

from jobsys.storage.s3.client import Client
from jobsys.storage.s3.options import Options
from jobsys.version import VERSION


@pytest.fixture
def client(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    return Client(Options(endpoint_url="http://nowhere.invalid"))()


@pytest.fixture
def sent(client):
    """Collect the headers of every request, and answer it."""
    headers = []

    def send(request, **_):
        headers.append({name.lower(): value for name, value in request.headers.items()})
        return AWSResponse(request.url, 200, {"ETag": '"1"'}, Raw())

    client.meta.events.register("before-send.s3", send)
    return headers


class Raw(io.BytesIO):
    def stream(self, *_):
        yield self.read()


@pytest.mark.parametrize(("size", "asks"), [(0, False), (4096, False), (1 << 20, False), ((1 << 20) + 1, True)])
def test_only_before_a_large_body_is_the_server_asked_whether_it_takes_it(client, sent, size, asks):
    client.put_object(Bucket="bucket", Key="key", Body=bytes(size))
    assert ("expect" in sent[0]) == asks
    assert int(sent[0]["content-length"]) == size


def test_a_key_of_one_s_own_and_signed_urls_are_in_no_log(client, sent, caplog):
    caplog.set_level(logging.DEBUG)
    key = base64.b64encode(b"k" * 32).decode()
    client.put_object(Bucket="bucket", Key="key", Body=b"", SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)
    url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert sent[0]["x-amz-server-side-encryption-customer-key"].decode() == key
    assert key not in caplog.text
    assert url.rpartition("=")[2] not in caplog.text


def test_it_says_who_it_is(client, sent):
    client.list_objects_v2(Bucket="bucket")
    assert sent[0]["user-agent"].startswith(f"jobsys/{VERSION} Boto3/".encode())


def test_a_signed_url_itself_says_who_pays(client):
    url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key", "RequestPayer": "requester"})
    assert "x-amz-request-payer=requester" in url
    assert "X-Amz-SignedHeaders=host&" in url
