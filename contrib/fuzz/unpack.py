"""Try archives that libFuzzer makes up against the unpacker, guided by the code that they reach.

    pip install . atheris
    python contrib/fuzz/unpack.py CORPUS [-max_total_time=300]

CORPUS is a directory, made with a few good and forged archives where it is missing. Whatever is not an error of jobsys, or appears beside
the target, ends it with a traceback and leaves the input as ``crash-…``.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "src"), str(ROOT / "tests")]

with atheris.instrument_imports(include=["jobsys.unpack", "jobsys.manifest", "jobsys.kept", "zipfile"]):
    from jobsys.errors import JobsysError
    from jobsys.unpack import read_directory, unpack

from forging import Forged, forge, seen  # noqa: E402

HERE = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
TARGET = HERE / "prison" / "target"


def try_one(data: bytes) -> None:
    """Unpack one archive."""
    archive = HERE / "archive.zip"
    archive.write_bytes(data)
    before = seen(HERE, without=TARGET)
    try:
        with contextlib.suppress(JobsysError):  # refused, as it should be
            packed = read_directory(str(archive))
            if sum(each.entry.size for each in packed) < 100_000_000:
                unpack(str(archive), packed, str(TARGET))
    finally:
        shutil.rmtree(TARGET, ignore_errors=True)
    os.utime(TARGET.parent, ns=(0, before["prison"][2]))
    if seen(HERE, without=TARGET) != before:
        raise AssertionError("something beside the target has changed")


def seeds() -> list[bytes]:
    """Make archives to begin with."""
    tree = [Forged(b"a", "file", b"x = 1\n"), Forged(b"d", "directory"), Forged(b"d/b", "file", bytes(900), {"method": 8})]
    linked = [*tree, Forged(b"d/l", "link", b"../a")]
    hostile = [Forged(b"../x", "file", b"1"), Forged(b"l", "link", b"/tmp"), Forged(b"l/x", "file", b"1")]
    return [forge([]), forge(tree), forge(linked), forge(linked, wide=1), forge(hostile), forge([tree[0]._replace(lies={"size": 1 << 40})])]


def main() -> None:
    corpus = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is None:
        sys.exit(f"name a directory for the corpus:\n{__doc__}")
    if not os.path.isdir(corpus):
        os.makedirs(corpus)
        for number, data in enumerate(seeds()):
            Path(corpus, f"seed-{number}").write_bytes(data)
    TARGET.parent.mkdir()
    (HERE / "x").write_text("untouched")
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
