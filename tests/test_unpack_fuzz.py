"""Hostile archives: each is refused with an error of ours or gives exactly its manifest, and nothing outside the target changes."""

import os
import stat
import struct
import tempfile
import tracemalloc
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forging import MAX_32, Forged, forge, seen  # type: ignore[import-not-found]
from jobsys import fetch
from jobsys.errors import JobsysError
from jobsys.fetch import Wanted, obtain
from jobsys.manifest import is_inside, manifest_digest
from jobsys.package import pack
from jobsys.scan import read_tree
from jobsys.unpack import read_directory, unpack

NAMES = st.sampled_from([
    b"a", b"b", b"d", b"d/a", b"d/b", b"d/e", b"d/e/f", b"../x", b"/x", b"a/../../x", b"d/../../x", b"..", b".", b"", b"/", b"//x", b"d//a",
    b"./a", b"d/.", b"d/..", b"a\0b", b"a\0/../../x", b"..\\x", b"C:x", b"C:/x", b"\xff\xfe", "é".encode(), "é".encode("utf-16"),
    b"\xc0\xae\xc0\xae/x", b"a" * 256, b"d/" + b"a" * 300, b"n/" * 1500 + b"x", b"outside/secret",
    b"~", b"~/x", b"a\n", b"-rf", b"d/e/" + b"x" * 255,
])  # fmt: skip
GOALS = st.sampled_from(
    [b"a", b"..", b"../..", b"/", b"/tmp", b"../outside", b"d/../..", b"a\0b", b"", b"x" * 5000, b"d", b"d/e", b"../d/a", b"."]
)
NUMBERS = st.sampled_from([0, 1, 5, 0xFFFF, 1 << 20, MAX_32 - 1, MAX_32, MAX_32 + 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
LIES = st.fixed_dictionaries(
    {},
    optional={
        "size": NUMBERS,
        "compressed": NUMBERS,
        "start": NUMBERS,
        "method": st.sampled_from([0, 8, 8, 12, 99]),
        "mode": st.sampled_from([0, 0o644, 0o755, 0o777, 0o4755, 0o7777]),
        "flags": st.sampled_from([0, 1, 8, 0x800, 0x2000]),
        "digest": st.just(bytes(32)),
        "extra": st.sampled_from([b"\1", b"\1\0\xff\xff", b"\1\0\0\0", struct.pack("<2H3s", 0x7075, 3, b"\1ab"), b"js\x20\0abc"]),
        "local": st.sampled_from([b"", b"../x", b"x" * 60_000]),
        "bare": st.booleans(),
    },
)
KINDS = st.sampled_from(["file", "file", "file", "directory", "directory", "link", "link", "fifo", "device"])
CONTENTS = st.binary(max_size=20) | st.just(bytes(700_000))


@st.composite
def entries(draw):
    kind = draw(KINDS)
    content = draw(GOALS) if kind == "link" else b"" if kind == "directory" else draw(CONTENTS)
    lies = draw(LIES) if draw(st.integers(0, 3)) == 0 else draw(st.sampled_from([{}, {}, {"method": 8}]))
    return Forged(draw(NAMES), kind, content, lies)


ENDS = st.fixed_dictionaries({}, optional={"count": NUMBERS, "size": NUMBERS, "start": NUMBERS, "wide": st.just(1)})


def surroundings(here):
    """Make what an archive could harm, and the cache."""
    (here / "outside").mkdir()
    (here / "outside" / "secret").write_text("untouched")
    (here / "outside" / "link").symlink_to("secret")
    (here / "x").write_text("untouched")
    (here / "cache" / "code").mkdir(parents=True)
    return here / "cache" / "code"


def attack(here, archive):
    """Let an archive be unpacked as its author wants, directly and into a cache; give the tree of the latter, or the refusal."""
    code = surroundings(here)
    (here / "archive.zip").write_bytes(archive)
    before = seen(here, without=code)
    path = str(here / "archive.zip")
    try:
        packed = read_directory(path)
        digest = manifest_digest(each.entry for each in packed)
    except JobsysError as error:
        return error
    _directly(here, path, packed)
    place = code / "place"
    wanted = Wanted(f"file://{path}", "tree", digest.md5, digest.sha256, archive=True)
    try:
        obtain(wanted, str(place))
        refusal = None
    except JobsysError as error:
        refusal = error
    assert seen(here, without=code) == before
    left = sorted(os.listdir(code))
    if refusal:
        assert left == ["place.lock", "place.used"]
        return refusal
    assert left == ["place", "place.lock", "place.used"]
    assert sorted(os.listdir(place)) == [".jobsys-manifest", "tree"]
    check_exact(place / "tree", packed)
    return None


def _directly(here, path, packed):
    """See what a refusal leaves when nobody sweeps: never more than is declared."""
    with tempfile.TemporaryDirectory(dir=here / "cache" / "code") as directory:
        target = Path(directory, "target")
        try:
            unpack(path, packed, str(target))
        except JobsysError:
            declared = {each.entry.path: each.entry.size for each in packed}
            for found in target.rglob("*"):
                if found.is_file() and not found.is_symlink():
                    assert found.stat().st_size <= declared[str(found.relative_to(target))]


def check_exact(tree, packed):
    found: dict[str, tuple[Any, ...]] = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        what: tuple[Any, ...]
        if path.is_symlink():
            what = ("link", sha256(os.fsencode(os.readlink(path))).hexdigest())
            assert is_inside(os.path.realpath(path), os.path.realpath(tree)), f"{path} leads outside"
        elif path.is_dir():
            what = ("directory", stat.S_IMODE(status.st_mode))
        else:
            what = ("file", stat.S_IMODE(status.st_mode), status.st_size, status.st_nlink, sha256(path.read_bytes()).hexdigest())
        found[str(path.relative_to(tree))] = what
    declared = {}
    for path, kind, mode, size, digest in (each.entry for each in packed):
        assert path not in declared
        kinds = {"link": ("link", digest), "directory": ("directory", mode | 0o700), "file": ("file", mode, size, 1, digest)}
        declared[path] = kinds[kind]
    assert found == declared


@pytest.fixture(autouse=True, scope="module")
def _one_try():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "TRIES", 1)
        yield


def in_order(made):
    """Put entries into the order of a manifest: else nearly all would be refused for their order alone."""
    return sorted({each.name: each for each in made}.values(), key=lambda each: each.name)


@settings(deadline=None, max_examples=250)
@given(st.lists(entries(), max_size=6), ENDS | st.just({}), st.booleans())
def test_forged_directories(made, ends, sort):
    with tempfile.TemporaryDirectory() as directory:
        attack(Path(directory), forge(in_order(made) if sort else made, **ends))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"d", b"d/a", b"d/e", b"d/e/f"]), KINDS, GOALS).map(
            lambda drawn: Forged(drawn[0], drawn[1], b"" if drawn[1] == "directory" else drawn[2])
        ),
        max_size=6,
    )
)
def test_trees_of_links(made):
    with tempfile.TemporaryDirectory() as directory:
        attack(Path(directory), forge(in_order(made)))


