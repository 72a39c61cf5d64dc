"""What tells a file of this host from what it was."""

import io
import os
from pathlib import Path

import pytest

from jobsys.jobstores import unchanged


def test_what_is_no_local_file_has_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unchanged.mark(io.BytesIO(b"x")) == b""
    with open("/proc/self/stat", "rb") as stream:
        assert unchanged.mark(stream) == b""
    monkeypatch.setattr(unchanged, "_devices", frozenset)
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as stream:
        assert unchanged.mark(stream) == b""


def test_a_mark_is_another_one_after_any_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where size and time of writing are put back."""
    path = tmp_path / "a"
    path.write_bytes(b"right")
    if not here(path):
        pytest.skip("the temporary directory is not on a file system that only this host writes to")
    seen = {here(path)}
    assert here(path) in seen
    before = path.stat()

    def is_new() -> None:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert here(path) not in seen
        seen.add(here(path))

    path.write_bytes(b"wrong")
    is_new()
    path.chmod(0o400)
    is_new()
    path.unlink()
    path.write_bytes(b"right")
    is_new()
    monkeypatch.setattr(unchanged, "_boot", lambda: "after the machine was started anew")
    is_new()


def here(path: Path) -> bytes:
    with path.open("rb") as stream:
        return unchanged.mark(stream)
