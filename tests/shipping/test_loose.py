"""What of site-packages is no distribution's."""

import os
from pathlib import Path

import pytest

from jobsys.shipping.loose import bare_members, loose_members, package_members
from jobsys.tree import read_members
from shipping.installing import environment, install, wheel  # type: ignore[import-not-found]


@pytest.fixture
def site(tmp_path):
    folder = environment(tmp_path / "env")
    install(tmp_path / "env", wheel(tmp_path, "there"))
    return folder


def write(root, *names, text="x = 1\n"):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files(found):
    return {each.path: each.source for each in found if each.kind == "file"}


def test_what_no_record_names_is_loose(site):
    assert files(loose_members([str(site)])) == {}
    write(site, "single.py", "pack/__init__.py", "pack/data.txt", "Old-1.0.egg-info/PKG-INFO", "bare-1.0.dist-info/METADATA")
    write(site, "there/made_later.txt", "__pycache__/single.pyc", "jobsys/__init__.py", ".env")
    assert sorted(files(loose_members([str(site)]))) == [
        "site/Old-1.0.egg-info/PKG-INFO", "site/bare-1.0.dist-info/METADATA",
        "site/pack/__init__.py", "site/pack/data.txt", "site/single.py",
    ]  # fmt: skip


def test_hooks_of_editable_installs_are_left_out(site):
    write(site, "__editable__.mine-1.0.pth", "__editable___mine_1_0_finder.py", "old.egg-link", text="/somewhere/src\n.\n")
    assert files(loose_members([str(site)])) == {}


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("import mine; mine.install()", True),
        ("import\tmine", True),
        ("# words", True),
        ("", True),
        ("extra", True),
        ("./extra/deep", True),
        ("/home/me/src", False),
        ("../../../../src", False),
        ("extra/../../x", False),
    ],
)
def test_lines_of_a_pth_file_that_lead_out_are_left_out(site, line, stays):
    write(site, "my.pth", text=f"first\n{line}\nlast")
    content = files(loose_members([str(site)]))["site/my.pth"]
    assert content == (f"first\n{line}\nlast" if stays else "first\nlast").encode()


def test_a_line_that_names_a_place_in_site_packages_stays(site):
    write(site, "win.pth", text=f"{site}/win\n{site}-other\n")
    assert files(loose_members([str(site)]))["site/win.pth"] == f"{site}/win\n".encode()


def test_a_pth_file_that_is_a_link(site):
    write(site, "real/my.pth", text="extra\n")
    (site / "my.pth").symlink_to("real/my.pth")
    assert {each.path: each.source for each in loose_members([str(site)]) if each.kind == "link"} == {"site/my.pth": "real/my.pth"}


def test_portions_beside_distributions_of_a_namespace(tmp_path, site):
    install(tmp_path / "env", wheel(tmp_path, "spaced", files={"space/one/__init__.py": "", "space/deep/er/__init__.py": ""}))
    write(site, "space/two/__init__.py", "space/deep/other.py", "space/one/made_later.txt", "space/__pycache__/x.pyc")
    assert sorted(files(loose_members([str(site)]))) == ["site/space/deep/other.py", "site/space/two/__init__.py"]


def test_what_an_earlier_directory_has_hides_what_a_later_one_has(tmp_path, site):
    """As of a user's site before the system's: files of two versions must not mix."""
    later = environment(tmp_path / "later")
    install(tmp_path / "later", wheel(tmp_path, "there", "0.5", files={"there/__init__.py": "", "there/old.py": "", "old_only.py": ""}))
    write(later, "pack/__init__.py", "pack/old.py", "space/b.py", "alone.py")
    write(site, "pack/__init__.py", "space/a.py")
    assert sorted(files(loose_members([str(site), str(later)]))) == [
        "site/alone.py", "site/pack/__init__.py", "site/space/a.py", "site/space/b.py",
    ]  # fmt: skip
    assert not any("old" in path for path in files(loose_members([str(site), str(later)])))


def test_loose_files_are_the_same_elsewhere(tmp_path):
    digests = set()
    for name in ("one", "two"):
        folder = environment(tmp_path / name)
        write(folder, "single.py", "pack/__init__.py")
        write(folder, "easy-install.pth", text=f"{tmp_path}/{name}/src\n./pack\n")
        digests.add(read_members(loose_members([str(folder)])).sha256)
    assert len(digests) == 1


def test_modules_are_found_by_their_names_alone(tmp_path, site):
    write(site, "typing_more.py", "native.cpython-311-x86_64-linux-gnu.so", "pack/__init__.py", "pack/sub/x.py", "packs.py")
    second = tmp_path / "second"
    write(second, "pack/other.py", "late.py")
    found = files(bare_members(["native", "pack", "typing_more", "late", "nowhere"], [str(site), str(second)]))
    assert sorted(found) == [
        "site/late.py", "site/native.cpython-311-x86_64-linux-gnu.so", "site/pack/__init__.py", "site/pack/sub/x.py", "site/typing_more.py",
    ]  # fmt: skip


def test_a_package_that_lies_where_somebody_works_on_it(tmp_path):
    write(tmp_path, "src/mine/__init__.py", "src/mine/py.typed", "src/mine/__pycache__/x.pyc", "src/other.py")
    found = package_members(os.fspath(tmp_path / "src"), "mine")
    assert sorted(files(found)) == ["site/mine/__init__.py", "site/mine/py.typed"]
    assert [each.path for each in found if each.kind == "directory"] == ["site", "site/mine"]
