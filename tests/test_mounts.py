"""The kernel's table of mounts."""

import os

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
