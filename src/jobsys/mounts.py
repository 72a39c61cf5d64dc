"""Which file systems are this machine's own, told from the kernel's table of mounts."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

OWN_DISKS: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs", "jfs", "btrfs", "bcachefs", "zfs", "tmpfs", "overlay"})
"""File systems to which nobody but one machine's kernel writes."""


def mounts() -> str:
    """Read the table of mounts; nothing where there is none."""
    with suppress(OSError):
        return Path("/proc/self/mountinfo").read_text(errors="replace")
    return ""


def devices(kinds: frozenset[str], mountinfo: str) -> frozenset[int]:
    """Find in a table of mounts the devices of file systems of some kinds, as `os.stat` calls them."""
    found = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.partition(" ")[0] in kinds:
            major, _, minor = before.split()[2].partition(":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def is_own_disk(path: str) -> bool:
    """Tell whether nobody but this machine's kernel writes to the file system of a file or directory.

    Raises:
        OSError: there is nothing.
    """
    return os.stat(path).st_dev in devices(OWN_DISKS, mounts())


def options(path: str) -> frozenset[str]:
    """Find the options with which the file system of a file or directory is mounted; none if it is not in the table.

    Raises:
        OSError: there is nothing.
    """
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = (line.split() for line in mounts().splitlines())
    return frozenset(option for parts in found if len(parts) > 2 and parts[2] == wanted for option in parts[-1].split(","))


def is_file_server() -> bool:
    """Tell whether the kernel of this machine can give its disks to other hosts, by NFS."""
    return any(line.partition(" - ")[2].startswith("nfsd ") for line in mounts().splitlines())
