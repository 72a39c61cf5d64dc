"""Environments out of layers: what is where, that it runs, and that damage is found and mended."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from arrival.layers import layer  # type: ignore[import-not-found]
from jobsys.arrival.assemble import assemble
from jobsys.arrival.environment import SITE
from jobsys.errors import JobsysError
from jobsys.kept import read_list

BASE = os.path.realpath(getattr(sys, "_base_executable"))  # noqa: B009 - mypy does not know it
TOOL = {
    "site/tool/__init__.py": "import sys\n\n\ndef main():\n    print(sys.prefix, *sys.argv[1:])\n",
    "site/tool/data/x.txt": "some data",
    "site/tool-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1\n",
    "site/tool-1.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
    "prefix/bin/script": ("#!python\nimport tool\ntool.main()\n", 0o755),
    "prefix/bin/shell": ("#!/bin/sh\necho shell\n", 0o755),
    "prefix/share/tool/page.1": "a page",
}


def build(tmp_path, *layers, **options):
    settings: dict[str, Any] = {"python": BASE, "system_site": False} | options
    return assemble(layers, root=str(tmp_path / "cache"), **settings)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.defpath}, cwd="/").stdout


@pytest.fixture
def tool(tmp_path):
    return layer(tmp_path, "tool", TOOL)


def test_an_environment_is_one_to_python_and_its_programs_run(tmp_path, tool):
    environment = build(tmp_path, tool)
    told = "import sys, tool; print(sys.prefix, sys.base_prefix, tool.__file__, sys.version_info[:2])"
    base_prefix = run(BASE, "-I", "-c", "import sys; print(sys.prefix)").strip()
    found = f"{environment.path} {base_prefix} {environment.site}/tool/__init__.py {sys.version_info[:2]}\n"
    for name in ("python", "python3", f"python3.{sys.version_info[1]}"):
        assert run(f"{environment.bin}/{name}", "-c", told) == found
    for name in ("tool", "script"):
        assert run(f"{environment.bin}/{name}", "a b") == f"{environment.path} a b\n"
    assert run(f"{environment.bin}/shell") == "shell\n"
    assert run(environment.python, "-c", "from importlib.metadata import version; print(version('tool'))") == "1\n"
    assert Path(environment.path, "share/tool/page.1").read_text() == "a page"


def test_files_are_shared_with_their_layer_and_what_names_the_environment_is_not(tmp_path, tool):
    environment = build(tmp_path, tool)
    shared, own = Path(environment.site, "tool/data/x.txt"), Path(environment.bin, "script")
    assert shared.samefile(Path(tool.place, "tool/site/tool/data/x.txt"))
    assert own.stat().st_nlink == 1
    assert own.stat().st_mode & 0o777 == 0o755
    assert Path(tool.place, "tool/prefix/bin/script").read_text().startswith("#!python\n")
    assert not Path(environment.site, "tool").is_symlink()
    assert os.readlink(f"{environment.path}/lib64") == "lib"


def test_across_file_systems_files_are_copied(tmp_path, tool, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("jobsys.arrival.assemble.os.link", refuse)
    environment = build(tmp_path, tool)
    assert Path(environment.site, "tool/data/x.txt").stat().st_nlink == 1
    assert run(f"{environment.bin}/shell") == "shell\n"
    assert run(f"{environment.bin}/tool") == f"{environment.path}\n"


def test_the_same_again_is_found_again_and_anything_else_is_not(tmp_path, tool):
    other = layer(tmp_path, "other", {"site/other.py": "1"})
    first = build(tmp_path, tool, other)
    made = os.stat(first.path).st_ino
    assert build(tmp_path, tool, other) == first
    assert os.stat(first.path).st_ino == made
    different = [build(tmp_path, other, tool), build(tmp_path, tool), build(tmp_path, tool, other, system_site=True)]
    assert len({first, *different}) == 4
    assert "include-system-site-packages = true\n" in Path(different[-1].path, "pyvenv.cfg").read_text()


def test_the_first_layer_wins_and_only_a_difference_is_told(tmp_path, caplog):
    one = layer(tmp_path, "one", {"site/same.py": "x", "site/differs.py": "one", "site/p": "file"})
    two = layer(tmp_path, "two", {"site/same.py": "x", "site/differs.py": "two", "site/p/deep/q.py": "below", "site/n/two.py": "2"})
    three = layer(tmp_path, "three", {"site/n/three.py": "3", "site/n/two.py/x": "below a file"})
    with caplog.at_level(logging.WARNING):
        environment = build(tmp_path, one, two, three)
    site = Path(environment.site)
    assert (site / "differs.py").read_text() == "one"
    assert (site / "p").read_text() == "file"
    assert sorted(os.listdir(site / "n")) == ["three.py", "two.py"]
    assert "differs.py is in the layers one and two" in caplog.text
    assert "p/deep of the layer two is left out" in caplog.text
    assert "same.py" not in caplog.text


def test_links_stay_links_and_lead_to_the_same_thing(tmp_path):
    files = {
        "site/pkg/real.so": "library",
        "site/pkg/link.so": Path("real.so"),
        "prefix/lib/lib.so": Path("../../site/pkg/real.so"),
        "prefix/lib64/plain.so": "64",
        "site/up": Path("../prefix/lib64/plain.so"),
    }
    environment = build(tmp_path, layer(tmp_path, "native", files))
    base = Path(environment.path)
    assert os.readlink(base / SITE / "pkg/link.so") == "real.so"
    assert (base / "lib/lib.so").is_symlink()
    assert (base / "lib/lib.so").samefile(base / SITE / "pkg/real.so")
    assert (base / SITE / "up").read_text() == "64"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda base: (base / SITE / "tool/__init__.py").write_text("decoy = 1\n"),
        lambda base: (base / SITE / "json.py").write_text("decoy = 1\n"),
        lambda base: (base / "bin/tool").unlink(),
        lambda base: (base / "bin/tool").write_text("#!/bin/sh\necho decoy\n"),
        lambda base: (base / "bin/python").unlink(),
        lambda base: (base / "pyvenv.cfg").write_text("home = /decoy\n"),
        lambda base: (base.parent / ".jobsys-manifest").write_text("0\n[]"),
        lambda base: (base.parent / ".jobsys-manifest").write_text("no list"),
        shutil.rmtree,
    ],
)
def test_a_damaged_environment_is_mended(tmp_path, spoil):
    # a file that is written to is the layer's, too: obtaining the layer again gives it a new one
    tool = layer(tmp_path, "tool", TOOL)
    environment = build(tmp_path, tool)
    spoil(Path(environment.path))
    shutil.rmtree(tmp_path / "trees")
    assert build(tmp_path, layer(tmp_path, "tool", TOOL)) == environment
    assert run(f"{environment.bin}/tool") == f"{environment.path}\n"
    assert not Path(environment.site, "json.py").exists()


def test_bytecode_that_nobody_vouches_for_is_removed_before_it_can_run(tmp_path, tool):
    environment = build(tmp_path, tool)
    run(environment.python, "-c", "import tool")
    [compiled] = Path(environment.site).rglob("tool/__pycache__/*.pyc")
    build(tmp_path, tool)
    assert not compiled.exists()


def test_linking_does_not_make_the_layers_look_changed(tmp_path, tool):
    build(tmp_path, tool)
    for each in read_list(tool.place):
        if each.kind == "file":
            assert os.lstat(f"{tool.place}/tool/{each.path}").st_ctime_ns == each.changed


def test_a_tree_that_is_no_layer_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(JobsysError, match="wrong is no layer: it holds 'lib'"):
        build(tmp_path, layer(tmp_path, "wrong", {"lib/x.py": "1"}))
    assert not [name for name in os.listdir(tmp_path / "cache") if ".part-" in name]
    assert not [name for name in os.listdir(tmp_path / "cache") if name.startswith("env-") and (tmp_path / "cache" / name).is_dir()]


def test_a_path_with_spaces_and_more_than_a_first_line_can_hold(tmp_path):
    root = tmp_path / ("with space " + "x" * 120)
    environment = build(root, layer(root, "tool", TOOL))
    for name in ("tool", "script"):
        assert run(f"{environment.bin}/{name}", "y") == f"{environment.path} y\n"


def test_many_processes_make_one_environment(tmp_path, tool):
    code = f"""
import json, os
from jobsys.arrival.assemble import assemble
from jobsys.arrival.environment import Layer
made = assemble([Layer(*{list(tool)!r})], root={str(tmp_path / "cache")!r}, python={BASE!r}, system_site=False)
print(json.dumps([made.path, os.stat(made.path).st_ino]))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    told = [process.communicate()[0] for process in processes]
    assert len(set(told)) == 1
    assert json.loads(told[0])[0].endswith("/env")


@pytest.mark.slow
def test_twenty_thousand_files_are_assembled_in_seconds(tmp_path):
    files = {f"site/p{number // 100}/sub{number % 5}/m{number}.py": f"x = {number}\n" for number in range(20_000)}
    large = layer(tmp_path, "large", files)
    start = time.monotonic()
    build(tmp_path, large)
    cold = time.monotonic() - start
    assert cold < 15, "ten times what it takes on an idle machine"
