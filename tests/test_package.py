"""Trees and their archives: what goes in comes out, the same bytes everywhere, and nothing ever outside."""

import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
import zipp
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsys import package, scan, tree
from jobsys.errors import IntegrityError
from jobsys.kept import damage
from jobsys.manifest import DIGEST_FIELD, Entry, PackageError, is_inside, is_safe_link, manifest_digest
from jobsys.package import pack
from jobsys.scan import read_tree
from jobsys.tree import is_system_directory
from jobsys.unpack import PIECE, check_names, read_directory, unpack

PART = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: (
        name not in {".", "..", ".jobsysignore", "pyvenv.cfg", "jobsys-store.json"}
        and name not in scan._CACHES | scan._VERSION_CONTROL | scan._SECRETS
        and not name.endswith(".pyc")
        and not name.startswith(".env.")
        and name[1:2] != ":"
        and len(os.fsencode(name)) < 200
    )
)
CONTENT = st.binary(max_size=3000) | st.binary(min_size=1, max_size=50).map(lambda seed: seed * 40_000)
FILES = st.dictionaries(
    st.lists(PART, min_size=1, max_size=4).map(tuple), st.tuples(CONTENT, st.sampled_from([0o644, 0o755, 0o600])), max_size=8
)


def build(root, files):
    root.mkdir(parents=True, exist_ok=True)
    for parts, (content, mode) in files.items():
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        path.chmod(mode)


def packed(root, *, compress=False, only=None):
    stream = BytesIO()
    read = read_tree(str(root), only)
    pack(read, stream, compress=compress)
    return read, stream.getvalue()


def ship(root, target, *, compress=True, only=None):
    read, data = packed(root, compress=compress, only=only)
    archive = target.parent / "archive.zip"
    archive.write_bytes(data)
    directory = read_directory(str(archive))
    assert manifest_digest(each.entry for each in directory).sha256 == read.sha256
    return unpack(str(archive), directory, str(target))


def picture(root):
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (stat.S_IFMT(status.st_mode), bool(status.st_mode & stat.S_IXUSR), content)
    return found


@settings(deadline=None, max_examples=60)
@given(FILES, st.booleans())
def test_what_goes_in_comes_out_and_the_bytes_are_the_same_anywhere(files, compress):
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        build(here / "one", files)
        build(here / "elsewhere" / "two", dict(reversed(files.items())))
        assert packed(here / "one", compress=compress)[1] == packed(here / "elsewhere" / "two", compress=compress)[1]
        kept = ship(here / "one", here / "out", compress=compress)
        assert picture(here / "out") == picture(here / "one")
        assert damage(str(here / "out"), kept, alone=True) is None


def test_any_zip_tool_reads_it(tmp_path):
    build(tmp_path / "t", {("ä", "b.py"): (b"x = 1\n" * 9999, 0o755), ("big",): (bytes(3_000_000) + os.urandom(1_500_000), 0o644)})
    for compress in (False, True):
        (tmp_path / "a.zip").write_bytes(packed(tmp_path / "t", compress=compress)[1])
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            assert archive.testzip() is None
            assert (zipp.Path(archive) / "ä" / "b.py").read_bytes() == b"x = 1\n" * 9999


def test_neither_times_nor_a_date_before_1980_change_anything(tmp_path):
    build(tmp_path / "t", {("a.py",): (b"1", 0o644)})
    before = packed(tmp_path / "t")[1]
    os.utime(tmp_path / "t" / "a.py", (0, 0))
    assert packed(tmp_path / "t")[1] == before


def test_digests_do_not_depend_on_compression(tmp_path):
    build(tmp_path / "t", {("a.py",): (b"1" * 5000, 0o644)})
    (one, stored), (two, deflated) = packed(tmp_path / "t"), packed(tmp_path / "t", compress=True)
    assert (one.sha256, one.md5) == (two.sha256, two.md5)
    assert len(deflated) < len(stored)


