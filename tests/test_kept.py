"""What was unpacked is looked at again: bytecode that nobody vouched for goes, content is read once for new stamps."""

import importlib.util
import marshal
import os
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from jobsys import kept
from jobsys.kept import Kept, damage, harm, noted, read_list, seal, size_of, write_list
from jobsys.manifest import Entry


@pytest.fixture
def place(tmp_path):
    place = tmp_path / "place"
    (place / "tree" / "pkg").mkdir(parents=True)
    entries = [Kept("pkg", "directory", 0o755, 0, "-")]
    for name, text in (("mod.py", "VALUE = 8\n"), ("pkg/__init__.py", "VALUE = 1\n")):
        path = place / "tree" / name
        path.write_text(text)
        path.chmod(0o644)
        entries.append(noted(Entry(name, "file", 0o644, len(text), sha256(text.encode()).hexdigest()), path.lstat()))
    write_list(str(place), sorted(entries))
    return place


def look(place):
    return harm(str(place), "tree", read_list(str(place)))


def load(place):
    """Import both modules in a new process and tell their values."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import mod, pkg; print(mod.VALUE, pkg.VALUE)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", code, place / "tree"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def bytecode(place):
    return sorted(str(path.relative_to(place / "tree")) for path in (place / "tree").rglob("__pycache__/*"))


def forge(place):
    """Put bytecode that says something else beside a source, as fresh as Python wants it."""
    source = place / "tree" / "mod.py"
    found = source.stat()
    target = Path(importlib.util.cache_from_source(str(source)))
    target.parent.mkdir(exist_ok=True)
    code = marshal.dumps(compile("VALUE = 666", "mod.py", "exec"))
    target.write_bytes(importlib.util.MAGIC_NUMBER + struct.pack("<3L", 0, int(found.st_mtime), found.st_size) + code)
    return target


def flip(path):
    """Change a byte of the constant and set the times back."""
    before = path.stat()
    data = path.read_bytes()
    place = data.rindex(b"\xe9\x08\x00\x00\x00") + 1 if b"\xe9\x08\x00\x00\x00" in data else len(data) - 1
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_list_there_and_back(place):
    rows = read_list(str(place))
    assert [each.path for each in rows] == ["mod.py", "pkg", "pkg/__init__.py"]
    assert size_of(str(place)) == 20
    write_list(str(place), rows, size=5)
    assert (read_list(str(place)), size_of(str(place)), size_of(str(place / "none"))) == (rows, 5, None)


@pytest.mark.parametrize("text", ["", "5\n", "5\n{}", "5\n[1]", '5\n[["a"]]', '5\n[["a","file","0",1,"",1,1,1]]', "5\n[\xff"])
def test_a_damaged_list_is_no_list(place, text):
    (place / kept.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_list(str(place))


def test_forged_bytecode_would_run_and_is_removed(place):
    forged = forge(place)
    assert load(place) == "666 1"
    assert look(place) is None
    assert not forged.exists()
    assert load(place) == "8 1"


def test_sealed_bytecode_stays_and_what_came_later_goes(place):
    load(place)
    before = bytecode(place)
    assert len(before) == 2
    seal(str(place))
    (place / "tree" / "__pycache__" / "later.pyc").write_bytes(b"x")
    (place / "tree" / "__pycache__" / "folder").mkdir()
    assert look(place) is None
    assert bytecode(place) == before


def test_a_flipped_byte_in_sealed_bytecode_is_seen(place):
    load(place)
    seal(str(place))
    path = Path(importlib.util.cache_from_source(str(place / "tree" / "mod.py")))
    flip(path)
    assert load(place) != "8 1", "Python itself does not see it"
    seal(str(place))
    assert look(place) is None
    assert not path.exists(), "what was sealed is not sealed again with another content"
    assert load(place) == "8 1"
    seal(str(place))
    assert look(place) is None
    assert path.exists()


def test_a_file_is_not_alone_but_the_bytecode_beside_it_must_be_sealed(tmp_path):
    (tmp_path / "a.py").write_text("1")
    (tmp_path / ".jobsys-leader").write_text("1")
    (tmp_path / "a.py").chmod(0o644)
    rows = [noted(Entry("a.py", "file", 0o644, 1, sha256(b"1").hexdigest()), (tmp_path / "a.py").lstat())]
    (tmp_path / "__pycache__").mkdir()
    for name, sealed in (("one.pyc", True), ("two.pyc", False)):
        (tmp_path / "__pycache__" / name).write_bytes(b"x")
        if sealed:
            seal(str(tmp_path))
    assert harm(str(tmp_path), ".", rows, alone=False) is None
    assert os.listdir(tmp_path / "__pycache__") == ["one.pyc"]


@pytest.mark.parametrize("text", [b"", b"nonsense"])
def test_without_a_seal_that_can_be_read_nothing_is_sealed(place, text):
    load(place)
    assert bytecode(place)
    seal(str(place))
    (place / kept.SEALED).write_bytes(text)
    assert look(place) is None
    assert bytecode(place) == []


@pytest.mark.parametrize("how", ["link", "file"])
def test_bytecode_is_not_looked_for_elsewhere(place, tmp_path, how):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mod.pyc").write_bytes(b"x")
    folder = place / "tree" / "__pycache__"
    folder.symlink_to(tmp_path / "elsewhere") if how == "link" else folder.write_bytes(b"")
    assert look(place) is None
    assert not os.path.lexists(folder)
    assert (tmp_path / "elsewhere" / "mod.pyc").exists()


def test_content_is_read_once_for_new_stamps(place, monkeypatch, tmp_path):
    read: list[str] = []
    content = kept._content

    def counted(path, kind):
        read.append(path)
        return content(path, kind)

    monkeypatch.setattr(kept, "SMALL_TREE", 0)
    monkeypatch.setattr(kept, "_content", counted)
    os.link(place / "tree" / "mod.py", tmp_path / "link")
    assert look(place) is None
    assert len(read) == 1
    assert look(place) is None
    assert len(read) == 2, "stamps of a moment ago are not trusted: the clock may not have moved since"
    monkeypatch.setattr(kept, "_SETTLED", -1)
    assert [look(place), look(place), len(read)] == [None, None, 3]


def test_who_works_on_a_place_is_not_waited_for(place, monkeypatch, tmp_path):
    from jobsys.files import locked

    monkeypatch.setattr(kept, "_SETTLED", -1)
    os.link(place / "tree" / "mod.py", tmp_path / "link")
    before = (place / kept.MANIFEST).read_bytes()
    with locked(f"{place}.lock"):
        assert look(place) is None
        assert (place / kept.MANIFEST).read_bytes() == before
    assert look(place) is None
    assert (place / kept.MANIFEST).read_bytes() != before


def test_a_flipped_byte_is_seen_though_the_times_are_set_back(place, monkeypatch):
    monkeypatch.setattr(kept, "SMALL_TREE", 0)
    flip(place / "tree" / "mod.py")
    assert look(place) == "mod.py has another content"
    assert damage(str(place / "tree"), read_list(str(place)), alone=False) == "mod.py has another content"
