"""The model of the disk: each thing that may be lost at a power cut is lost in some state, and what is synced in none."""

from random import Random

import pytest

from simulation.disk import Disk, Leaf, materialize  # type: ignore[import-not-found]


def states(disk, count=400):
    """Give the distinct states that a power cut may leave, as text where files are text."""
    random = Random(1)
    found = [disk.after_power_cut(random, random.random(), random.random()) for _ in range(count)]
    found += [disk.after_power_cut(random, names, data) for names in (0, 1) for data in (0, 1)]
    return {tuple(sorted((path, leaf and leaf.data.decode()) for path, leaf in tree.items())) for tree in found}


def test_nothing_that_is_not_synced_need_be_there():
    disk = Disk()
    disk.create("a").write(b"1")
    assert states(disk) == {(), (("a", ""),), (("a", "1"),), (("a", "\0"),)}
    assert disk.now() == {"a": Leaf(b"1", 0o666)}


def test_bytes_and_names_are_synced_apart():
    disk = Disk()
    file = disk.create("a")
    file.write(b"1")
    file.sync()
    assert states(disk) == {(), (("a", "1"),)}
    disk.sync_directory("")
    assert states(disk) == {(("a", "1"),)}
    file.write(b"2")
    assert states(disk) == {(("a", "1"),), (("a", "12"),), (("a", "1\0"),)}


def test_a_large_write_is_torn_anywhere():
    disk = Disk()
    disk.create("a").write(b"x" * 5000)
    disk.sync_directory("")
    lengths = set()
    holes = 0
    for ((_, data),) in states(disk):
        lengths.add(len(data))
        holes += "\0" in data and data.rstrip("\0").count("\0") > 0
        assert set(data) <= {"x", "\0"}
    assert len(lengths) > 20
    assert holes > 20


def test_overwritten_bytes_are_old_or_new():
    disk = Disk({"a": Leaf(b"o" * 1024, 0o644)})
    disk._at("a").write(b"n" * 1024, 0)
    assert {data for ((_, data),) in states(disk)} == {first * 512 + second * 512 for first in "on" for second in "on"}


def test_a_directory_that_is_not_synced_takes_all_with_it():
    disk = Disk()
    disk.mkdir("d")
    file = disk.create("d/a")
    file.sync()
    disk.sync_directory("d")
    assert states(disk) == {(), (("d", None), ("d/a", ""))}
    disk.sync_directory("")
    assert states(disk) == {(("d", None), ("d/a", ""))}


def test_names_change_in_any_order_but_each_in_its_own():
    disk = Disk()
    disk.create("a")
    disk.create("b")
    disk.unlink("a")
    assert states(disk) == {(), (("a", ""),), (("b", ""),), (("a", ""), ("b", ""))}
    disk.sync_directory("")
    assert states(disk) == {(("b", ""),)}


def test_a_rename_replaces_at_once_and_is_held_together():
    disk = Disk({"old": Leaf(b"o", 0o644), "d": None, "d/new": Leaf(b"n", 0o644)})
    disk.rename("d/new", "old")
    before, after = (("d", None), ("d/new", "n"), ("old", "o")), (("d", None), ("old", "n"))
    both = (("d", None), ("d/new", "n"), ("old", "n"))
    assert states(disk) == {before, after, both}
    other = Disk(disk.after_power_cut(Random(1), 0, 0))
    other.rename("d/new", "old")
    other.sync_directory("")
    assert states(other) == {after, both}
    disk.sync_directory("d")
    assert states(disk) == {after}, "the old name is gone for good, so the new one is there"


def test_what_is_synced_and_renamed_is_whole_under_either_name():
    disk = Disk({"d": None})
    file = disk.create("d/t")
    file.write(b"1")
    file.sync()
    disk.link("d/t", "a")
    disk.unlink("d/t")
    for state in states(disk):
        assert {data for path, data in state if path != "d"} <= {"1"}


def test_a_tree_comes_back(tmp_path):
    disk = Disk({"d": None, "d/e": None, "d/e/a": Leaf(b"1", 0o444), "b": Leaf(b"", 0o555)})
    materialize(disk.now(), tmp_path)
    assert (tmp_path / "d/e/a").read_bytes() == b"1"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o555
    assert Disk(disk.now()).now() == disk.now()


def test_what_is_impossible_is_refused():
    disk = Disk({"d": None, "d/a": Leaf(b"", 0o644)})
    for error, action in (
        (FileExistsError, lambda: disk.create("d/a")),
        (FileExistsError, lambda: disk.mkdir("d")),
        (FileExistsError, lambda: disk.link("d/a", "d/a")),
        (FileNotFoundError, lambda: disk.rename("x", "y")),
        (FileNotFoundError, lambda: disk.create("x/y")),
        (NotADirectoryError, lambda: disk.create("d/a/b")),
        (IsADirectoryError, lambda: disk.unlink("d")),
        (OSError, lambda: disk.rmdir("d")),
        (NotADirectoryError, lambda: disk.sync_directory("d/a")),
    ):
        with pytest.raises(error):
            action()