def test_links_empty_directories_and_modes_survive(tmp_path):
    root = tmp_path / "t"
    build(root, {("pkg", "mod.py"): (b"1", 0o644), ("run",): (b"#!/bin/sh\n", 0o755)})
    (root / "empty").mkdir()
    (root / "closed").mkdir(mode=0o555)
    (root / "link.py").symlink_to("pkg/mod.py")
    (root / "alias").symlink_to("pkg")
    (root / "pkg" / "up").symlink_to("..")
    (root / "absolute").symlink_to(root / "pkg")
    (root / "dangling").symlink_to("pkg/not-yet")
    (root / "odd").symlink_to("pkg/../run")
    ship(root, tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "empty").is_dir()
    assert (out / "run").stat().st_mode & 0o777 == 0o755
    links = {path.name: os.readlink(path) for path in (*out.iterdir(), out / "pkg" / "up") if path.is_symlink()}
    assert links == {"link.py": "pkg/mod.py", "alias": "pkg", "up": "..", "absolute": "pkg", "dangling": "pkg/not-yet", "odd": "run"}


def test_links_that_leave_the_tree_are_followed_but_not_in_a_circle(tmp_path, caplog):
    root, other = tmp_path / "t", tmp_path / "other"
    build(root, {("a.py",): (b"1", 0o644)})
    build(other, {("deep", "b.py"): (b"2", 0o644)})
    (root / "file.py").symlink_to(other / "deep" / "b.py")
    (root / "lib").symlink_to(other)
    (other / "again").symlink_to(other)
    (other / "home").symlink_to(root / "a.py")
    (root / "parent").symlink_to("..")
    (root / "system").symlink_to("/usr")
    (root / "gone").symlink_to("/nowhere/at/all")
    ship(root, tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "file.py").read_bytes() == b"2"
    assert not (out / "file.py").is_symlink()
    assert (out / "lib" / "deep" / "b.py").read_bytes() == b"2"
    assert (out / "lib" / "home").resolve() == out / "a.py"
    assert sorted(os.listdir(out)) == ["a.py", "file.py", "lib"]
    assert sorted(os.listdir(out / "lib")) == ["deep", "home"]
    for name in ("again", "parent", "system", "gone"):
        assert f"/{name}: it links to" in caplog.text


def test_pipes_sockets_and_strange_names_are_left_out_by_name(tmp_path, caplog):
    build(tmp_path / "t", {("a.py",): (b"1", 0o644), ("b\\c",): (b"1", 0o644), ("C:x",): (b"1", 0o644)})
    os.mkfifo(tmp_path / "t" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "t" / "sock"))
        read, _ = packed(tmp_path / "t")
    assert [item.entry.path for item in read.items] == ["a.py"]
    for name in ("pipe", "sock", "b\\c", "C:x"):
        assert f"{name}: " in caplog.text


