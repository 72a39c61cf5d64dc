"""Whether a file of this host is still the one that was seen before, told by what the kernel says of it and without reading it.

Nobody but root can set an inode's change time, and a new inode of the same number has another generation. So on a file system that no
other host writes to, an open file of which all of that is as before holds the bytes that it held before. What the disk itself loses in
silence is not noticed in this way before the machine is started anew.
"""

import fcntl
import hashlib
import io
import os
import struct
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from jobsys.mounts import devices, mounts

_GET_GENERATION: Final = 0x80087601  # FS_IOC_GETVERSION
_LOCAL: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs"})


def inode(stream: BinaryIO) -> tuple[int, int, int] | None:
    """Give what tells an open file from all others that this host has seen since it was started; None where that can't be told."""
    try:
        descriptor = stream.fileno()
        found = os.fstat(descriptor)
        if found.st_dev not in _devices():
            return None
        generation = struct.unpack("l", fcntl.ioctl(descriptor, _GET_GENERATION, bytes(struct.calcsize("l"))))[0]
    except (OSError, io.UnsupportedOperation):
        return None
    return found.st_dev, found.st_ino, generation


def mark(stream: BinaryIO) -> bytes:
    """Give 16 bytes that are others as soon as an open file is written to, or has other owners or rights; none where that can't be told."""
    which = inode(stream)
    if which is None:
        return b""
    found = os.fstat(stream.fileno())
    whole = (_boot(), *which, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256(repr(whole).encode()).digest()[:16]


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def _devices() -> frozenset[int]:
    return devices(_LOCAL, mounts())
