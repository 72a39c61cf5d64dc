"""Hostile layers: an environment of them is refused with an error of ours, or stays in its directory and changes nothing else."""

import os
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forging import Forged, forge, seen  # type: ignore[import-not-found]
from jobsys.arrival.assemble import assemble
from jobsys.arrival.environment import MINOR, SITE, Layer
from jobsys.errors import JobsysError
from jobsys.fetch import Wanted, obtain
from jobsys.kept import damage, read_list
from jobsys.manifest import is_inside, manifest_digest
from jobsys.unpack import read_directory

BASE = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
PATHS = st.sampled_from([
    "site/p", "site/p/q", "site/p/q/r", "site/x", "prefix/x", "prefix/p", "prefix/p/q", "prefix/bin", "prefix/bin/python",
    "prefix/bin/tool", "prefix/lib", "prefix/lib/x", "prefix/lib64", "prefix/lib64/x",
    f"prefix/lib/{MINOR}", f"prefix/{SITE}", f"prefix/{SITE}/p",
    "prefix/pyvenv.cfg", "site", "prefix", "site/a.dist-info/entry_points.txt", "other", "site/lib64", "prefix/site", "prefix/env/x",
])  # fmt: skip
GOALS = st.sampled_from([
    "p", "..", "../..", "../../..", "../site", "../prefix", "../prefix/x", "../../prefix/x", "../site/p", "../../site",
    "../../prefix/lib64/x", "../other", "x", "q", "../p", "../../prefix/bin/python", "site", "prefix", "../env/x", "../../prefix/p/q",
])  # fmt: skip
SCRIPTS = st.sampled_from([
    "tool = m:f", "../x = m:f", "/x = m:f", ".. = m:f", "a\0b = m:f", f"{'x' * 300} = m:f", "python = m:f", "a = m\n : f", "= m:f",
    "é = m:f", "a/b = m:f", "tool = import os;os.x:f", "[console_scripts]", "  x", "a",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + " = m:f",
]).map(lambda line: f"[console_scripts]\n{line}\n".encode())  # fmt: skip
CONTENTS = st.sampled_from([b"", b"1", b"#!python\n", b"#!python x\n1", b"#!pythonw", b"\0" * 100]) | SCRIPTS


@st.composite
def layers(draw):
    """Give a layer's entries; directories that are needed are there mostly."""
    found = {}
    for path in draw(st.lists(PATHS, min_size=1, max_size=6)):
        kind = draw(st.sampled_from(["file", "file", "link", "link", "directory"]))
        content = draw(GOALS).encode() if kind == "link" else draw(CONTENTS) if kind == "file" else b""
        for depth in range(1, path.count("/") + 1):
            above = "/".join(path.split("/")[:depth])
            found[above] = Forged(above.encode(), "directory", b"", {"mode": 0o755})
        found.setdefault(path, Forged(path.encode(), kind, content, {"mode": draw(st.sampled_from([0, 0o644, 0o755]))}))
    return [found[path] for path in sorted(found, key=os.fsencode)]


def attack(here, each):
    """Obtain layers and assemble them; give the environment, or the refusal."""
    cache = here / "cache"
    (cache / "code").mkdir(parents=True)
    (here / "outside").mkdir()
    (here / "outside" / "secret").write_text("untouched")
    before = seen(here, without=cache)
    places = []
    try:
        for number, made in enumerate(each):
            places.append(_obtained(cache, f"layer{number}", forge(made)))
        environment = assemble(places, root=str(cache), python=BASE, system_site=False)
    except JobsysError as error:
        assert not [name for _, names, _ in os.walk(cache) for name in names if name.startswith("env-") or ".part-" in name]
        return error
    finally:
        assert seen(here, without=cache) == before
        for layer in places:
            kept = read_list(layer.place)
            assert damage(f"{layer.place}/{layer.name}", kept, alone=True) is None, "a layer was changed"
    check(environment)
    return environment


def _obtained(cache, name, archive):
    path = cache / f"{name}.zip"
    path.write_bytes(archive)
    digest = manifest_digest(packed.entry for packed in read_directory(str(path)))
    place = str(cache / "code" / f"{digest.sha256}-{name}")
    obtain(Wanted(f"file://{path}", name, digest.md5, digest.sha256, archive=True), place)
    return Layer(place, name, digest.sha256)