def test_what_is_no_code_is_left_out(tmp_path):
    root = tmp_path / "t"
    caches = ["__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".nox", ".git", ".hg", ".svn"]
    gone = [f"{name}/x" for name in caches]
    gone += [
        "node_modules/x",
        "a.pyc",
        "venv/pyvenv.cfg",
        "venv/lib/x.py",
        "store/jobsys-store.json",
        "store/y",
        "data/big.bin",
        "notes.txt",
    ]
    kept = ["a.py", "sourceless.pyc", "sub/b.py", ".jobsysignore"]
    build(root, {tuple(name.split("/")): (b"", 0o644) for name in gone + kept})
    (root / ".jobsysignore").write_text("# no code\ndata/\n*.txt\n")
    paths = {item.entry.path for item in read_tree(str(root)).items if item.entry.kind == "file"}
    assert paths == set(kept)


def test_only_some_names_and_links_between_them(tmp_path):
    build(tmp_path, {("a.py",): (b"1", 0o644), ("b.py",): (b"2", 0o644), ("pkg", "c.py"): (b"3", 0o644)})
    (tmp_path / "link.py").symlink_to("b.py")
    read = read_tree(str(tmp_path), {"a.py", "pkg", "link.py"})
    assert [(item.entry.path, item.entry.kind) for item in read.items] == [
        ("a.py", "file"), ("link.py", "file"), ("pkg", "directory"), ("pkg/c.py", "file"),
    ]  # fmt: skip


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    build(tmp_path / "t", {("secret.py",): (b"1", 0o644)})
    monkeypatch.setattr(tree, "open_file", refuse)
    with pytest.raises(PackageError, match=r"secret\.py can't be read: Permission denied"):
        read_tree(str(tmp_path / "t"))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(PackageError, match=r"nothing can't be read: No such file"):
        read_tree(str(tmp_path / "nothing"))


@pytest.mark.parametrize("size", [0, 10, 3 << 20, (1 << 20) + 1])
def test_what_is_written_behind_a_file_meanwhile_is_left_out(tmp_path, size):
    """A script's directory often holds a log to which somebody writes."""
    build(tmp_path / "t", {("a.log",): (b"1" * size, 0o644)})
    read = read_tree(str(tmp_path / "t"))
    archives = []
    for more in (b"", b"2" * 1000):
        with (tmp_path / "t" / "a.log").open("ab") as log:
            log.write(more)
        archives.append(BytesIO())
        pack(read, archives[-1], compress=False)
    assert archives[0].getvalue() == archives[1].getvalue()


def test_what_goes_while_a_tree_is_read_is_left_out(tmp_path, monkeypatch):
    build(tmp_path / "t", {("a.py",): (b"1", 0o644), ("b.tmp",): (b"1", 0o644), ("c", "d.py"): (b"1", 0o644)})
    original = scan.Scanner.scan

    def slow(self):
        for member in original(self):
            if member.path == "b.tmp":
                (tmp_path / "t" / "b.tmp").unlink()
                shutil.rmtree(tmp_path / "t" / "c")
            yield member

    monkeypatch.setattr(scan.Scanner, "scan", slow)
    assert [item.entry.path for item in read_tree(str(tmp_path / "t")).items] == ["a.py"]


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_file_that_changes_meanwhile_is_named(tmp_path, size):
    build(tmp_path / "t", {("a.py",): (bytes(size), 0o644)})
    read = read_tree(str(tmp_path / "t"))
    for change in (b"x" * size, b"x" + bytes(size), bytes(size - 1), b""):
        (tmp_path / "t" / "a.py").write_bytes(change)
        with pytest.raises(PackageError, match=r"a\.py changed while"):
            pack(read, BytesIO(), compress=False)


def test_entries_of_more_than_4_gigabytes_are_written_with_64_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "_LARGE", 5_000)
    build(tmp_path / "t", {(name,): (name.encode() * 2_000_000, 0o644) for name in "abcd"})
    for compress in (False, True):
        ship(tmp_path / "t", tmp_path / f"out{compress}", compress=compress)
        assert picture(tmp_path / f"out{compress}") == picture(tmp_path / "t")


@pytest.mark.slow
def test_really_more_than_65535_files(tmp_path):
    root = tmp_path / "t"
    root.mkdir()
    for number in range(66_000):
        os.close(os.open(f"{root}/{number}", os.O_CREAT | os.O_WRONLY, 0o644))
    kept = ship(root, tmp_path / "out")
    assert b"PK\6\6" in (tmp_path / "archive.zip").read_bytes()
    assert len(kept) == len(os.listdir(tmp_path / "out")) == 66_000


def test_memory_stays_flat(tmp_path):
    root = tmp_path / "t"
    root.mkdir()
    for name in "abc":
        with open(root / name, "wb") as stream:
            for _ in range(100):
                stream.write(os.urandom(1 << 16) * 16)
    program = """if True:
        import resource, sys
        from jobsys.package import pack
        from jobsys.scan import read_tree
        from jobsys.unpack import read_directory, unpack
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for compress in (False, True):
            with open(sys.argv[2], "wb") as stream:
                pack(read_tree(sys.argv[1]), stream, compress=compress)
            unpack(sys.argv[2], read_directory(sys.argv[2]), sys.argv[2] + str(compress))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    answer = subprocess.run([sys.executable, "-c", program, root, tmp_path / "zip"], env=environment, capture_output=True, check=True)
    assert int(answer.stdout) < 64_000


# ── hostile archives ─────────────────────────────────────────────────────────────────────────────────────────────────


def hostile(entries):
    """Write what our own writer would never write: (path, kind, content) as they come."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, kind, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = path + ("/" if kind == "directory" else "")
            info.create_system = 3
            info.external_attr = (package._TYPES[kind] | 0o755) << 16
            if kind != "directory":
                info.extra = struct.pack("<2H32s", DIGEST_FIELD, 32, sha256(content).digest())
            archive.NameToInfo.clear()
            archive.writestr(info, content)
    return stream.getvalue()


