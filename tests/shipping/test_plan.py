"""What a run ships, before it is sent: roots, layers, the import path, the limit."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pathspec  # noqa: F401 - before tests put the import path away
import pytest

from jobsys.config import LIMIT
from jobsys.errors import UsageError
from jobsys.shipping import plan as module
from jobsys.shipping.closure import Start
from jobsys.shipping.layers import BEHIND, RUNTIME
from jobsys.shipping.plan import Options, PathEntry, in_environment, largest, make_plan, tags
from shipping.installing import environment, install, wheel  # type: ignore[import-not-found]


def put(root, name, content=""):
    target = Path(root, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content) if isinstance(content, str) else target.write_bytes(content)
    return str(target)


def planned(file, *options, **more):
    start = Start(os.path.dirname(file), file, True)
    return make_plan(start, Options(*options, **more), loaded=False)


@pytest.fixture
def standard():
    """What of the import path every Python has."""
    return [each for each in sys.path if each.startswith(sys.base_prefix) and "packages" not in each]


# ── own code ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_import_path_of_a_worker_is_the_leader_s(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py", "import a, zipped")
    put(tmp_path, "app/src/inner.py")
    put(tmp_path, "lib/a.py")
    put(tmp_path, "elsewhere/unused.py")
    site = environment(tmp_path / "env")
    archive = str(tmp_path / "z.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sub/zipped.py", "")
    entries = ["app", "elsewhere", "lib", "app/src", f"z.zip{os.sep}sub"]
    monkeypatch.setattr(sys, "path", [*(str(tmp_path / each) for each in entries), Path("x"), *standard, str(site), str(tmp_path / "none")])
    plan = planned(main)
    assert [os.path.basename(root.directory) for root in plan.roots] == ["app", "lib", "z.zip"]
    assert plan.path == [
        PathEntry("root", 0, ""),
        PathEntry("other", -1, str(tmp_path / "elsewhere")),
        PathEntry("root", 1, ""),
        PathEntry("root", 0, "src"),
        PathEntry("root", 2, "sub"),
        PathEntry("standard"),
        PathEntry("site", -1, str(site)),
        PathEntry("other", -1, str(tmp_path / "none")),
    ]
    assert plan.locate(str(tmp_path / "app")) == (0, "")
    assert plan.locate(str(tmp_path / "lib")) == (1, "")
    assert plan.locate(str(tmp_path / "elsewhere")) is None
    assert plan.size == sum(os.path.getsize(each) for each in (main, archive))
    assert plan.layers == []


def test_what_a_hook_of_an_editable_install_finds_comes_last(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py", "import hooked")
    put(tmp_path, "work/hooked/__init__.py")

    class Hook:
        @staticmethod
        def find_spec(name, path=None, target=None):
            import importlib.util

            return importlib.util.spec_from_file_location(name, f"{tmp_path}/work/hooked/__init__.py") if name == "hooked" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), *standard])
    plan = planned(main)
    assert [(each.kind, each.root) for each in plan.path] == [("root", 0), ("standard", -1), ("root", 1)]
    assert plan.roots[1].directory == str(tmp_path / "work")


def test_an_entry_that_is_there_twice_counts_where_it_is_first(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), *standard, str(tmp_path / "app"), f"{tmp_path}/app/", f"{tmp_path}/app/."])
    assert [each.kind for each in planned(main).path] == ["root", "standard"]


def test_the_same_project_elsewhere_is_the_same_trees(tmp_path, monkeypatch, standard):
    found = []
    for name in ("one", "deep/two"):
        main = put(tmp_path, f"{name}/app/main.py", "import lib_here")
        put(tmp_path, f"{name}/lib/lib_here.py")
        put(tmp_path, f"{name}/lib/unused_{name[:3]}.py")
        monkeypatch.setattr(sys, "path", [str(tmp_path / name / "app"), str(tmp_path / name / "lib"), *standard])
        plan = planned(main)
        found.append([tree.sha256 for tree in plan.trees])
    assert found[0] == found[1]


def test_a_second_plan_reads_no_file(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py", "import a")
    put(tmp_path, "app/data.bin", "x" * 1000)
    put(tmp_path, "lib/a.py")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), str(tmp_path / "lib"), *standard])
    monkeypatch.setattr("jobsys.known.SETTLED", -(10**12))
    first = planned(main, facts=str(tmp_path / "facts"))
    monkeypatch.setattr("jobsys.tree.open_file", lambda path: pytest.fail(f"{path} was read"))
    assert [tree.sha256 for tree in planned(main, facts=str(tmp_path / "facts")).trees] == [tree.sha256 for tree in first.trees]


# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_too_much_own_code_is_refused_with_what_is_largest(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py")
    for number in range(25):
        put(tmp_path, f"app/data/{number}.bin", b"x" * (1000 + number))
    put(tmp_path, "app/big.bin", b"x" * 30_000)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), *standard])
    with pytest.raises(UsageError) as caught:
        planned(main, limit=40_000)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the script's own code is 55.3 kB, more than the 40 kB of --ship-limit; largest are"
    assert lines[1] == f"   30 kB  {tmp_path}/app/big.bin".rjust(len(lines[1]))
    assert lines[2].split() == ["1.02", "kB", f"{tmp_path}/app/data/24.bin"]
    assert len(lines) == 22
    assert "List what is no code in a .jobsysignore" in lines[-1]
    assert "raise --ship-limit" in lines[-1]
    assert planned(main, limit=60_000).size == 55_300
    put(tmp_path, "app/.jobsysignore", "*.bin\n")
    assert planned(main, limit=40_000).size == 6


def test_the_limit_comes_before_anything_but_sources_is_read(tmp_path, monkeypatch, standard):
    main = put(tmp_path, "app/main.py")
    with Path(put(tmp_path, "app/huge.bin")).open("wb") as file:
        file.truncate(LIMIT + 1)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), *standard])
    monkeypatch.setattr("jobsys.shipping.plan.read_members", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UsageError, match=r"largest are\n *250 MB .*/huge.bin"):
        planned(main)


def test_the_largest_come_first_and_equals_by_name():
    assert largest([("b", 1), ("a", 1), ("c", 2)]) == [("c", 2), ("a", 1), ("b", 1)]


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def layers(plan):
    return {layer.name: sorted(item.entry.path for item in layer.read().items if item.entry.kind == "file") for layer in plan.layers}


def in_layers(plan):
    return {path for paths in layers(plan).values() for path in paths}


@pytest.fixture
def script(tmp_path, monkeypatch):
    main = put(tmp_path, "app/main.py")
    monkeypatch.setattr(module, "in_environment", lambda: True)

    def place(*sites):
        monkeypatch.setattr(sys, "path", [str(tmp_path / "app"), *map(str, sites)])
        return main

    return place


def test_two_environments_share_what_they_share(tmp_path, script):
    sites, plans = [], []
    for name, version in (("one", "1.0"), ("two", "2.0")):
        sites.append(environment(tmp_path / name))
        install(tmp_path / name, wheel(tmp_path, "same", scripts={"same": "same:main"}))
        install(tmp_path / name, wheel(tmp_path, "other", version))
        plans.append(planned(script(sites[-1]), remote=True))
    one, two = ({layer.name: layer.summary.sha256 for layer in plan.layers} for plan in plans)
    assert set(one) == {"other 1.0", "same 1.0", next(name for name in one if name.startswith("jobsys "))}
    assert {name for name in one if one[name] == two.get(name)} == {*one} - {"other 1.0"}
    assert plans[0].system_site is False


def test_jobsys_comes_first_and_what_is_loose_last(tmp_path, script):
    site = environment(tmp_path / "env")
    install(tmp_path / "env", wheel(tmp_path, "z_last"))
    install(tmp_path / "env", wheel(tmp_path, "a_first"))
    put(site, "loose.py")
    names = [layer.name.partition(" ")[0] for layer in planned(script(site), remote=True).layers]
    assert names == ["jobsys", "a_first", "z_last", "files"]


@pytest.mark.parametrize(
    ("environment_option", "inside", "whole"),
    [("auto", True, True), ("auto", False, False), ("always", False, True), ("never", True, False)],
)
def test_whether_the_environment_travels(tmp_path, script, monkeypatch, environment_option, inside, whole):
    site = environment(tmp_path / "env")
    for name in ("msgspec", "unneeded"):
        install(tmp_path / "env", wheel(tmp_path, name, requires=["behind"] if name == "msgspec" else []))
    install(tmp_path / "env", wheel(tmp_path, "behind"))
    main = script(site)
    monkeypatch.setattr(module, "in_environment", lambda: inside)
    plan = planned(main, (), environment_option, remote=True)
    assert ("unneeded 1.0" in layers(plan)) is whole
    assert {"msgspec 1.0", "behind 1.0"} <= set(layers(plan))
    assert plan.system_site is not whole
    assert planned(main, (), environment_option).layers == [], "workers on this host have it"


def test_what_jobsys_needs_is_found_wherever_it_was_installed(tmp_path, script):
    """On PYTHONPATH, without site-packages; and where an operating system has removed the RECORD."""
    install(tmp_path / "t", wheel(tmp_path, "msgspec"))
    target = tmp_path / "t" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    target.rename(tmp_path / "target")
    debian = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    put(debian, "requests/__init__.py")
    put(debian, "requests-2.egg-info/PKG-INFO")
    put(debian, "idna/__init__.py")
    put(debian, "unneeded/__init__.py")
    plan = planned(script(tmp_path / "target", debian), (), "never", remote=True)
    assert {"site/msgspec/__init__.py", "site/requests/__init__.py", "site/idna/__init__.py"} <= in_layers(plan)
    assert not any("unneeded" in path for path in in_layers(plan))
    plan = planned(script(tmp_path / "target", debian), (), "always", remote=True)
    assert {"site/msgspec/__init__.py", "site/unneeded/__init__.py", "site/requests-2.egg-info/PKG-INFO"} <= in_layers(plan)


def test_jobsys_travels_once_with_what_is_known_of_it(tmp_path, script):
    site = environment(tmp_path / "env")
    install(
        tmp_path / "env",
        wheel(tmp_path, "jobsys", files={"jobsys/__init__.py": "", "jobsys/gone.py": ""}, scripts={"jobsys": "jobsys.cli:main"}),
    )
    plan = planned(script(site), remote=True)
    (name,) = layers(plan)
    paths = layers(plan)[name]
    assert "site/jobsys-1.0.dist-info/entry_points.txt" in paths
    assert "site/jobsys/shipping/plan.py" in paths
    assert "site/jobsys/gone.py" not in paths, "it is this very package"


def test_what_a_worker_imports_is_in_what_jobsys_needs():
    """A worker has nothing but what was shipped, also where the environment stays at home."""
    code = (
        "import sys, jobsys.worker.code, jobsys.worker.__main__, jobsys.worker.host, jobsys.batch.agent, jobsys.resource\n"
        "import jobsys.storage.http, jobsys.storage.served, jobsys.thorough, jobsys.jobstores, jobsys.context\n"
        "print(*{n.partition('.')[0] for n, m in sys.modules.items() if 'site-packages' in (getattr(m, '__file__', None) or '')})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    allowed = {*RUNTIME, *BEHIND, "jobsys", "_distutils_hack", "__editable___jobsys_0_1_0_finder"}
    assert {name for name in done.stdout.split() if not name.startswith("_")} <= allowed


def test_platform_tags_of_what_is_native(tmp_path, script):
    site = environment(tmp_path / "env")
    install(tmp_path / "env", wheel(tmp_path, "wheeled", tag="cp311-cp311-manylinux_2_17_x86_64"))
    main = script(site)
    assert tags(planned(main, remote=True)) == ["any", "manylinux_2_17_x86_64"]
    put(tmp_path, "app/own.cpython-311-x86_64-linux-gnu.so")
    assert tags(planned(main)) == ["linux"]
    put(tmp_path, "app/libx.so.1.2")
    assert tags(planned(main)) == ["linux"]


def test_an_environment_is_virtual_or_conda_s(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert not in_environment()
    (tmp_path / "conda-meta").mkdir()
    assert in_environment()
    (tmp_path / "conda-meta").rmdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    assert in_environment()
