"""Digests that are remembered: when they save the reading of a file, and all the times when they must not."""

import builtins
import os
import subprocess
import sys
from hashlib import sha256

import msgspec
import pytest

from jobsys import known as module
from jobsys.known import SETTLED, Known, Summary
from jobsys.scan import read_tree
from jobsys.tree import Member, read_members

LATER = 10 * SETTLED


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.py").write_text("import a\n")
    (folder / "b.py").write_text("import b\n")
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened to be read in full."""
    paths: list[str] = []
    real = os.open

    def open_noted(path, *rest, **options):
        paths.append(str(path))
        return real(path, *rest, **options)

    monkeypatch.setattr("os.open", open_noted)
    return paths


def clock(path, later=LATER):
    """A clock that shows some time after a file's last change."""
    status = os.stat(path)
    return lambda: max(status.st_mtime_ns, status.st_ctime_ns) + later


def digests(tree, known):
    members = [Member(name, "file", str(tree / name)) for name in sorted(os.listdir(tree))]
    return {item.entry.path: item.entry.sha256 for item in read_members(members, known).items}


def truth(tree):
    return {name: sha256((tree / name).read_bytes()).hexdigest() for name in sorted(os.listdir(tree))}


def learned(tmp_path, tree, later=LATER):
    """Learn a tree, and give what the next process knows."""
    first = Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py", later))
    assert digests(tree, first) == truth(tree)
    first.save()
    return Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py", later))


def test_a_warm_read_opens_no_file(tmp_path, tree, opened):
    known = learned(tmp_path, tree)
    cold = len(opened)
    assert cold >= 2
    opened.clear()
    assert digests(tree, known) == truth(tree)
    assert opened == []
    assert read_members([Member("a.py", "file", str(tree / "a.py"))], known).sha256
    assert opened == []


def test_a_tree_with_facts_has_the_digest_of_one_without(tmp_path, tree):
    big = bytes(range(256)) * 12_000  # several pieces
    (tree / "big.bin").write_bytes(big)
    members = [Member(name, "file", str(tree / name)) for name in ("a.py", "b.py", "big.bin")]
    cold = read_members(members, learned(tmp_path, tree))
    assert cold == read_members(members)
    assert cold.sha256 == read_tree(str(tree)).sha256


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_size_and_time_set_back_is_seen(tmp_path, tree):
    known = learned(tmp_path, tree)
    before = os.stat(tree / "a.py")
    (tree / "a.py").write_text("import x\n")
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(tree / "a.py")
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert digests(tree, known) == truth(tree)


def test_another_file_under_the_name_is_seen(tmp_path, tree):
    known = learned(tmp_path, tree)
    before = os.stat(tree / "a.py")
    (tmp_path / "new").write_text("import y\n")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(tree / "a.py")
    assert digests(tree, known) == truth(tree)
    status = os.stat(tree / "b.py")
    assert known.look(str(tree / "b.py"), status) is not None
    assert known.look(str(tree / "b.py"), _faked(status, st_ino=status.st_ino + 1)) is None


def _faked(status, **changes):
    """What ``stat`` could say, with some of it changed."""
    names = ("st_mode", "st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns")
    return type("Status", (), {name: changes.get(name, getattr(status, name)) for name in names})()


