import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobsys.storage.folders import empty, is_deleted_in_use, is_same_now, named_now, opened, walk

KEYS = st.lists(st.text("ab-.0~", min_size=1, max_size=2).filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map(
    "/".join
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(KEYS, max_size=12), st.text("ab-./", max_size=3), KEYS | st.text("ab/-", max_size=3))
def test_the_order_is_that_of_the_whole_keys(tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, after: str) -> None:
    root = tmp_path_factory.mktemp("walk")
    keys = {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list(walk(str(root), "", prefix, after)) == sorted(key for key in keys if key.startswith(prefix) and key > after)


def test_a_directory_that_goes_while_it_is_walked_is_empty(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    walked = walk(str(tmp_path), "", "", "")
    assert next(walked) == "a/x"
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()
    assert list(walked) == []


def test_emptied_until_the_last_writer_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "precious").touch()
    real, refuse = os.rmdir, [True]

    def rmdir(path: str) -> None:
        if refuse[0]:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        real(path)

    monkeypatch.setattr(shutil, "rmtree", lambda path: None)
    monkeypatch.setattr(os, "rmdir", rmdir)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert not empty(str(root), last=False)
    with pytest.raises(OSError, match="not empty"):
        empty(str(root), last=True)
    monkeypatch.undo()
    assert empty(str(root), last=True)
    assert empty(str(root), last=True)
    assert os.listdir(tmp_path) == ["precious"]


def test_that_a_root_is_missing_is_asked_of_all_directories_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a host forgets what it knew of NFS."""
    root, asked, really = tmp_path / "a" / "b", [], os.open

    def open_stale(path: str, *arguments: int, **more: int) -> int:
        asked.append(os.fspath(path))
        if asked.count(str(root)) == 1 and path == str(root):
            raise FileNotFoundError(errno.ENOENT, "not as far as is known here")
        return really(path, *arguments, **more)

    root.mkdir(parents=True)
    monkeypatch.setattr(os, "open", open_stale)
    with opened(str(root), "") as directory:
        assert os.path.samestat(os.fstat(directory), os.stat(root))
    assert asked == [str(root), *(str(each) for each in reversed(root.parents)), str(root)]


def test_what_a_name_leads_to_now(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    found = os.stat(tmp_path / "a")
    assert is_same_now(f"{tmp_path}/a", found)
    for other in ("link", "none", "none/a", "a/b"):
        assert not is_same_now(f"{tmp_path}/{other}", found), other
    assert named_now(f"{tmp_path}/none/a") is None


def test_the_names_that_nfs_gives() -> None:
    assert is_deleted_in_use(".nfs000000000000003200000001")
    assert not is_deleted_in_use(".nfs")
    assert not is_deleted_in_use("a.nfs000000000000003200000001")
