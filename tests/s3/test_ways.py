"""Ways to use a bucket: through TLS, encrypted, with a key of one's own."""

import base64
import os
import secrets

import pytest
from botocore.exceptions import ClientError

import jobsys
from jobsys.errors import StorageError
from jobsys.jobstores import locators, s3
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.storage import S3Storage
from s3 import many  # type: ignore[import-not-found]
from s3.fixtures import bucket, new_client  # type: ignore[import-not-found]

LARGE = bytes(range(256)) * (20 << 12)  # 20 MiB


def write_and_read(storage: S3Storage) -> None:
    """Do what a job store does with objects of any size."""
    assert storage.put("journal/1", b"small", if_absent=True)
    assert not storage.put("journal/1", b"other", if_absent=True)
    with storage.writer("files/large") as stream:
        stream.write(LARGE)
    assert storage.get("journal/1") == b"small"
    assert storage.get("files/large", 9 << 20, 1000) == LARGE[9 << 20 :][:1000]
    with storage.reader("files/large") as stream:
        assert stream.read() == LARGE
    assert storage.stat("files/large").size == len(LARGE)
    assert list(storage.list("")) == ["files/large", "journal/1"]


def test_through_tls(tls, s3_place):
    storage = s3.storage(s3_place(tls))
    write_and_read(storage)
    storage.destroy()
    assert list(storage.list("")) == []


@pytest.fixture
def own_key(monkeypatch):
    def set_key() -> str:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        monkeypatch.setenv("JOBSYS_S3_SSE", "customer")
        monkeypatch.setenv("JOBSYS_S3_SSE_KEY", key)
        return key

    return set_key


def test_with_a_key_of_ones_own(tls, s3_place, own_key, monkeypatch):
    place = s3_place(tls)
    own_key()
    storage = s3.storage(place)
    write_and_read(storage)
    raw, where = new_client(tls), {"Bucket": bucket(tls), "Key": storage.place("journal/1")}
    with pytest.raises(ClientError):
        raw.get_object(**where)
    assert storage.signed("journal/1") is None, "who reads by a URL has no key"
    own_key()
    with pytest.raises(StorageError):
        s3.storage(place).get("journal/1")
    monkeypatch.delenv("JOBSYS_S3_SSE")
    monkeypatch.delenv("JOBSYS_S3_SSE_KEY")
    with pytest.raises(
        StorageError, match=r"^can't read s3://\S+/journal/1: it is encrypted with a key of the user's own: give --s3-sse-key"
    ):
        s3.storage(place).get("journal/1")
    s3.storage(place).destroy()


def test_a_run_with_a_key_of_ones_own_leaves_nothing_that_is_readable_without(tls, s3_place, own_key):
    place = s3_place(tls)
    key = own_key()
    assert jobsys.run(many.workflow(), place, batch_system="local", progress="off") == many.EXPECTED
    store = locators.locate(place)
    raw, storage = new_client(tls), store.storage
    assert isinstance(storage, S3Storage)
    names = [name for name in storage.list("") if not name.startswith(("files/", "values/"))]
    assert len(names) > 5
    for name in [*names, next(storage.list("files/"))]:
        assert key.encode() not in storage.get(name), "the key is never written"
        with pytest.raises(ClientError):
            raw.head_object(Bucket=bucket(tls), Key=storage.place(name))
    store.destroy()


def test_encrypted_by_the_server(moto, s3_place, monkeypatch):
    place = s3_place(moto)
    monkeypatch.setenv("JOBSYS_S3_SSE", "aws:kms:alias/mine")
    storage = s3.storage(place)
    write_and_read(storage)
    for name in ("journal/1", "files/large"):
        told = new_client(moto).head_object(Bucket=bucket(moto), Key=storage.place(name))
        assert (told["ServerSideEncryption"], told["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    storage.destroy()


def test_every_request_names_the_owner_and_who_pays(moto, s3_place, monkeypatch):
    place = s3_place(moto)
    monkeypatch.setenv("JOBSYS_S3_OWNER", "123456789012")
    monkeypatch.setenv("JOBSYS_S3_REQUESTER_PAYS", "1")
    assert Options.of(os.environ).requester_pays
    storage = s3.storage(place)
    sent: list[tuple[str, bytes | None, bytes | None]] = []

    def note(request, **_):
        sent.append((request.method, request.headers.get("x-amz-expected-bucket-owner"), request.headers.get("x-amz-request-payer")))

    storage.bucket.client().meta.events.register("before-send.s3", note)
    write_and_read(storage)
    storage.delete(["files/large", "journal/1"])
    assert {method for method, _, _ in sent} == {"GET", "HEAD", "POST", "PUT"}
    assert {owner for _, owner, _ in sent} == {b"123456789012"}
    assert {payer for _, _, payer in sent} == {b"requester"}