@pytest.mark.parametrize("field", ["st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_every_stamp_counts(tmp_path, tree, field):
    path = str(tree / "a.py")
    status = os.stat(path)
    known = learned(tmp_path, tree)
    assert known.look(path, _faked(status)) is not None
    assert known.look(path, _faked(status, **{field: getattr(status, field) + 1})) is None
    assert known.look(path, _faked(status)) is not None, "a look that failed forgets nothing"


@pytest.mark.parametrize("later", [0, SETTLED // 2, -LATER, -(10**18)])
def test_what_changed_just_now_or_in_the_future_is_not_kept(tmp_path, tree, later, opened):
    """A second change within one tick of the clock would leave no trace."""
    known = learned(tmp_path, tree, later)
    opened.clear()
    assert digests(tree, known) == truth(tree)
    assert sorted(opened) == [str(tree / "a.py"), str(tree / "b.py")]


def test_a_file_of_the_future_is_read_each_time(tmp_path, tree, opened):
    os.utime(tree / "a.py", (2**33, 2**33))
    known = learned(tmp_path, tree)
    opened.clear()
    digests(tree, known)
    assert opened == [str(tree / "a.py")]


def test_a_file_of_long_ago_is_settled_by_when_it_came(tmp_path, tree, opened):
    os.utime(tree / "a.py", (-(10**6), -(10**6)))
    known = learned(tmp_path, tree)
    opened.clear()
    assert digests(tree, known) == truth(tree)
    assert opened == []


def test_what_was_just_read_is_known_to_this_process(tmp_path, tree, opened):
    known = Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py", 0))
    digests(tree, known)
    opened.clear()
    digests(tree, known)
    assert opened == []
    (tree / "a.py").write_text("import other\n")
    assert digests(tree, known) == truth(tree)


def test_a_file_that_changes_while_it_is_read_is_not_noted(tmp_path, tree, monkeypatch):
    known = Known(None, str(tree), lambda: 2**62)
    real = os.read
    done: list[int] = []

    def read(descriptor, size):
        data = real(descriptor, size)
        if not done:
            done.append((tree / "a.py").write_text("import a, b, c\n"))
        return data

    monkeypatch.setattr("os.read", read)
    read_members([Member("a.py", "file", str(tree / "a.py"))], known)
    monkeypatch.undo()
    assert done
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


# ── where it can't be trusted ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p", "lustre", ""])
def test_a_file_system_of_another_machine_is_never_believed(tmp_path, tree, monkeypatch, kind):
    monkeypatch.setattr("jobsys.known._file_system", lambda _: kind)
    known = learned(tmp_path, tree)
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_facts_of_a_local_file_system_are_not_believed_of_another_that_is_mounted_there_now(tmp_path, tree, monkeypatch):
    learned(tmp_path, tree)
    monkeypatch.setattr("jobsys.known._file_system", lambda _: "nfs4")
    known = Known(str(tmp_path / "facts"), str(tree))
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_the_file_system_is_that_of_the_innermost_mount(monkeypatch, tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /mnt/caf\u00e9 rw shared:1 - nfs4 server:/x rw\n"
        "31 22 0:41 / /mnt/a\\040b rw - cifs //server/x rw\n"
        "32 22 8:2 / /mnt/twice rw - ext4 /dev/sda2 rw\n"
        "33 32 0:42 / /mnt/twice rw - fuse.sshfs x rw\n",
        encoding="utf-8",
    )
    real = builtins.open
    monkeypatch.setattr("builtins.open", lambda path, *rest, **o: real(table if path == "/proc/self/mountinfo" else path, *rest, **o))
    for path, kind in (
        ("/mnt/caf\u00e9/x", "nfs4"),
        ("/mnt/a b", "cifs"),
        ("/mnt/twice/x", "fuse.sshfs"),
        ("/mnt/ab", "ext4"),
        ("/", "ext4"),
    ):
        assert module._file_system(path) == kind


def test_without_proc_nothing_is_believed(tmp_path, tree, monkeypatch):
    real = builtins.open

    def refuse(path, *rest, **options):
        if path == "/proc/self/mountinfo":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, *rest, **options)

    monkeypatch.setattr("builtins.open", refuse)
    assert learned(tmp_path, tree).look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_a_damaged_book_is_thrown_away(tmp_path, tree):
    learned(tmp_path, tree)
    (book,) = (tmp_path / "facts").iterdir()
    good = book.read_bytes()
    path, status = str(tree / "a.py"), os.stat(tree / "a.py")
    step = max(1, len(good) // 40)
    damaged = [good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :] for position in range(0, len(good), step)]
    for bad in (b"", b"x", good[:-1], good[:40], good + b"x", *damaged):
        book.write_bytes(bad)
        assert Known(str(tmp_path / "facts"), str(tree)).look(path, status) is None
    book.write_bytes(good)
    assert Known(str(tmp_path / "facts"), str(tree)).look(path, status) is not None


def test_where_nothing_can_be_written_everything_is_read(tmp_path, tree):
    (tmp_path / "facts").write_text("a file where the directory should be")
    known = learned(tmp_path, tree)
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_a_disk_that_is_full_ends_nothing(tmp_path, tree, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobsys.known.write_whole", full)
    assert learned(tmp_path, tree).look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_a_path_that_is_no_text_is_not_kept_and_costs_the_others_nothing(tmp_path, tree):
    (tree / os.fsdecode(b"caf\xe9.py")).write_text("import x\n")
    known = learned(tmp_path, tree)
    digests(tree, known)
    known.note_imports(b"1" * 32, ("\udce9",))
    known.note_imports(b"2" * 32, ("a",))
    known.note_summary("/caf\udce9", SUMMARY, [])
    known.save()
    again = Known(str(tmp_path / "facts"), str(tree))
    assert again.look(str(tree / "a.py"), os.stat(tree / "a.py")) is not None
    assert (again.imports(b"1" * 32), again.imports(b"2" * 32)) == (None, ("a",))
    assert digests(tree, again) == truth(tree)


def test_a_book_that_can_t_be_written_ends_nothing(tmp_path, tree, monkeypatch):
    known = Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py"))
    known.note_summary("tree", msgspec.structs.replace(SUMMARY, size=2**70), [])  # more than a book can hold
    known.save()
    assert not list((tmp_path / "facts").iterdir())


def test_only_its_owner_may_write_the_book(tmp_path, tree):
    learned(tmp_path, tree)
    assert os.stat(tmp_path / "facts").st_mode & 0o077 == 0


def test_two_processes_leave_a_book_that_is_whole(tmp_path, tree):
    for number in range(300):
        (tree / f"m{number}.py").write_text(f"x = {number}\n")
    text = (
        "import os, sys, time\n"
        "from jobsys.known import Known\n"
        "from jobsys.tree import Member, read_members\n"
        "facts, tree = sys.argv[1:]\n"
        "for _ in range(10):\n"
        "    known = Known(facts, tree, lambda: 2**62)\n"
        "    read_members([Member(n, 'file', os.path.join(tree, n)) for n in os.listdir(tree)], known)\n"
        "    known.note_imports(os.urandom(32), ('x',))\n"
        "    known.save()\n"
    )
    command = [sys.executable, "-c", text, str(tmp_path / "facts"), str(tree)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    known = Known(str(tmp_path / "facts"), str(tree))
    assert all(known.look(str(path), path.stat()) is not None for path in tree.iterdir())
    assert len(list((tmp_path / "facts").iterdir())) == 1, "nothing half-written is left"


# ── what is forgotten ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_not_looked_at_is_forgotten_and_a_look_alone_writes_nothing(tmp_path, tree, monkeypatch):
    known = learned(tmp_path, tree)
    digests(tree, known)
    monkeypatch.setattr("jobsys.known.write_whole", lambda *_, **__: pytest.fail("there was nothing to write"))
    known.save()
    monkeypatch.undo()
    gone, status = str(tree / "a.py"), os.stat(tree / "a.py")
    (tree / "a.py").unlink()
    known = Known(str(tmp_path / "facts"), str(tree))
    digests(tree, known)
    known.save()
    assert Known(str(tmp_path / "facts"), str(tree)).look(gone, status) is None


def test_imports_go_by_content(tmp_path, tree):
    known = Known(str(tmp_path / "facts"), str(tree))
    assert known.imports(b"1" * 32) is None
    known.note_imports(b"1" * 32, ("a", "b"))
    known.note_imports(b"2" * 32, ())
    known.save()
    known = Known(str(tmp_path / "facts"), str(tree))
    assert known.imports(b"1" * 32) == ("a", "b")
    assert known.imports(b"2" * 32) == ()


def test_two_trees_share_nothing(tmp_path, tree):
    learned(tmp_path, tree)
    assert Known(str(tmp_path / "facts"), str(tmp_path)).look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_without_a_directory_facts_are_this_process_s(tree):
    known = Known(None, str(tree), clock(tree / "b.py"))
    digests(tree, known)
    known.save()
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is not None


# ── whole trees ──────────────────────────────────────────────────────────────────────────────────────────────────────

SUMMARY = Summary("m" * 32, "s" * 64, 18, 2, "any", "", ("a.py", "b.py"))


def summarised(tmp_path, tree, later=LATER, more=()):
    """Note a summary that rests on the files of a tree, one that is looked into, one that is missing; give what the next process knows."""
    if not (tmp_path / "list").exists():
        (tmp_path / "list").write_text("a.py b.py\n")
    first = Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py", later))
    for path in (tmp_path / "list", tree / "missing"):
        first.watch(str(path))
    digests(tree, first)
    first.note_summary("tree", SUMMARY, map(str, [tree / "a.py", tree / "b.py", tmp_path / "list", tree / "missing", *more]))
    first.save()
    return Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py", later))


def test_a_summary_is_known_as_long_as_nothing_changes_and_opens_no_file(tmp_path, tree, opened):
    known = summarised(tmp_path, tree)
    opened.clear()
    assert known.summary("tree") == SUMMARY
    assert known.summary("other") is None
    assert opened == []


def _set_back(path):
    before = os.stat(path)
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path):
    before = os.stat(path)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _link(path):
    moved = path.rename(path.with_name("moved"))
    path.symlink_to(path.parent.parent / "another")
    (path.parent.parent / "another").write_bytes(moved.read_bytes())


CHANGES = {
    "edited": lambda path: path.write_text("more\n"),
    "set back": _set_back,
    "replaced": _replace,
    "touched": lambda path: os.utime(path),
    "made executable": lambda path: path.chmod(0o755),
    "removed": lambda path: path.unlink(),
    "made a link": _link,
    "made a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["tree/a.py", "tree/b.py", "list"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_file_that_a_summary_rests_on_is_seen(tmp_path, tree, name, change):
    known = summarised(tmp_path, tree)
    CHANGES[change](tmp_path / name)
    assert known.summary("tree") is None


def test_what_was_missing_and_comes_is_seen(tmp_path, tree):
    known = summarised(tmp_path, tree)
    (tree / "missing").write_text("")
    assert known.summary("tree") is None


@pytest.mark.parametrize("field", ["st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_every_stamp_counts_for_a_summary(tmp_path, tree, monkeypatch, field):
    known, real = summarised(tmp_path, tree), os.stat

    def other(path, *rest, **options):
        status = real(path, *rest, **options)
        return _faked(status, **{field: getattr(status, field) + 1}) if str(path).endswith("b.py") else status

    monkeypatch.setattr("os.stat", other)
    assert known.summary("tree") is None
    monkeypatch.undo()
    assert known.summary("tree") == SUMMARY


@pytest.mark.parametrize("later", [0, SETTLED // 2, -LATER, -(10**18)])
def test_a_summary_of_what_changed_just_now_or_in_the_future_is_not_kept(tmp_path, tree, later):
    assert summarised(tmp_path, tree, later).summary("tree") is None


@pytest.mark.parametrize("name", ["tree/a.py", "list"])
def test_one_file_of_the_future_spoils_a_summary(tmp_path, tree, name):
    (tmp_path / "list").write_text("")
    os.utime(tmp_path / name, (2**33, 2**33))
    assert summarised(tmp_path, tree).summary("tree") is None


def test_a_summary_that_rests_on_a_file_nobody_looked_at_is_not_kept(tmp_path, tree):
    (tmp_path / "dangling").symlink_to("nowhere")
    assert summarised(tmp_path, tree, more=[tmp_path / "dangling"]).summary("tree") is None


def test_only_the_first_look_counts(tmp_path, tree):
    """What was read after it may be older than a second one."""
    known = Known(str(tmp_path / "facts"), str(tree), clock(tree / "b.py"))
    known.watch(str(tree / "a.py"))
    (tree / "a.py").write_text("changed while somebody read it\n")
    known.watch(str(tree / "a.py"))
    known.note_summary("tree", SUMMARY, [str(tree / "a.py")])
    assert known.summary("tree") is None


@pytest.mark.parametrize("kind", ["nfs", "9p", ""])
def test_a_summary_on_a_file_system_of_another_machine_is_never_believed(tmp_path, tree, monkeypatch, kind):
    summarised(tmp_path, tree)
    monkeypatch.setattr("jobsys.known._file_system", lambda _: kind)
    assert Known(str(tmp_path / "facts"), str(tree)).summary("tree") is None
    assert summarised(tmp_path, tree).summary("tree") is None


def test_another_version_of_jobsys_believes_no_summary(tmp_path, tree, monkeypatch):
    """It may pack other files."""
    summarised(tmp_path, tree)
    monkeypatch.setattr("jobsys.known._VERSION", module._VERSION + b"x")
    assert Known(str(tmp_path / "facts"), str(tree)).summary("tree") is None


def test_files_are_kept_with_the_summary_that_rests_on_them(tmp_path, tree, opened):
    known = summarised(tmp_path, tree)
    known.summary("tree")
    known.note_imports(b"1" * 32, ())
    known.save()
    known = Known(str(tmp_path / "facts"), str(tree))
    opened.clear()
    assert digests(tree, known) == truth(tree)
    assert opened == []


def test_a_summary_that_nobody_asked_for_is_forgotten_and_one_that_was_writes_nothing(tmp_path, tree, monkeypatch):
    known = summarised(tmp_path, tree)
    known.summary("tree")
    monkeypatch.setattr("jobsys.known.write_whole", lambda *_, **__: pytest.fail("there was nothing to write"))
    known.save()
    monkeypatch.undo()
    Known(str(tmp_path / "facts"), str(tree)).save()
    known = Known(str(tmp_path / "facts"), str(tree))
    assert known.summary("tree") is None
    assert known.look(str(tree / "a.py"), os.stat(tree / "a.py")) is None


def test_names_that_are_no_text_end_nothing(tmp_path, tree):
    odd = tree / os.fsdecode(b"caf\xe9.py")
    odd.write_text("")
    known = Known(str(tmp_path / "facts"), str(tree), clock(odd))
    assert digests(tree, known) == truth(tree)
    known.save()
    assert Known(str(tmp_path / "facts"), str(tree)).look(str(odd), odd.stat()) is None
