"""Installed distributions as layers: the same wherever and however they were installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.manifest import PackageError
from jobsys.shipping import distributions
from jobsys.shipping.distributions import Distribution, closure, installed, is_editable, members, normal, platform_tag, requirements
from jobsys.tree import read_members
from shipping.installing import environment, install, wheel  # type: ignore[import-not-found]


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def layer(site, name):
    (each,) = [each for each in installed([str(site)]) if each.key == name]
    return read_members(members(each))


def contents(tree):
    found = {}
    for entry, source, _ in tree.items:
        if entry.kind == "file":
            found[entry.path] = source if isinstance(source, bytes) else Path(source).read_bytes()
    return found


FULL = {
    "full/__init__.py": "import full.sub\n",
    "full/sub.py": "x = 1\n",
    "full/data/table.csv": "1,2\n",
    "full/native.so": "\x7fELF",
    "full/with,comma.txt": "a\n",
    "full-1.0.data/scripts/full-tool": "#!python\nprint('tool')\n",
    "full-1.0.data/scripts/full-shell": "#!/bin/sh\necho shell\n",
    "full-1.0.data/data/share/full/help.txt": "#!not a script of bin python\n",
    "full-1.0.data/data/etc/full.conf": "[full]\n",
}


def test_a_distribution_is_the_same_layer_in_two_environments(tmp_path, wheels):
    path = wheel(wheels, "full", files=FULL, scripts={"full": "full.sub:main"})
    digests = set()
    for name in ("one", "two/bin/three"):
        site = environment(tmp_path / name)
        install(tmp_path / name, path)
        digests.add(layer(site, "full").sha256)
    assert len(digests) == 1
    files = contents(layer(site, "full"))
    assert sorted(files) == [
        "prefix/bin/full-shell", "prefix/bin/full-tool", "prefix/etc/full.conf", "prefix/share/full/help.txt",
        "site/full-1.0.dist-info/METADATA", "site/full-1.0.dist-info/RECORD", "site/full-1.0.dist-info/WHEEL",
        "site/full-1.0.dist-info/entry_points.txt", "site/full/__init__.py", "site/full/data/table.csv", "site/full/native.so",
        "site/full/sub.py", "site/full/with,comma.txt",
    ]  # fmt: skip
    assert files["prefix/bin/full-tool"] == b"#!python\nprint('tool')\n"
    assert files["prefix/bin/full-shell"] == b"#!/bin/sh\necho shell\n"
    record = files["site/full-1.0.dist-info/RECORD"].decode()
    assert '"full/with,comma.txt",sha256=' in record
    assert "full-1.0.dist-info/RECORD,,\n" in record
    for word in ("..", "INSTALLER", "pyc", str(tmp_path)):
        assert word not in record
    assert all(str(tmp_path).encode() not in content for content in files.values())


def test_a_changed_distribution_changes_its_own_layer_only(tmp_path, wheels):
    site = environment(tmp_path / "env")
    for name in ("a", "b"):
        install(tmp_path / "env", wheel(wheels, name))
    before = {name: layer(site, name).sha256 for name in ("a", "b")}
    (site / "a" / "__init__.py").write_text("version = 'mended by hand'\n")
    after = {name: layer(site, name).sha256 for name in ("a", "b")}
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


@pytest.mark.parametrize(
    ("start", "neutral"),
    [
        ("#!/a/bin/python\n", True),
        ("#!/a/bin/python3.12 -I\n", True),
        ("#!/usr/bin/env python3\n", True),
        ("#!/a/bin/pythonw\n", True),
        ("#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\n", True),
        ("#!/bin/bash\n", False),
        ("#!/usr/bin/perl # like python scripts\n", False),
        ("\x7fELF", False),
        ("", False),
    ],
)
def test_first_lines_of_scripts(tmp_path, wheels, start, neutral):
    environment(tmp_path / "env")
    install(tmp_path / "env", wheel(wheels, "s", files={"s-1.0.data/scripts/tool": "x"}))
    tool = tmp_path / "env" / "bin" / "tool"
    tool.write_text(start + "body\n")
    site = tmp_path / "env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert contents(layer(site, "s"))["prefix/bin/tool"] == (b"#!python\nbody\n" if neutral else (start + "body\n").encode())


def test_files_that_are_gone_are_left_out_and_odd_lines_lead_nowhere(tmp_path, wheels):
    site = environment(tmp_path / "env")
    info = install(tmp_path / "env", wheel(wheels, "a"))
    with (info / "RECORD").open("a", newline="") as stream:
        stream.write(
            "gone.py,,\r\n/etc/passwd,,\r\n../../../../../../../../../../etc/passwd,,\r\n\r\na/../b.py,,\r\n,,\r\na/x/../../../../c,,\r\n"
        )
    (site / "b.py").write_text("")
    paths = [item.entry.path for item in layer(site, "a").items]
    assert "site/b.py" in paths
    assert not [path for path in paths if "passwd" in path or ".." in path or "gone" in path]


@pytest.mark.parametrize("content", [b"\xff\xfe,,\n", b'"' + b"x" * 200_000])
def test_a_record_that_can_t_be_read(tmp_path, wheels, content):
    site = environment(tmp_path / "env")
    info = install(tmp_path / "env", wheel(wheels, "a"))
    (info / "RECORD").write_bytes(content)
    with pytest.raises(PackageError, match=r"a-1\.0\.dist-info/RECORD can't be understood: .* Install a again"):
        layer(site, "a")


def test_of_two_of_one_name_the_first_counts(tmp_path, wheels):
    sites = []
    for name, version in (("one", "1.0"), ("two", "2.0")):
        sites.append(str(environment(tmp_path / name)))
        install(tmp_path / name, wheel(wheels, "a", version))
    assert [(each.name, each.version) for each in installed(sites)] == [("a", "1.0")]
    with pytest.raises(PackageError, match="/none can't be read"):
        installed([str(tmp_path / "none")])


def test_an_editable_install_ships_what_is_known_of_it_only(tmp_path, wheels):
    digests = set()
    for name in ("one", "two"):
        site = environment(tmp_path / name)
        files = {"__editable___mine_1_0_finder.py": f"MAPPING = {str(tmp_path / name)!r}\n", "__editable__.mine-1.0.pth": "import x\n"}
        info = install(tmp_path / name, wheel(wheels, "mine", files=files, scripts={"mine": "mine:main"}))
        (info / "direct_url.json").write_text(json.dumps({"url": f"file://{tmp_path}/{name}", "dir_info": {"editable": True}}))
        tree = layer(site, "mine")
        digests.add(tree.sha256)
    assert len(digests) == 1, "RECORD has no digest of what names the place"
    assert {Path(path).parent.as_posix() for path in contents(tree)} == {"site/mine-1.0.dist-info"}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"dir_info": null}', '{"dir_info": {"editable": false}}', '{"url": "x"}', "\xff"])
def test_what_is_not_editable(tmp_path, text):
    if text is not None:
        (tmp_path / "direct_url.json").write_bytes(text.encode("latin-1"))
    assert not is_editable(Distribution("a", "1", str(tmp_path), str(tmp_path)))


@pytest.mark.parametrize(
    ("tags", "platform"),
    [
        ("Tag: py3-none-any", "any"),
        ("Tag: cp311-cp311-manylinux_2_17_x86_64\nTag: cp311-cp311-manylinux2014_x86_64", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ("Tag: cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ("Tag: py2-none-any\r\nTag: py3-none-any\r", "any"),
        ("Generator: x", "linux"),
        (None, "linux"),
    ],
)
def test_platform_tags(tmp_path, tags, platform):
    if tags is not None:
        (tmp_path / "WHEEL").write_text(tags + "\n")
    assert platform_tag(Distribution("a", "1", str(tmp_path), str(tmp_path))) == platform


# ── what requires what ───────────────────────────────────────────────────────────────────────────────────────────────


def test_requirements_are_read_from_the_header(tmp_path, wheels):
    site = environment(tmp_path / "env")
    needs = [
        "B.b>=1,<2",
        "c[x,y]; python_version>'3'",
        "d (>=2)",
        "e; extra == 'test'",
        "f @ https://example.org/f.whl",
        "g~=1.0;os_name=='nt'",
    ]
    install(tmp_path / "env", wheel(wheels, "a", requires=needs))
    assert requirements(installed([str(site)])[0]) == ["b-b", "c", "d", "f", "g"]


def test_names_are_compared_as_installers_do():
    assert normal("A.b_-C") == "a-b-c"


@given(graph=st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 9)), max_size=8), wanted=st.sets(st.integers(0, 9)))
def test_the_closure_is_what_can_be_reached(graph, wanted):
    reached, todo = set(), set(wanted) & set(graph)
    while todo:
        reached |= todo
        todo = {each for one in todo for each in graph[one] if each in graph} - reached
    known = [Distribution(f"P_{number}", "1", str(number), "") for number in graph]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributions, "requirements", lambda each: [f"p-{number}" for number in graph[int(each.metadata)]])
        found = closure([f"p.{number}" for number in wanted], known)
    assert sorted(each.name for each in found) == sorted(f"P_{number}" for number in reached)


# ── real ones ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_installed_here_can_be_read():
    """Whatever made the wheels and installed them."""
    from jobsys.shipping.origins import site_directories

    there = {each.key: each for each in installed(site_directories())}
    assert {"pytest", "msgspec", "jobsys"} <= set(there)
    for name in ("pytest", "msgspec", "requests"):
        paths = [member.path for member in members(there[name])]
        assert len(paths) == len(set(paths))
        assert all(path.split("/")[0] in {"site", "prefix"} and ".." not in path.split("/") for path in paths)
    assert "prefix/bin/pytest" not in [member.path for member in members(there["pytest"])], "the worker makes it"
    assert "linux" in platform_tag(there["msgspec"])
    assert set(requirements(there["requests"])) == {"charset-normalizer", "idna", "urllib3", "certifi"}


@pytest.mark.slow
def test_pip_and_this_test_s_installer_make_the_same_layer(tmp_path, wheels):
    path = wheel(wheels, "full", files=FULL, scripts={"full": "full.sub:main"})
    site = environment(tmp_path / "mine")
    install(tmp_path / "mine", path)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, "--prefix", str(tmp_path / "pip"), str(path)], check=True, capture_output=True)
    theirs = tmp_path / "pip" / site.relative_to(tmp_path / "mine")
    assert contents(layer(theirs, "full")) == contents(layer(site, "full"))
    shutil.rmtree(tmp_path / "pip")
