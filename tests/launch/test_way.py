"""By what way other hosts reach a store."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bucket import Bucket, bucket  # type: ignore[import-not-found]
from jobsys.config import Config
from jobsys.errors import NotFoundError, StorageError, UsageError
from jobsys.jobstores import JobStore, Lease, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.launch import launch
from jobsys.launch.base import Launch
from jobsys.launch.way import Way, way_to_store
from jobsys.storage.served import ServedStorage
from jobsys.transfer import fetch

LOCATOR = "s3://bucket/run"
ENDPOINT = "http://127.0.0.1:1"


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def far() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


def way(stack: contextlib.ExitStack, store: JobStore, **options: Any) -> Way:
    config = Config.of(store.locator, batch_system="ssh", hosts="h", store_address="127.0.0.1", **options)
    return way_to_store(Launch(config, store, Lease(1, "o", "h", 1, 0.0, 0.0), stack, lambda _: None), ["h"])


def test_a_directory_is_served(stack: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    with store.write_shared_file("resources/a b.zip") as stream:
        stream.write(b"code")
    store.write_code(1, b"what code")
    found = way(stack, store)
    assert found.server is not None
    assert found.environment.keys() == {"JOBSYS_STORE_URL", "JOBSYS_STORE_TOKEN"}
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    for number, (url, content) in enumerate(((found.place("resources/a b.zip"), b"code"), (found.object(store.code_key(1)), b"what code"))):
        fetch(url, str(tmp_path / str(number)))
        assert (tmp_path / str(number)).read_bytes() == content
    with pytest.raises(NotFoundError):
        fetch(found.place("resources/none"), str(tmp_path / "none"))


def test_a_store_that_is_served_already(stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", "t")
    found = way(stack, JobStore("http://node:1", ServedStorage("http://node:1", "t")))
    assert found.locator == found.environment["JOBSYS_STORE_URL"] == "http://node:1"
    assert found.place("resources/a b") == "http://node:1/o/shared/resources/a%2520b"
    assert (found.server, found.passes) == (None, False)


def test_a_bucket_is_served_by_a_process_that_knows_how_it_is_used(stack: contextlib.ExitStack, far: Bucket) -> None:
    found = way(stack, JobStore(LOCATOR, far), s3_endpoint_url=ENDPOINT, s3_owner="123456789012")
    assert found.locator.startswith("http://127.0.0.1:")
    assert found.environment.keys() == {"JOBSYS_STORE_URL", "JOBSYS_STORE_TOKEN"}, "no credentials, no options"
    variables = Path(f"/proc/{found.server}/environ").read_text().split("\0")
    assert {f"JOBSYS_S3_ENDPOINT_URL={ENDPOINT}", "JOBSYS_S3_OWNER=123456789012"} <= set(variables)
    assert LOCATOR in Path(f"/proc/{found.server}/cmdline").read_text()
    assert ENDPOINT not in Path(f"/proc/{found.server}/cmdline").read_text()


def test_hosts_with_credentials_of_their_own_are_told_how_the_bucket_is_used(stack: contextlib.ExitStack, far: Bucket) -> None:
    store = JobStore(LOCATOR, far)
    far.url = far.signed  # as a bucket's storage does
    found = way(stack, store, s3_workers="direct", s3_endpoint_url=ENDPOINT)
    assert (found.locator, found.server, found.passes) == (LOCATOR, None, True)
    assert found.environment == {"JOBSYS_S3_ENDPOINT_URL": ENDPOINT}
    for url in (found.place("resources/a"), found.place("resources/a"), found.object("code/1")):
        assert url.startswith(f"{far.origin}/")
    assert len(far.signatures) == 4, "each time anew, and once to see whether it can be"


def test_hosts_can_t_fetch_code_by_urls_that_open_nothing(stack: contextlib.ExitStack, far: Bucket) -> None:
    far.signs = False
    with pytest.raises(UsageError, match=r"--s3-workers direct: .* leave it out"):
        way(stack, JobStore(LOCATOR, far), s3_workers="direct")


@pytest.mark.parametrize("locator", ["http://node:1", "file:/x"])
def test_only_a_bucket_has_workers_of_its_own(stack: contextlib.ExitStack, far: Bucket, locator: str) -> None:
    with pytest.raises(UsageError, match=f"goes with an s3: store, which {locator} is not"):
        way(stack, JobStore(locator, far), s3_workers="direct")


def test_workers_on_this_machine_use_the_bucket_anyway(stack: contextlib.ExitStack, far: Bucket) -> None:
    config = Config.of(LOCATOR, s3_workers="direct")
    with pytest.raises(UsageError, match=r"--s3-workers direct goes with workers on other hosts"):
        launch(Launch(config, JobStore(LOCATOR, far), Lease(1, "o", "h", 1, 0.0, 0.0), stack, lambda _: None))


@pytest.mark.parametrize(("address", "told"), [("127.0.0.1", False), ("node1", True)])
def test_an_endpoint_that_only_this_machine_reaches_is_told(stack: contextlib.ExitStack, far: Bucket, address: str, told: bool) -> None:
    said: list[str] = []
    config = Config.of(LOCATOR, batch_system="ssh", hosts="h", store_address=address)
    way_to_store(Launch(config, JobStore(LOCATOR, far), Lease(1, "o", "h", 1, 0.0, 0.0), stack, said.append), ["h"])
    assert [far.origin.removeprefix("http://") in line for line in said] == [True] * told


def test_a_server_that_can_not_be_started(stack: contextlib.ExitStack, far: Bucket) -> None:
    with pytest.raises(StorageError, match=r"did not start: 's3://bucket/\.\./x': the prefix"):
        way(stack, JobStore("s3://bucket/../x", far))