def good(here, compress):
    """Pack a small tree by our own means."""
    tree = here / "good"
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "a.py").write_text("print(1)\n" * 50)
    (tree / "d" / "é").write_bytes(bytes(300))
    (tree / "d" / "link").symlink_to("../a.py")
    stream = BytesIO()
    read = read_tree(str(tree))
    pack(read, stream, compress=compress)
    return read, stream.getvalue()


@st.composite
def damages(draw):
    """Give a function that damages bytes, as a share of their length."""
    share = st.floats(0, 1, exclude_max=True)
    at, to = draw(share), draw(share)
    how = draw(st.sampled_from(["flip", "cut", "drop", "copy", "field"]))
    bit, field = draw(st.integers(1, 255)), draw(NUMBERS) & MAX_32

    def damage(data):
        one, two = int(at * len(data)), int(to * len(data))
        low, high = min(one, two), max(one, two)
        return {
            "flip": data[:one] + bytes([data[one] ^ bit]) + data[one + 1 :] if data else data,
            "cut": data[:one],
            "drop": data[:low] + data[high:],
            "copy": data[:low] + data[low:high] + data[low:],
            "field": data[:one] + struct.pack("<L", field) + data[one + 4 :],
        }[how]

    return damage


@settings(deadline=None, max_examples=250)
@given(st.booleans(), st.lists(damages(), min_size=1, max_size=3))
def test_damaged_archives(compress, each):
    with tempfile.TemporaryDirectory() as other, tempfile.TemporaryDirectory() as directory:
        _, data = good(Path(other), compress)
        for damage in each:
            data = damage(data)
        attack(Path(directory), data)


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_good_is_let_through(tmp_path, compress):
    (tmp_path / "here").mkdir()
    (tmp_path / "other").mkdir()
    assert attack(tmp_path / "here", good(tmp_path / "other", compress)[1]) is None
    (tmp_path / "forged").mkdir()
    entries = [Forged(b"d", "directory"), Forged(b"d/a", "file", b"1", {"method": 8}), Forged(b"l", "link", b"d/a")]
    assert attack(tmp_path / "forged", forge(entries)) is None


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([Forged(b"n", "file", bytes(9), {"size": 1 << 40})], "is not what was packed"),
        ([Forged(b"a" * 256, "file")], "longer or deeper"),
        ([Forged(b"n/" * depth + b"n", "directory") for depth in range(300)], "longer or deeper"),
        ([Forged(b"d", "directory"), *(Forged(b"d" + b"/e" * depth, "link", b"..") for depth in (1, 2))], "not one of its directories"),
        ([Forged(b"l", "link", b"x" * 2001)], "longer than a link"),
        ([Forged(b"l", "link", b"a\0b")], "leads outside"),
        ([Forged(b"a", "fifo")], "of another kind"),
    ],
)
def test_what_is_refused_says_why(tmp_path, made, why):
    refusal = attack(tmp_path, forge(made))
    assert refusal is not None
    assert why in str(refusal)


@pytest.mark.parametrize("ends", [{"size": (1 << 64) - 1}, {"start": (1 << 64) - 1}, {"size": 1 << 63}, {"count": 1 << 50}, {"start": 7}])
def test_last_records_that_lie_with_64_bits(tmp_path, ends):
    attack(tmp_path, forge([Forged(b"a", "file", b"1")], wide=1, **ends))


def test_a_bomb_takes_no_more_memory_and_disk_than_it_declares(tmp_path):
    archive = forge([Forged(b"bomb", "file", bytes(100_000_000), {"method": 8, "size": 1000})])
    (tmp_path / "archive.zip").write_bytes(archive)
    packed = read_directory(str(tmp_path / "archive.zip"))
    tracemalloc.start()
    try:
        with pytest.raises(JobsysError, match="is not what was packed"):
            unpack(str(tmp_path / "archive.zip"), packed, str(tmp_path / "out"))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "bomb").stat().st_size <= 1000
