"""A real server of S3 with trouble on the way: what is asked for is done in the end, once, or there is an error of one clear line."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import jobsys
from jobsys.errors import JobsysError, StorageError
from jobsys.events import Committed
from jobsys.jobstores import locators, s3
from jobsys.jobstores.base import FORMAT, Lease, StoreInfo
from jobsys.journal import pages
from jobsys.storage.s3 import client
from jobsys.storage.s3.bucket import Bucket
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.persist import Persistence
from jobsys.storage.s3.storage import S3Storage
from s3 import many  # type: ignore[import-not-found]
from s3.fixtures import bucket, use  # type: ignore[import-not-found]
from s3.servers import Faults  # type: ignore[import-not-found]

TESTS = Path(__file__).parent.parent
SMALL = b"small" * 100
LARGE = bytes(range(256)) * (20 << 12)  # 20 MiB
IMPATIENT = (0.0, 0.0)


@pytest.fixture
def storage(ceph, faults, s3_place):
    """A storage whose every request goes through the proxy."""
    return s3.storage(s3_place(ceph, faults.endpoint))


def patient_for(seconds: tuple[float, float], options: Options | None = None, name: str = "any") -> S3Storage:
    return S3Storage(Bucket(name, options or Options.of(os.environ)), "p", persistence=Persistence(patience=seconds))


def lease(owner: str) -> Lease:
    return Lease(epoch=1, owner=owner, host="host", pid=1, process_started=1.0, time=1.0)


def uploads(storage: S3Storage) -> list[str]:
    """List the uploads that were begun and not ended."""
    return [each.key for each in storage.bucket.uploads(storage.prefix)]


# -- every operation ---------------------------------------------------------------------------------------------


def write_and_read(storage: S3Storage, strike) -> None:
    """Do everything that a storage can do, each with faults on its way."""
    for name, data in (("small", SMALL), ("large", LARGE)):
        put, streamed = f"files/{name}", f"files/{name}-stream"
        strike()
        assert storage.put(put, data)
        strike()
        assert storage.get(put) == data
        strike()
        assert storage.get(put, 7, 100) == data[7:107]
        strike()
        with storage.reader(put) as stream:
            assert stream.read() == data
        strike()
        with storage.writer(streamed) as stream:
            stream.write(data)
        strike()
        assert storage.stat(streamed).size == len(data)
        assert storage.get(streamed) == data
    strike()
    assert list(storage.list("files/l")) == ["files/large", "files/large-stream"]
    strike()
    storage.delete(["files/large"])
    strike()
    storage.delete(["files/large-stream", "files/none", "files/small", "files/small-stream"])
    assert list(storage.list("")) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "503"},
        {"do": "500"},
        {"do": "reset"},
        {"do": "lost"},
        {"do": "cut", "bytes": 100, "match": "^PUT"},
        {"do": "truncate", "bytes": 100, "match": "^GET"},
        {"do": "truncate-reset", "bytes": 50, "match": "^GET"},
    ],
    ids=lambda fault: fault["do"],
)
def test_every_operation_is_done_all_the_same(fault, storage, faults, ceph):
    struck = 0

    def strike():
        nonlocal struck
        struck += sum(faults.hits())
        faults.set({**fault, "n": 2})

    write_and_read(storage, strike)
    assert struck >= 6
    if fault["do"] != "lost":  # an upload whose beginning was not heard of is known to the server alone
        assert uploads(storage) == []
    storage.destroy()
    assert uploads(storage) == []


def test_a_body_that_comes_slowly_and_one_that_waits_are_whole(storage, faults, monkeypatch):
    monkeypatch.setattr(client, "_ANSWER", 1)  # else the test would wait a minute
    storage.put("a", SMALL * 400)
    faults.set({"do": "slow", "rate": 200_000, "match": "^GET"})
    assert storage.get("a") == SMALL * 400
    assert faults.hits() == [1]
    faults.set({"do": "hang", "ms": 20_000, "n": 1})
    assert storage.get("a") == SMALL * 400
    faults.set({"do": "hang", "ms": 20_000, "n": 1})
    assert storage.put("a", SMALL)
    faults.set()
    assert storage.get("a") == SMALL


def test_patience_ends_with_what_the_server_said(ceph, faults, s3_place):
    s3_place(ceph, faults.endpoint)
    storage = patient_for((0.1, 0.1), name=bucket(ceph))
    faults.set({"do": "503"})
    with pytest.raises(StorageError, match=r"^can't write s3://\S+/p/a: the server answered SlowDown \(fault made by the test\)$"):
        storage.put("a", b"")
    assert sum(faults.hits()) >= 4


# -- what must count once ----------------------------------------------------------------------------------------


def test_a_create_once_whose_answer_is_lost_counts_once(storage, faults):
    faults.set({"do": "lost", "match": "^PUT", "n": 1})
    assert not storage.put("a", b"mine", if_absent=True), "who asks again is refused by what it wrote itself"
    assert storage.get("a") == b"mine"
    assert not storage.put("a", b"other", if_absent=True)
    assert storage.get("a") == b"mine"


@pytest.mark.parametrize("fault", ["lost", "reset", "500", "cut"])
def test_segments_and_leases_are_written_once_and_by_their_owner(fault, ceph, faults, s3_place):
    store = locators.create(s3_place(ceph, faults.endpoint), StoreInfo(FORMAT, 1.0, "1"))

    def strike():
        faults.set({"do": fault, "match": "^PUT", "n": 2, "bytes": 1})

    strike()
    assert store.append(1, b"segment by me")
    assert faults.hits() == [2]
    strike()
    assert not store.append(1, b"segment of another")
    assert store.segment(1) == b"segment by me"
    strike()
    assert store.take_lease(lease("me"))
    strike()
    assert not store.take_lease(lease("another"))
    faults.set()
    store.destroy()


@pytest.mark.parametrize("fault", ["lost", "reset", "500"])
@pytest.mark.parametrize("step", ["^POST .*uploads", "^PUT .*partNumber=2", "^POST .*uploadId"], ids=["begin", "part", "complete"])
def test_an_upload_in_parts_is_whole_and_leaves_nothing(step, fault, storage, faults, ceph):
    faults.set({"do": fault, "match": step, "n": 1})
    with storage.writer("files/a") as stream:
        stream.write(LARGE)
    assert faults.hits() == [1]
    assert storage.get("files/a") == LARGE
    if (fault, step) != ("lost", "^POST .*uploads"):  # nobody has heard of that one but the server
        assert uploads(storage) == []
    storage.destroy()
    assert uploads(storage) == []


def test_an_upload_that_is_given_up_leaves_nothing(storage, faults, ceph):
    def give_up():
        with storage.writer("files/a") as stream:
            stream.write(LARGE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert list(storage.list("")) == []
    assert uploads(storage) == []


def test_a_workflow_of_a_hundred_jobs_under_all_faults_at_once(ceph, faults, s3_place, tell):
    place = s3_place(ceph, faults.endpoint)
    faults.set(
        {"do": "lost", "p": 0.05},
        {"do": "503", "p": 0.03},
        {"do": "500", "p": 0.03},
        {"do": "reset", "p": 0.03},
        {"do": "truncate", "p": 0.05, "bytes": 40, "match": "^GET"},
        {"do": "truncate-reset", "p": 0.03, "bytes": 40, "match": "^GET"},
        {"do": "cut", "p": 0.03, "bytes": 20, "match": "^PUT"},
    )
    assert jobsys.run(many.workflow(), place, batch_system="local", progress="off", retries=0) == many.EXPECTED
    hits = faults.hits()
    faults.set()
    store = locators.locate(place)
    commits = [event.report.job for page in pages(store) for event in page.events if isinstance(event, Committed)]
    assert len(commits) == len(set(commits)) == 100
    assert sum(hits) > 10
    store.destroy()
    tell(f"100 jobs, faults made: {hits}")


# -- credentials and clocks --------------------------------------------------------------------------------------


def credentials(path: Path, key: str, secret: str) -> None:
    path.parent.mkdir(exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    beside.replace(path)


@pytest.fixture
def in_file(ceph, faults, s3_place, monkeypatch):
    """Credentials in the file of the home directory, and nowhere else."""
    place = s3_place(ceph, faults.endpoint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = Path.home() / ".aws" / "credentials"
    credentials(path, ceph.key, ceph.secret)
    yield place, path
    path.unlink()


def test_credentials_that_expire_and_come_again_while_it_runs(in_file, ceph, faults):
    place, path = in_file
    storage = s3.storage(place)
    storage.put("a", b"1")
    credentials(path, "GONEGONEGONE", "gone")
    later = threading.Timer(0.5, credentials, (path, ceph.key, ceph.secret))
    later.start()
    faults.set(
        {"do": "status:400 Bad Request:ExpiredToken", "n": 1}
    )  # then the key of the file is asked for, which the server does not know yet
    storage.put("a", b"2")
    later.join()
    assert storage.get("a") == b"2"
    assert faults.hits() == [1]


def test_a_secret_that_is_changed_while_it_runs(in_file, ceph):
    place, path = in_file
    storage = s3.storage(place)
    storage.put("a", b"1")
    credentials(path, ceph.key, "another")
    storage.bucket.client.renew()  # as a process that is forked off finds it
    later = threading.Timer(0.3, credentials, (path, ceph.key, ceph.secret))
    later.start()
    storage.put("a", b"2")
    later.join()
    assert storage.get("a") == b"2"


CLOCK = """
import sys, urllib.request
from jobsys.jobstores import s3
storage = s3.storage(sys.argv[1])
assert storage.put("a", b"1", if_absent=True)
assert not storage.put("a", b"1", if_absent=True)
assert storage.get("a") == b"1"
assert urllib.request.build_opener(urllib.request.ProxyHandler({})).open(storage.signed("a")).read() == b"1"
print("right")
"""


@pytest.mark.parametrize("off", ["+20m", "-20m"])
def test_a_clock_that_is_far_off(off, ceph, s3_place):
    ceph_wants("faketime")
    done = subprocess.run(["faketime", "-f", off, sys.executable, "-c", CLOCK, s3_place(ceph)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("right\n", "")


def ceph_wants(program: str) -> None:
    """Demand a program of the system that only one test uses."""
    if not any((Path(folder) / program).exists() for folder in os.environ["PATH"].split(":")):
        way = f"there is no program {program!r}: apt-get install -y --no-install-recommends {program}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(way)


# -- one line for each error -------------------------------------------------------------------------------------


def said(storage: S3Storage, error: type[JobsysError] = StorageError) -> str:
    with pytest.raises(error) as raised:
        storage.put("a", b"")
    return str(raised.value)


def test_no_bucket(ceph, s3_place):
    s3_place(ceph)
    assert said(patient_for(IMPATIENT, name="nosuchbucket")) == (
        "there is no bucket 'nosuchbucket': check its name, the endpoint and the account, or make it (aws s3 mb s3://nosuchbucket)"
    )


def test_no_permission(ceph, s3_place, monkeypatch):
    s3_place(ceph)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.other[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.other[1])
    name = bucket(ceph)
    storage = patient_for(IMPATIENT, name=name)
    way = "and a bucket whose requester pays needs --s3-requester-pays"
    assert said(storage) == (
        f"can't write s3://{name}/p/a: no permission: AccessDenied; the policy of the user or of the bucket must allow s3:PutObject, {way}"
    )
    with pytest.raises(StorageError, match=f"^can't read s3://{name}/p/a: no permission: .*s3:GetObject and s3:ListBucket, {way}$"):
        storage.get("a")
    with pytest.raises(StorageError, match=f"^can't list s3://{name}/p/: no permission: .*s3:ListBucket, {way}$"):
        list(storage.list(""))


RENEW = "renew them (aws sso login, a new token, the role of this machine), then go on with --restart"


@pytest.mark.parametrize(
    ("key", "secret", "code"), [("UNKNOWN", "any", "InvalidAccessKeyId"), ("TESTACCESS", "wrong", "SignatureDoesNotMatch")]
)
def test_bad_credentials(key, secret, code, ceph, s3_place, monkeypatch):
    s3_place(ceph)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    name = bucket(ceph)
    assert said(patient_for(IMPATIENT, name=name)) == f"can't write s3://{name}/p/a: the credentials are not accepted: {code}; {RENEW}"


def test_no_credentials(ceph, s3_place, monkeypatch):
    s3_place(ceph)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert said(patient_for(IMPATIENT)) == (
        "can't write s3://any/p/a: there are no credentials (Unable to locate credentials): "
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role gives some"
    )


def test_nobody_at_the_endpoint(ceph, s3_place):
    s3_place(ceph, "http://127.0.0.1:9")
    assert said(patient_for(IMPATIENT)) == (
        'can\'t write s3://any/p/a: Could not connect to the endpoint URL: "http://127.0.0.1:9/any/p/a"; '
        "check the endpoint (--s3-endpoint-url, AWS_ENDPOINT_URL_S3) and the network"
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("301 Moved Permanently:PermanentRedirect", "the bucket is in another region: set AWS_REGION to the bucket's region"),
        ("400 Bad Request:AuthorizationHeaderMalformed", "the bucket is in another region: set AWS_REGION to the bucket's region"),
        ("403 Forbidden:RequestTimeTooSkewed", "this machine's clock is too far from the server's: set it (NTP)"),
        ("400 Bad Request:ExpiredToken", f"the credentials have expired: ExpiredToken (fault made by the test); {RENEW}"),
        ("418 I'm a teapot:Teapot", "the server answered Teapot (fault made by the test), status 418"),
    ],
)
def test_what_a_server_may_answer(answer, text, ceph, faults: Faults, s3_place):
    s3_place(ceph, faults.endpoint)
    faults.set({"do": f"status:{answer}"})
    assert said(patient_for(IMPATIENT)) == f"can't write s3://any/p/a: {text}"


def test_an_authority_that_nobody_knows(tls, s3_place, monkeypatch):
    assert s3.storage(s3_place(tls)).put("a", b"")
    monkeypatch.delenv("AWS_CA_BUNDLE")
    text = said(patient_for(IMPATIENT))
    assert re.fullmatch(
        r"can't write s3://any/p/a: the server is not trusted \(.*\); AWS_CA_BUNDLE may name the authority .* is from", text
    )


def test_a_run_ends_with_that_line(ceph, monkeypatch):
    use(monkeypatch, ceph)
    with pytest.raises(JobsysError) as raised:
        jobsys.run(many.workflow(), "s3://nosuchbucket/here", batch_system="inline", progress="off")
    assert str(raised.value).startswith("there is no bucket 'nosuchbucket': ")
    assert "\n" not in str(raised.value)