def attack(tmp_path, entries):
    prison = tmp_path / "prison"
    prison.mkdir(exist_ok=True)
    (tmp_path / "archive.zip").write_bytes(hostile(entries))
    before = picture(tmp_path)
    try:
        unpack(str(tmp_path / "archive.zip"), read_directory(str(tmp_path / "archive.zip")), str(prison / "target"))
        return None
    except (PackageError, IntegrityError) as error:
        return error
    finally:
        outside = {path: seen for path, seen in picture(tmp_path).items() if not path.startswith("prison/target")}
        assert outside == before


@pytest.mark.parametrize(
    "entries",
    [
        [("../evil", "file", b"")],
        [("/etc/evil", "file", b"")],
        [("a", "directory", b""), ("a/../../evil", "file", b"")],
        [("..\\evil", "file", b"")],
        [("C:evil", "file", b"")],
        [("a//b", "file", b"")],
        [("./a", "file", b"")],
        [("a/b", "file", b"")],
        [("a", "link", b"/tmp"), ("a/b", "file", b"")],
        [("a", "link", b".."), ("a/b", "file", b"")],
        [("a", "file", b"1"), ("a", "file", b"2")],
        [("b", "file", b"1"), ("a", "file", b"2")],
        [("a", "link", b"/etc/passwd")],
        [("a", "link", b"../evil")],
        [("a", "link", b"b/../../evil")],
        [("a", "link", b"x" * 5000)],
        [("a", "link", b"")],
    ],
)
def test_an_archive_that_would_write_outside_is_refused(tmp_path, entries):
    assert isinstance(attack(tmp_path, entries), PackageError)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "..", ".", "", "/", "\\", "C:", "é", "~"]), min_size=1, max_size=4).map("/".join),
            st.sampled_from(["directory", "file", "link"]),
            st.sampled_from([b"a", b"..", b"../..", b"/tmp", b"a/../..", b"b/c", b"../a", b"./.."]),
        ),
        max_size=6,
    )
)
def test_nothing_is_ever_written_or_linked_outside(entries):
    with tempfile.TemporaryDirectory() as directory:
        entries = [(path, kind, b"" if kind == "directory" else content) for path, kind, content in entries]
        here = Path(os.path.realpath(directory))
        attack(here, entries)
        target = here / "prison" / "target"
        for path in target.rglob("*"):
            assert is_inside(os.path.realpath(path), str(target)), path


@pytest.mark.parametrize("more", [0, 1, 2, 200, 258])
def test_a_file_whose_end_zlib_holds_back_is_whole(tmp_path, more):
    build(tmp_path / "t", {("zeros",): (bytes(PIECE + more), 0o644), ("twice",): (b"ab" * PIECE + b"a" * more, 0o644)})
    ship(tmp_path / "t", tmp_path / "out", compress=True)
    assert picture(tmp_path / "out") == picture(tmp_path / "t")


