"""How a bucket is used: from a command line or the environment, and on to workers."""

import argparse
import base64
import os
from pathlib import Path

import pytest

from jobsys.errors import UsageError
from jobsys.storage.s3.options import SSE, SSE_KEY, Options, read_key_file

KEY = base64.b64encode(bytes(range(32))).decode()
FULL = Options(endpoint_url="http://h:9", sse="customer", sse_key=KEY, owner="123456789012", requester_pays=True, unfenced=True)


@pytest.mark.parametrize("options", [Options(), FULL, Options(sse="aws:kms:a/b"), Options(sse="AES256")])
def test_a_worker_reads_what_its_leader_wrote(options: Options) -> None:
    assert Options.of(options.environment()) == options
    assert all(value for value in options.environment().values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint_url": "h:9"},
        {"endpoint_url": "http://"},
        {"sse": "aes"},
        {"sse": "customer"},
        {"sse_key": KEY},
        {"sse": "customer", "sse_key": "c2hvcnQ="},
        {"sse": "customer", "sse_key": "secret stuff!"},
        {"owner": "12"},
    ],
)
def test_what_makes_no_sense_is_refused_without_the_key(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        Options(**wrong).check()  # type: ignore[arg-type]
    assert KEY not in str(refused.value)
    assert "secret stuff" not in str(refused.value)


def test_flags_are_flags() -> None:
    assert Options.of({"JOBSYS_S3_UNFENCED": "true"}).unfenced
    assert not Options.of({"JOBSYS_S3_UNFENCED": "0"}).unfenced
    with pytest.raises(UsageError, match="JOBSYS_S3_UNFENCED='perhaps' makes no sense"):
        Options.of({"JOBSYS_S3_UNFENCED": "perhaps"})


def test_the_key_is_never_shown() -> None:
    assert KEY not in repr(FULL)
    assert "http://h:9" in repr(FULL)


def test_a_command_line_comes_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    asked = argparse.Namespace(s3_endpoint_url="http://a", s3_sse_key_file=str(tmp_path / "key"), s3_requester_pays=False)
    environ = {"JOBSYS_S3_ENDPOINT_URL": "http://b", "JOBSYS_S3_OWNER": "123456789012", "JOBSYS_S3_REQUESTER_PAYS": "1"}
    made = Options.chosen(asked, environ)
    assert made == Options(endpoint_url="http://a", sse="customer", sse_key=KEY, owner="123456789012", requester_pays=True)
    assert Options.chosen(argparse.Namespace(), {SSE: "customer", SSE_KEY: KEY}).key() == bytes(range(32))


@pytest.mark.parametrize("content", [bytes(range(32)), KEY.encode(), KEY.encode() + b"\n", b" " * 31 + b"x"])
def test_a_key_file_holds_the_bytes_or_their_base64(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    expected = content if len(content) == 32 else bytes(range(32))
    assert base64.b64decode(read_key_file(str(tmp_path / "key"))) == expected


@pytest.mark.parametrize("content", [None, b"", b"x" * 31, os.urandom(5000), KEY.encode() * 2])
def test_a_key_file_that_holds_no_key(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError):
        read_key_file(str(tmp_path / "key"))
