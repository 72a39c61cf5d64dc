"""The servers that the tests of S3 stand on."""

import shutil
from pathlib import Path

import pytest

from s3 import servers  # type: ignore[import-not-found]
from s3.fixtures import bucket, new_client  # type: ignore[import-not-found]


@pytest.mark.parametrize("name", ["ceph", "moto", "swift", "rclone", "tls"])
def test_each_keeps_an_object(name: str, request: pytest.FixtureRequest) -> None:
    server: servers.Server = request.getfixturevalue(name)
    client = new_client(server)
    place = {"Bucket": bucket(server), "Key": "a/b"}
    client.put_object(Body=b"here", **place)
    assert client.get_object(**place)["Body"].read() == b"here"


def test_what_is_missing_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEST_SERVERS", str(tmp_path / "none"))
    assert servers.missing("ceph") == "there is no infra/servers in a directory shared/ beside the repository: set TEST_SERVERS to its path"
    monkeypatch.setenv("TEST_SERVERS", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda program, path: None)
    assert servers.missing("tls-haproxy") == (
        "there is no program 'haproxy': apt-get install -y --no-install-recommends haproxy openssl socat"
    )
    assert servers.missing("moto") == "there is no program 'moto_server': make dev"
