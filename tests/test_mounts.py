"""The kernel's table of mounts."""

import os
from pathlib import Path

import pytest

from jobsys import mounts

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
31 22 8:17 / /data\\040disk rw master:2 - xfs /dev/sdb1 rw
40 22 0:55 / /home rw shared:7 - nfs4 server:/home rw,addr=10.0.0.1
"""


def test_devices_are_found_by_the_kind_of_their_file_systems() -> None:
    assert mounts.devices(frozenset({"ext4", "xfs"}), TABLE) == {os.makedev(254, 0), os.makedev(8, 17)}
    assert mounts.devices(frozenset({"ext4"}), "") == frozenset()


def test_the_root_of_this_machine_is_in_the_table() -> None:
    kinds = {line.partition(" - ")[2].split()[0] for line in mounts.mounts().splitlines()}
    assert os.stat("/").st_dev in mounts.devices(frozenset(kinds), mounts.mounts())


def test_whoever_has_the_files_of_the_nfs_server_mounted_may_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, serves in ((TABLE, False), (TABLE + "50 23 0:44 / /proc/fs/nfsd rw shared:9 - nfsd nfsd rw\n", True)):
        monkeypatch.setattr(mounts, "mounts", lambda table=table: table)
        assert mounts.is_file_server() is serves


def test_a_disk_is_own_by_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat(tmp_path).st_dev
    for kind, own in (("ext4", True), ("nfs4", False)):
        table = f"30 22 {os.major(device)}:{os.minor(device)} / /x rw - {kind} source rw\n"
        monkeypatch.setattr(mounts, "mounts", lambda table=table: table)
        assert mounts.is_own_disk(str(tmp_path)) is own
    with pytest.raises(FileNotFoundError):
        mounts.is_own_disk(str(tmp_path / "none"))


def test_the_options_of_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat(tmp_path).st_dev
    table = f"{TABLE}30 22 {os.major(device)}:{os.minor(device)} / /x rw - nfs4 server:/x rw,vers=4.2,nocto,hard\n"
    monkeypatch.setattr(mounts, "mounts", lambda: table)
    assert mounts.options(str(tmp_path)) == {"rw", "vers=4.2", "nocto", "hard"}
    monkeypatch.setattr(mounts, "mounts", lambda: "")
    assert mounts.options(str(tmp_path)) == frozenset()