def test_a_file_with_more_data_than_it_declares_is_refused(tmp_path):
    build(tmp_path / "t", {("bomb",): (bytes(900_000), 0o644)})
    _, data = packed(tmp_path / "t", compress=True)
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflated.compress(bytes(50_000_000)) + deflated.flush()
    start = 30 + len("bomb")
    directory = bytearray(data[data.index(b"PK\1\2") :])
    directory[20:24] = struct.pack("<L", len(bomb))
    end = directory.index(b"PK\5\6")
    directory[end + 16 : end + 20] = struct.pack("<L", start + len(bomb))
    (tmp_path / "bomb.zip").write_bytes(data[:start] + bomb + directory)
    contents = read_directory(str(tmp_path / "bomb.zip"))
    assert contents[0].compressed == len(bomb)
    with pytest.raises(IntegrityError, match=r"'bomb' is not what was packed"):
        unpack(str(tmp_path / "bomb.zip"), contents, str(tmp_path / "out"))
    assert (tmp_path / "out" / "bomb").stat().st_size <= 900_000


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_damaged_byte_goes_unseen(data):
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        build(here / "t", {("a.py",): (b"print(1)\n" * 50, 0o644), ("d", "b.py"): (b"x" * 300, 0o755)})
        read, good = packed(here / "t", compress=data.draw(st.booleans()))
        position = data.draw(st.integers(0, len(good) - 1))
        bad = bytearray(good)
        bad[position] ^= data.draw(st.integers(1, 255))
        cut = data.draw(st.booleans())
        (here / "bad.zip").write_bytes(good[:position] if cut else bad)
        try:
            contents = read_directory(str(here / "bad.zip"))
            if manifest_digest(each.entry for each in contents).sha256 != read.sha256:
                return
            unpack(str(here / "bad.zip"), contents, str(here / "out"))
        except IntegrityError:
            return
        assert picture(here / "out") == picture(here / "t")


# ── looking again ────────────────────────────────────────────────────────────────────────────────────────────────────


def change_byte(path):
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda out: change_byte(out / "a.py"), "a.py has another content"),
        (lambda out: (out / "a.py").unlink(), "a.py can't be read"),
        (lambda out: (out / "a.py").write_text("longer than before"), "a.py has another size"),
        (lambda out: (out / "a.py").chmod(0o755), "a.py has another size or other permissions"),
        (lambda out: (out / "json.py").write_text(""), "json.py was not shipped"),
        (lambda out: ((out / "link").unlink(), (out / "link").symlink_to("d/b.xx")), "link has another content"),
        (lambda out: ((out / "a.py").unlink(), (out / "a.py").symlink_to("d/b.py")), "a.py is of another kind"),
        (lambda out: shutil.rmtree(out / "d"), "d was not shipped"),
        (lambda out: os.utime(out / "a.py", (1, 1)), None),
        (lambda out: (out / "__pycache__").mkdir(), None),
    ],
)
def test_damage_is_found(tmp_path, monkeypatch, harm, seen, small):
    if not small:
        monkeypatch.setattr("jobsys.kept.SMALL_TREE", 0)
    build(tmp_path / "t", {("a.py",): (b"print(1)", 0o644), ("d", "b.py"): (b"2", 0o644)})
    (tmp_path / "t" / "link").symlink_to("d/b.py")
    kept = ship(tmp_path / "t", tmp_path / "out")
    assert damage(str(tmp_path / "out"), kept, alone=True) is None
    harm(tmp_path / "out")
    found = damage(str(tmp_path / "out"), kept, alone=True)
    assert found is None if seen is None else (found is not None and seen in found)


def test_paths_are_compared_by_components():
    assert is_inside("/x/venv/lib", "/x/venv")
    assert not is_inside("/x/venv2/lib", "/x/venv")
    assert is_inside("/x", "/")


def test_safe_links():
    assert is_safe_link("a/b", "../c")
    assert not is_safe_link("a", "../c")
    assert not is_safe_link("a/b", "c/../d")


def test_system_directories(tmp_path):
    assert all(map(is_system_directory, ["/", "/tmp/", "/etc", os.path.expanduser("~"), "/var/tmp"]))
    assert not is_system_directory(str(tmp_path))


def test_names_are_checked_by_themselves():
    with pytest.raises(PackageError, match="twice or out of order"):
        check_names([package_entry("a"), package_entry("a")])


def package_entry(path):
    from jobsys.unpack import Packed

    return Packed(Entry(path, "file", 0o644, 0, "0"), 0, 0, 0)


def test_an_interpreter_that_forbids_to_compare_bytes_with_text_packs_too(tmp_path):
    (tmp_path / "a").write_text("a")
    text = (
        "import io, sys, zipfile; from jobsys.package import pack; from jobsys.scan import read_tree\n"
        "zipfile.ZipFile(io.BytesIO(), 'w').close()\n"
        "pack(read_tree(sys.argv[1]), io.BytesIO(), compress=True)"
    )
    done = subprocess.run([sys.executable, "-bb", "-c", text, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