def check(environment):
    base = Path(environment.path)
    kept = read_list(environment.place)
    assert sorted(os.listdir(environment.place)) == [".jobsys-manifest", "env"]
    assert damage(environment.path, kept, alone=True) is None
    for each in kept:
        path = base / each.path
        if each.kind == "link":
            goal = os.path.realpath(path)
            assert is_inside(goal, os.path.realpath(base)) or goal == BASE, f"{each.path} leads outside, to {os.readlink(path)}"
        elif each.kind == "file":
            assert sha256(path.read_bytes()).hexdigest() == each.sha256
    for name in ("python", "python3", MINOR):
        assert os.readlink(base / "bin" / name) == BASE
    assert (base / "pyvenv.cfg").read_text().startswith("home = ")
    assert not (base / SITE).is_symlink()


@settings(deadline=None, max_examples=250)
@given(st.lists(layers(), min_size=1, max_size=3))
def test_an_environment_of_hostile_layers_stays_where_it_is(each):
    with tempfile.TemporaryDirectory() as directory:
        attack(Path(os.path.realpath(directory)), each)


def site(*entries):
    return [Forged(b"site", "directory"), *entries]


def test_a_file_below_what_another_layer_has_as_a_link_is_left_out(tmp_path):
    linked = site(Forged(b"site/p", "link", b"q"), Forged(b"site/q", "directory"))
    below = site(Forged(b"site/p", "directory"), Forged(b"site/p/evil", "file", b"1"))
    environment = attack(tmp_path, [linked, below])
    assert os.readlink(f"{environment.site}/p") == "q"
    assert os.listdir(f"{environment.site}/q") == []


@pytest.mark.parametrize(
    ("path", "goal", "moved"),
    [
        ("prefix/l", "../prefix/x", "x"),
        ("prefix/p/l", "../../prefix/x", "../x"),
        ("site/l", "../site/x", "x"),
        ("site/p/l", "../x", "../x"),
        ("prefix/l", "../site/x", f"{SITE}/x"),
    ],
)
def test_a_link_by_way_of_the_layers_own_directories_stays_inside(tmp_path, path, goal, moved):
    folders = sorted({"/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)})
    made = [*(Forged(folder.encode(), "directory") for folder in folders), Forged(path.encode(), "link", goal.encode())]
    environment = attack(tmp_path, [made])
    place = Path(environment.site if path.startswith("site/") else environment.path, path.partition("/")[2])
    assert os.readlink(place) == moved


@pytest.mark.parametrize("goal", ["..", "../other", "../../x"])
def test_a_link_out_of_the_layer_is_refused(tmp_path, goal):
    assert isinstance(attack(tmp_path, [site(Forged(b"site/l", "link", goal.encode()))]), JobsysError)


@pytest.mark.parametrize("name", [b"a\0b", b"x" * 300, b"../x", b".."])
def test_a_console_script_whose_name_no_file_can_have_is_not_made(tmp_path, name):
    text = b"[console_scripts]\n" + name + b" = m:f\ngood = m:f\n"
    metadata = Forged(b"site/a.dist-info", "directory")
    environment = attack(tmp_path, [site(metadata, Forged(b"site/a.dist-info/entry_points.txt", "file", text))])
    assert sorted(os.listdir(environment.bin)) == ["good", "python", "python3", MINOR]


def test_entry_points_that_are_no_file_declare_nothing(tmp_path):
    metadata = Forged(b"site/a.dist-info", "directory")
    for number, kind in enumerate(("directory", "link")):
        content = b"gone" if kind == "link" else b""
        environment = attack(tmp_path / kind, [site(metadata, Forged(b"site/a.dist-info/entry_points.txt", kind, content))])
        assert sorted(os.listdir(environment.bin)) == ["python", "python3", MINOR], number


def test_a_directory_that_nobody_may_enter_can_still_be_filled(tmp_path):
    folder = Forged(b"site/p", "directory", b"", {"mode": 0})
    environment = attack(tmp_path, [site(folder, Forged(b"site/p/m.py", "file", b"1"))])
    assert os.stat(f"{environment.site}/p").st_mode & 0o700 == 0o700
    assert Path(environment.site, "p/m.py").read_bytes() == b"1"
