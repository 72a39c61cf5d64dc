"""ZIP archives as an attacker writes them: every field is what he wants, and what he leaves alone is right. And a look at a directory."""

import os
import stat
import struct
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jobsys.manifest import DIGEST_FIELD

TYPES = {"directory": stat.S_IFDIR, "file": stat.S_IFREG, "link": stat.S_IFLNK, "fifo": stat.S_IFIFO, "device": stat.S_IFBLK}
MAX_32 = 0xFFFFFFFF


class Forged(NamedTuple):
    """An entry: its name as bytes, its kind, its content, and the fields that are not what they should be."""

    name: bytes
    kind: str
    content: bytes = b""
    lies: dict[str, Any] = {}


def forge(entries: list[Forged], **ends: int) -> bytes:
    """Write an archive; ``ends`` replaces fields of its last record, ``wide`` adds the one with 64 bits."""
    data, directory = b"", b""
    for each in entries:
        content = each.content
        if each.lies.get("method") == 8:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
            content = deflater.compress(content) + deflater.flush()
        name = each.name + (b"/" if each.kind == "directory" and not each.lies.get("bare") else b"")
        directory += _central(each, name, len(content), len(data))
        header = (20, 0, each.lies.get("method", 0), 0, 0x21, 0, len(content), len(each.content), len(each.lies.get("local", name)), 0)
        data += struct.pack("<4s5H3L2H", b"PK\3\4", *header) + each.lies.get("local", name) + content
    return data + directory + _end(len(entries), len(directory), len(data), ends)


def _central(each: Forged, name: bytes, compressed: int, start: int) -> bytes:
    said = {"compressed": compressed, "size": len(each.content), "start": start, "method": 0, "mode": 0o644, "flags": 0} | each.lies
    extra = said.get("extra", b"")
    if each.kind != "directory":
        extra += struct.pack("<2H32s", DIGEST_FIELD, 32, said.get("digest", sha256(each.content).digest()))
    wide = [key for key in ("size", "compressed", "start") if said[key] >= MAX_32]
    if wide:
        extra += struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *(said[key] for key in wide))
    size, compressed, start = (min(said[key], MAX_32) for key in ("size", "compressed", "start"))
    fields = (20, 3, 20, said["flags"], said["method"], 0, 0x21, 0, compressed, size, len(name), len(extra), 0, 0, 0)
    attributes = (TYPES[each.kind] | said["mode"]) << 16
    return struct.pack("<4s2B5H3L5H2L", b"PK\1\2", *fields, attributes, start) + name + extra


def _end(count: int, size: int, start: int, ends: dict[str, int]) -> bytes:
    said = {"count": count, "size": size, "start": start} | ends
    wide = b""
    if "wide" in ends:
        wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, said["count"], said["count"], said["size"], said["start"])
        wide += struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    short = min(said["count"], 0xFFFF)
    return wide + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, short, short, min(said["size"], MAX_32), min(said["start"], MAX_32), 0)


def seen(root: Path, *, without: Path) -> dict[str, tuple[Any, ...]]:
    """Look at all that is below a directory, but not below another one: kinds, modes, links to it, times, contents."""
    found = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if Path(directory, name) != without]
        for path in (Path(directory, name) for name in (*names, *files)):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(root))] = (status.st_mode, status.st_nlink, status.st_mtime_ns, content)
    return found
