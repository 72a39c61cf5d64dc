"""Every command of the program on a run in a bucket, and every command of docs/s3.md."""

import json
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from s3 import servers  # type: ignore[import-not-found]
from s3.fixtures import bucket, new_client  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"python": sys.executable, "jobsys": str(Path(sys.executable).with_name("jobsys"))}
SCRIPT = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/s3.md").read_text(), re.MULTILINE | re.DOTALL)


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def say(ceph: "servers.Server", s3_place: Callable[..., str], tmp_path: Path) -> Callable[[str], Said]:
    """Give what runs a command line in a directory that has the script of the README; the documents' bucket is this session's."""
    s3_place(ceph)
    (tmp_path / "squares.py").write_text(SCRIPT)
    place = f"{bucket(ceph)}/{uuid.uuid4().hex}"

    def run(line: str) -> Said:
        program, *words = shlex.split(line.replace("my-bucket", place))
        done = subprocess.run([PROGRAMS[program], *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
        return Said(done.returncode, done.stdout, done.stderr)

    return run


def test_the_commands_of_the_document(say: Callable[[str], Said]) -> None:
    lines = [line for block in COMMANDS for line in block.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        said = say(line)
        assert said.status == 0, (line, said.err)
        assert said.out, line


def test_each_command(say: Callable[[str], Said]) -> None:
    store = "s3://my-bucket/runs/one"
    assert say(f"python squares.py {store} --n 5").out == "30\n"
    for line, shown in (
        ("status STORE", "DONE"),
        ("status STORE --json", '"state": "done"'),
        ("logs STORE", ""),
        ("stats STORE", "attempts"),
        ("graph STORE", "digraph"),
        ("restart STORE", "30"),
    ):
        said = say(f"jobsys {line.replace('STORE', store)}")
        assert said.status == 0, (line, said.err)
        assert shown in said.out, line
    assert say(f"jobsys kill {store}").status == 0


def test_clean_leaves_nothing(say: Callable[[str], Said], ceph: "servers.Server") -> None:
    store = "s3://my-bucket/runs/two"
    assert say(f"python squares.py {store} --n 5").status == 0
    client = new_client(ceph)
    name = bucket(ceph)
    prefix = next(
        each["Key"].partition("/runs/two/")[0]
        for each in client.list_objects_v2(Bucket=name)["Contents"]
        if each["Key"].endswith("/runs/two/jobsys-store.json")
    )
    client.create_multipart_upload(Bucket=name, Key=f"{prefix}/runs/two/values/1-x/0")
    there = client.list_objects_v2(Bucket=name, Prefix=f"{prefix}/runs/two/")["KeyCount"]
    cleaned = json.loads(say(f"jobsys clean {store} --json").out)
    assert cleaned["objects"] == there
    assert cleaned["resources"] == 1
    assert cleaned["bytes"] > 0
    assert client.list_objects_v2(Bucket=name, Prefix=prefix)["KeyCount"] == 0
    assert not client.list_multipart_uploads(Bucket=name, Prefix=prefix).get("Uploads")
    again = say(f"jobsys clean {store}")
    assert (again.status, "there is no job store at s3://" in again.err) == (1, True)


def test_code_of_runs_that_were_removed_by_others_is_found(say: Callable[[str], Said], ceph: "servers.Server") -> None:
    for name in ("here", "gone"):
        assert say(f"python squares.py s3://my-bucket/shared/{name} --n 5").status == 0
    client, name = new_client(ceph), bucket(ceph)
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=name)["Contents"] if "/shared/" in each["Key"]]
    for key in keys:
        if "/shared/gone/" in key:
            client.delete_object(Bucket=name, Key=key)
    assert "deleted 0 resources" in say("jobsys clean s3://my-bucket/shared --shared-code").out
    for key in keys:
        if "/shared/here/" in key:
            client.delete_object(Bucket=name, Key=key)
    found = json.loads(say("jobsys clean s3://my-bucket/shared --shared-code --json").out)
    assert (found["resources"], found["resource_bytes"] > 0) == (1, True)
    assert [each["Key"] for each in client.list_objects_v2(Bucket=name).get("Contents", ()) if "/shared/" in each["Key"]] == []


def test_clean_takes_older_versions_too(say: Callable[[str], Said], ceph: "servers.Server") -> None:
    client, name = new_client(ceph), f"versions-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=name, Key="runs/oneandmore", Body=b"somebody else's")
    store = f"s3://{name}/runs/one"
    refused = say(f"python squares.py {store} --n 5")  # Ceph 16 lets several writers win where it keeps versions
    assert refused.status == 1
    assert "keeps versions" in refused.err
    assert say(f"python squares.py {store} --n 5 --s3-unfenced").status == 0
    assert client.list_object_versions(Bucket=name, Prefix="runs/one/").get("Versions")
    assert say(f"jobsys clean {store}").status == 0
    for kind in ("Versions", "DeleteMarkers"):
        assert not client.list_object_versions(Bucket=name, Prefix="runs/one/").get(kind), kind
    assert client.get_object(Bucket=name, Key="runs/oneandmore")["Body"].read() == b"somebody else's"


def test_a_rule_that_the_server_takes(say: Callable[[str], Said], ceph: "servers.Server") -> None:
    client, name = new_client(ceph), f"rules-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    for options in ("", "--days 3", "--expire 90"):
        rule = json.loads(say(f"jobsys lifecycle s3://{name}/runs {options}").out)
        client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=rule)
        found = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        assert [(each["ID"], each.get("Expiration", {}).get("Days")) for each in found] == [
            ("jobsys runs", 90 if "90" in options else None)
        ]
    said = say(f"jobsys lifecycle s3://{name}/runs --days 0")
    assert (said.status, "whole days, from 1 on" in said.err) == (2, True)


def test_a_run_that_was_begun_unfenced_is_not_resumed_otherwise(say: Callable[[str], Said], monkeypatch: pytest.MonkeyPatch) -> None:
    command = "python squares.py s3://my-bucket/runs/three --n 2"
    with monkeypatch.context() as patch:
        patch.setenv("JOBSYS_S3_UNFENCED", "1")
        assert say(command).status == 0
    refused = say(f"{command} --restart")
    assert (refused.status, "was begun with --s3-unfenced" in refused.err) == (2, True)
    assert say(f"{command} --restart --s3-unfenced").status == 0


def test_the_key_of_the_server_s_encryption_does_not_travel(say: Callable[[str], Said], tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    refused = say("python squares.py s3://my-bucket/runs/four --n 2 --s3-sse-key-file key")
    assert (refused.status, "would travel with the code" in refused.err) == (2, True), refused.err
    (tmp_path / ".jobsysignore").write_text("key\n")
    said = say("python squares.py s3://my-bucket/runs/five --n 2 --s3-sse-key-file key")
    assert said.status == 0, said.err
    wrong = tmp_path.parent / "wrong"
    wrong.write_bytes(b"x" * 32)
    assert "encrypted with another key" in say(f"jobsys status s3://my-bucket/runs/five --s3-sse-key-file {wrong}").err
