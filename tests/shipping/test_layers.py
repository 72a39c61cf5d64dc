"""Layers: what is known of them without a look into any file, and all the changes that must be seen."""

import os
import sys
from pathlib import Path

import pathspec  # noqa: F401 - before tests put the import path away
import pytest

from jobsys.shipping import distributions
from jobsys.shipping.layers import Environment
from shipping.installing import environment, install, wheel  # type: ignore[import-not-found]

FILES = {
    "full/__init__.py": "x = 1\n",
    "full/data.txt": "words\n",
    "full-1.0.data/scripts/full-tool": "#!python\nprint('tool')\n",
    "full-1.0.data/data/etc/full.conf": "[full]\n",
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An environment of two distributions, in which files settle at once."""
    monkeypatch.setattr("jobsys.known.SETTLED", -(10**12))
    place = environment(tmp_path / "env")
    install(tmp_path / "env", wheel(tmp_path, "full", files=FILES, scripts={"full": "full:main"}))
    install(tmp_path / "env", wheel(tmp_path, "plain"))
    monkeypatch.setattr(sys, "path", [str(place)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return place


@pytest.fixture
def found(tmp_path, site):
    """What a start finds out, and keeps for the next."""

    def find(facts="facts"):
        there = Environment(facts and str(tmp_path / facts), whole=True)
        known = {layer.name for layer in there.layers if layer.known_summary is not None}
        summaries = {layer.name: layer.summary for layer in there.layers}
        there.save()
        return known, summaries

    return find


def test_a_second_start_knows_all_distributions_and_opens_none_of_their_files(found, site, monkeypatch):
    known, first = found()
    assert known == set()
    monkeypatch.setattr(distributions, "read_record", lambda each: pytest.fail(f"the RECORD of {each.name} was read"))
    monkeypatch.setattr("jobsys.shipping.loose.read_record", lambda each: pytest.fail(f"the RECORD of {each.name} was read"))
    monkeypatch.setattr("jobsys.tree.open_file", lambda path: pytest.fail(f"{path} was read"))
    known, second = found()
    assert known == {"full 1.0", "plain 1.0"}
    assert second == first


def test_nothing_is_known_where_nothing_is_kept(found):
    assert found(None)[1] == found(None)[1]
    assert found(None)[0] == set()


def _edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def _more(site):
    (site / "full" / "more.py").write_text("")
    with (site / "full-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("full/more.py,,\n")


def _edited_in_place(site):
    path = site / "full" / "data.txt"
    before = path.stat()
    path.write_text("WORDS\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "a line more in RECORD": _more,
    "a file edited, its time set back": _edited_in_place,
    "a file removed": lambda site: (site / "full" / "data.txt").unlink(),
    "a file made executable": lambda site: (site / "full" / "data.txt").chmod(0o755),
    "a script edited": lambda site: _edit(site.parents[2] / "bin" / "full-tool", "tool'", "other'"),
    "a file of the prefix edited": lambda site: _edit(site.parents[2] / "etc" / "full.conf", "full", "more"),
    "other entry points": lambda site: _edit(site / "full-1.0.dist-info" / "entry_points.txt", "full =", "full-tool ="),
    "other platforms": lambda site: _edit(site / "full-1.0.dist-info" / "WHEEL", "any", "linux_x86_64"),
    "editable now": lambda site: (site / "full-1.0.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_in_a_distribution_is_seen_and_the_others_are_still_known(found, site, change):
    _, first = found()
    CHANGES[change](site)
    known, second = found()
    assert known == {"plain 1.0"}
    assert second["full 1.0"] != first["full 1.0"]
    assert second["plain 1.0"] == first["plain 1.0"]
    assert second == found(None)[1], "it is what it would be without anything known"
    assert found()[0] == {"full 1.0", "plain 1.0"}


def test_a_file_that_record_lists_in_vain_may_come_later(found, site):
    (site / "full" / "data.txt").rename(site / "full" / "later")
    _, first = found()
    known, _ = found()
    assert "full 1.0" in known
    (site / "full" / "later").rename(site / "full" / "data.txt")
    known, second = found()
    assert "full 1.0" not in known
    assert second["full 1.0"].count == first["full 1.0"].count + 1


def test_platforms_are_read_anew_though_record_does_not_list_the_file_that_tells_them(found, site):
    record, told = (site / "full-1.0.dist-info" / name for name in ("RECORD", "WHEEL"))
    record.write_text("".join(line for line in record.read_text().splitlines(keepends=True) if "WHEEL" not in line))
    assert found()[1]["full 1.0"].tag == "any"
    _edit(told, "any", "linux_x86_64")
    assert found()[1]["full 1.0"].tag == "linux_x86_64"


def test_a_link_in_place_of_a_file_counts_by_what_it_leads_to(found, site, tmp_path):
    found()
    (tmp_path / "elsewhere").write_text("other words\n")
    (site / "full" / "data.txt").unlink()
    (site / "full" / "data.txt").symlink_to(tmp_path / "elsewhere")
    known, second = found()
    assert known == {"plain 1.0"}
    assert second == found(None)[1]
    (tmp_path / "elsewhere").write_text("words again\n")
    known, third = found()
    assert known == {"plain 1.0"}
    assert third["full 1.0"] != second["full 1.0"]


def test_what_changes_after_it_was_found_and_before_it_is_read_is_not_kept_as_it_was(found, site, tmp_path):
    there = Environment(str(tmp_path / "facts"), whole=True)
    _more(site)
    for layer in there.layers:
        layer.read()
    there.save()
    known, second = found()
    assert known == {"plain 1.0"}
    assert second == found(None)[1]


def test_loose_files_beside_a_known_distribution_are_found(found, site):
    """What is in a namespace package beside it, too."""
    install(site.parents[2], wheel(site.parents[2], "shared", files={"space/mine.py": "x = 1\n"}))
    found()
    (site / "loose.py").write_text("x = 1\n")
    (site / "space" / "theirs.py").write_text("x = 1\n")
    there = Environment(str(site.parents[3] / "facts"), whole=True)
    assert {"full 1.0", "plain 1.0", "shared 1.0"} == {layer.name for layer in there.layers if layer.known_summary}
    paths = {item.entry.path for item in there.layers[-1].read().items if item.entry.kind == "file"}
    assert paths == {"site/loose.py", "site/space/theirs.py"}


def test_a_layer_that_is_read_anew_believes_nothing(found, site, tmp_path, monkeypatch):
    found()
    layer = next(each for each in Environment(str(tmp_path / "facts"), whole=True).layers if each.name == "plain 1.0")
    monkeypatch.setattr("jobsys.known.Known.look", lambda *_: pytest.fail("a fact was believed"))
    before = layer.summary.sha256
    Path(site, "plain", "__init__.py").write_text("x = 2\n")
    assert layer.read(anew=True).sha256 == layer.summary.sha256 != before
