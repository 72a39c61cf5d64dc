"""Which roots a script needs, and what of them: from what is loaded, from what its sources name, and from what was asked for."""

import importlib
import importlib.util
import os
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobsys.errors import UsageError
from jobsys.manifest import PackageError
from jobsys.shipping.closure import Closure, Start
from jobsys.shipping.imports import marked
from jobsys.shipping.origins import import_path


@pytest.fixture
def path(monkeypatch):
    """Set directories at the head of the import path."""
    before = list(sys.path)

    def put(*directories):
        monkeypatch.setattr(sys, "path", [*map(str, directories), *before])
        importlib.invalidate_caches()

    return put


def put(root, name, text=""):
    target = Path(root, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return str(target)


def closure(start, *asked, loaded=False):
    found = Closure(start, import_path())
    found.add_asked(asked)
    if loaded:
        found.add_loaded()
    found.follow()
    return found


def script(file, whole=True):
    return Start(os.path.dirname(file), str(file), whole)


def shown(found):
    """What travels of each root, by its directory's name."""
    return {os.path.basename(each.directory): sorted(m.path for m in each.scan() if m.kind != "directory") for each in found.ordered()}


def test_what_a_script_names_and_what_that_names_in_turn(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import first")
    put(tmp_path, "app/data.txt")
    put(tmp_path, "lib/first.py", "def f():\n  from second.deep import x")
    put(tmp_path, "lib/second/__init__.py")
    put(tmp_path, "lib/second/deep.py", "import importlib; importlib.import_module('third')")
    put(tmp_path, "lib/second/table.csv")
    put(tmp_path, "more/third.py", "import json, pytest, first, nowhere")
    put(tmp_path, "lib/unused.py", "import fourth")
    put(tmp_path, "more/fourth.py")
    path(tmp_path / "app", tmp_path / "lib", tmp_path / "more")
    found = closure(script(main))
    assert shown(found) == {
        "app": ["data.txt", "main.py"],
        "lib": ["first.py", "second/__init__.py", "second/deep.py", "second/table.csv"],
        "more": ["third.py"],
    }
    lib = found.roots[str(tmp_path / "lib")]
    assert lib.names == {"first.py": "imported by main.py", "second": "imported by first.py"}


def test_what_is_loaded_travels_too(tmp_path, path, monkeypatch):
    put(tmp_path, "lib/loaded_by_test.py", "import behind_it")
    put(tmp_path, "lib/behind_it.py")
    path(tmp_path / "lib")
    spec = importlib.util.find_spec("loaded_by_test")
    assert spec is not None
    monkeypatch.setitem(sys.modules, "loaded_by_test", importlib.util.module_from_spec(spec))
    monkeypatch.setitem(sys.modules, "loaded_by_test.inner", object())
    found = closure(Start("", "", False), loaded=True).roots[str(tmp_path / "lib")]
    assert found.names == {"loaded_by_test.py": "loaded by the script", "behind_it.py": "imported by loaded_by_test.py"}


def test_of_a_directory_of_the_system_only_what_is_needed(tmp_path, path, monkeypatch):
    main = put(tmp_path, "shared/main.py", "import beside")
    for name in ("beside.py", "other.py", "notes.txt"):
        put(tmp_path, f"shared/{name}")
    (tmp_path / "link").symlink_to("shared")
    path(tmp_path / "shared", tmp_path / "link")
    monkeypatch.setattr("jobsys.tree._SYSTEM", str(tmp_path / "shared"))
    assert shown(closure(script(main))) == {"shared": ["beside.py", "main.py"]}
    assert shown(closure(script(str(tmp_path / "link" / "main.py"))))["link"] == ["main.py"], "also by way of a link"


def test_of_site_packages_only_the_script(tmp_path, path):
    main = put(tmp_path, "site-packages/tool.py")
    put(tmp_path, "site-packages/installed.py")
    path(tmp_path / "site-packages")
    assert shown(closure(script(main))) == {"site-packages": ["tool.py"]}


def test_a_module_that_is_run_brings_its_package(tmp_path, path):
    put(tmp_path, "src/pkg/__init__.py")
    put(tmp_path, "src/pkg/__main__.py", "from pkg import x; import helper")
    put(tmp_path, "src/helper.py")
    put(tmp_path, "src/setup.py")
    path(tmp_path / "src")
    found = closure(Start("", str(tmp_path / "src" / "pkg" / "__main__.py"), False, ("pkg",)))
    assert shown(found) == {"src": ["helper.py", "pkg/__init__.py", "pkg/__main__.py"]}


def test_a_script_that_is_no_python_and_modules_that_can_t_be_parsed(tmp_path, path):
    main = put(tmp_path, "app/main", "this is no python {")
    put(tmp_path, "app/broken.py", "def (")
    Path(tmp_path, "app", "latin.py").write_bytes("# coding: latin-1\nimport lib_l # é".encode("latin-1"))
    Path(tmp_path, "app", "bom.py").write_bytes(b"\xef\xbb\xbfimport lib_b")
    Path(tmp_path, "app", "window.pyw").write_text("import lib_w")
    for name in ("lib_l", "lib_b", "lib_w"):
        put(tmp_path, f"lib/{name}.py")
    path(tmp_path / "app", tmp_path / "lib")
    assert shown(closure(script(main)))["lib"] == ["lib_b.py", "lib_l.py", "lib_w.py"]


def test_a_module_under_another_file_name_stands_where_import_looks(tmp_path, path, monkeypatch):
    """An editable install may map a package to any directory, also to one below the script's."""
    main = put(tmp_path, "app/main.py")
    for place in ("app/lib", "work/trunk"):
        put(tmp_path, f"{place}/__init__.py", "import behind")
    put(tmp_path, "more/behind.py")
    path(tmp_path / "app", tmp_path / "more")
    for name, place in (("mapped_in", "app/lib"), ("mapped_out", "work/trunk")):
        folder = str(tmp_path / place)
        spec = importlib.util.spec_from_file_location(name, f"{folder}/__init__.py", submodule_search_locations=[folder])
        assert spec is not None
        monkeypatch.setitem(sys.modules, name, importlib.util.module_from_spec(spec))
    found = shown(closure(script(main), loaded=True))
    assert found["app"] == ["lib/__init__.py", "main.py", "mapped_in/__init__.py"]
    assert found["work"] == ["mapped_out/__init__.py"]
    assert found["more"] == ["behind.py"]


# ── archives ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_archive_travels_whole_and_its_sources_are_read(tmp_path, path):
    archive = str(tmp_path / "app.pyz")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", "import inside, outside")
        file.writestr("inside/__init__.py", "import further")
    for name in ("outside", "further"):
        put(tmp_path, f"lib/{name}.py")
    path(archive, tmp_path / "lib")
    found = closure(Start(archive, "", True))
    assert shown(found) == {"app.pyz": ["app.pyz"], "lib": ["further.py", "outside.py"]}


def test_an_archive_that_can_t_be_read(tmp_path, path):
    bad = put(tmp_path, "bad.zip", "PK no")
    with pytest.raises(PackageError, match=r"/bad\.zip can't be read as an archive of modules"):
        closure(Start(bad, "", True))


# ── what was asked for ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_asked_for_travels_where_it_would_be_imported_from(tmp_path, path):
    main = put(tmp_path, "app/main.py")
    put(tmp_path, "app/.jobsysignore", "secret*\n")
    put(tmp_path, "app/secret.txt")
    put(tmp_path, "lib/plugins/a.py", "import behind")
    put(tmp_path, "lib/behind.py")
    put(tmp_path, "far/table.csv")
    path(tmp_path / "app", tmp_path / "lib")
    assert shown(closure(script(main)))["app"] == [".jobsysignore", "main.py"]
    found = closure(
        script(main), str(tmp_path / "app" / "secret.txt"), str(tmp_path / "lib" / "plugins"), str(tmp_path / "far" / "table.csv")
    )
    assert shown(found) == {
        "app": [".jobsysignore", "main.py", "secret.txt"], "lib": ["behind.py", "plugins/a.py"], "far": ["table.csv"],
    }  # fmt: skip


def test_a_directory_of_the_import_path_that_was_asked_for_travels_whole(tmp_path, path, monkeypatch):
    put(tmp_path, "lib/a.py", "import behind")
    put(tmp_path, "lib/data.bin")
    put(tmp_path, "more/behind.py")
    path(tmp_path / "lib", tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    assert shown(closure(Start("", "", False), "lib/")) == {"lib": ["a.py", "data.bin"], "more": ["behind.py"]}


def test_a_directory_around_the_script_travels_whole_with_the_script_in_its_place(tmp_path, path):
    main = put(tmp_path, "all/bin/flow.py", "import helper")
    put(tmp_path, "all/src/helper.py")
    put(tmp_path, "all/conf/p.yaml")
    path(tmp_path / "all" / "bin", tmp_path / "all" / "src")
    found = closure(script(main), str(tmp_path / "all"))
    assert shown(found) == {"all": ["bin/flow.py", "conf/p.yaml", "src/helper.py"]}
    whole = found.roots[str(tmp_path / "all")]
    assert [found.outer(found.roots[str(tmp_path / "all" / each)]) for each in ("bin", "src")] == [whole, whole]


def test_a_package_around_an_entry_of_the_import_path_stays_a_package(tmp_path, path):
    main = put(tmp_path, "app/main.py")
    put(tmp_path, "lib/pkg/__init__.py")
    put(tmp_path, "lib/pkg/vendor/inner.py")
    path(tmp_path / "app", tmp_path / "lib", tmp_path / "lib" / "pkg" / "vendor")
    found = closure(script(main), str(tmp_path / "lib" / "pkg"))
    assert shown(found) == {"app": ["main.py"], "lib": ["pkg/__init__.py", "pkg/vendor/inner.py"]}


def test_what_lies_beside_the_script_s_directory_stays_beside_it(tmp_path, path):
    main = put(tmp_path, "all/bin/flow.py")
    put(tmp_path, "all/conf/p.yaml")
    put(tmp_path, "all/more.txt")
    path(tmp_path / "all" / "bin")
    assert shown(closure(script(main), str(tmp_path / "all" / "conf"))) == {"bin": ["flow.py"], "all": ["conf/p.yaml"]}


def test_what_was_asked_for_and_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"--ship .*/none: there is no such file or directory"):
        closure(Start("", "", False), str(tmp_path / "none"))


def test_modules_that_are_nowhere_but_for_what_can_be_done_without(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import near, nowhere_a, json, winreg\ntry:\n  import nowhere_b\nexcept ImportError: pass")
    put(tmp_path, "app/near.py", "import nowhere_c, nowhere_a, asked_for")
    put(tmp_path, "far/asked_for.py")
    path(tmp_path / "app")
    found = closure(script(main), str(tmp_path / "far" / "asked_for.py"))
    assert found.not_found() == {"nowhere_a": "imported by main.py", "nowhere_c": "imported by near.py"}


# ── entry points ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("editable", [True, False])
def test_what_entry_points_of_an_editable_distribution_name_travels(tmp_path, path, editable):
    info = "lib/site-packages/mono_plug-1.0.dist-info"
    put(tmp_path, f"{info}/RECORD")
    put(tmp_path, f"{info}/entry_points.txt", "[console_scripts]\ntool = cmd_here.main:run [fast]\n\n# a=b\n[any.group]\nx = plug_here\n")
    put(tmp_path, f"{info}/direct_url.json", '{"dir_info": {"editable": true}}' if editable else '{"dir_info": {}}')
    put(tmp_path, "work/plug_here/__init__.py", "import behind_it")
    put(tmp_path, "work/cmd_here/main.py")
    put(tmp_path, "work/behind_it.py")
    path(tmp_path / "lib" / "site-packages", tmp_path / "work")
    found = Closure(Start("", "", False), import_path())
    found.add_entry_points()
    found.follow()
    names = found.roots[str(tmp_path / "work")].names if editable else {}
    asked = {"cmd_here": "an entry point of mono-plug", "plug_here": "an entry point of mono-plug"}
    assert names == (asked | {"behind_it.py": "imported by plug_here/__init__.py"} if editable else {})
    assert editable or str(tmp_path / "work") not in found.roots


# ── roots in roots ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_root_inside_one_that_travels_whole_goes_with_it(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import inner")
    put(tmp_path, "app/src/inner.py", "import outer")
    put(tmp_path, "lib/outer.py")
    path(tmp_path / "app", tmp_path / "app" / "src", tmp_path / "lib")
    found = closure(script(main))
    assert sorted(shown(found)) == ["app", "lib"]
    assert found.outer(found.roots[str(tmp_path / "app" / "src")]) is found.roots[str(tmp_path / "app")]


@pytest.mark.parametrize("folder", ["__pypackages__/3/lib", "node_modules/lib", "env/lib", ".tox/x"])
def test_a_root_that_is_left_out_of_the_one_around_it_travels_on_its_own(tmp_path, path, folder):
    main = put(tmp_path, "app/main.py", "import inner")
    put(tmp_path, f"app/{folder}/inner.py")
    put(tmp_path, f"app/{folder}/unused.py")
    put(tmp_path, "app/env/pyvenv.cfg")
    path(tmp_path / "app", tmp_path / "app" / folder)
    assert shown(closure(script(main))) == {"app": ["main.py"], os.path.basename(folder): ["inner.py"]}


def test_what_a_jobsysignore_names_stays_left_out_although_it_is_imported(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import inner")
    put(tmp_path, "app/private/inner.py")
    put(tmp_path, "app/.jobsysignore", "private/\n")
    path(tmp_path / "app", tmp_path / "app" / "private")
    assert shown(closure(script(main))) == {"app": [".jobsysignore", "main.py"]}
    found = shown(closure(script(main), str(tmp_path / "app" / "private")))
    assert found["private"] == ["inner.py"]


def test_a_root_with_something_that_lies_elsewhere_does_not_go_with_another(tmp_path, path):
    main = put(tmp_path, "app/main.py")
    put(tmp_path, "app/src/a.py")
    path(tmp_path / "app", tmp_path / "app" / "src")
    found = closure(script(main), str(tmp_path / "app" / "src" / "a.py"))
    assert shown(found) == {"app": ["main.py", "src/a.py"], "src": ["a.py"]}


def test_roots_come_in_the_order_of_the_import_path(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import a, b, c")
    for name in "cab":
        put(tmp_path, f"{name}_dir/{name}.py")
    path(tmp_path / "c_dir", tmp_path / "app", tmp_path / "b_dir", tmp_path / "c_dir", tmp_path / "a_dir")
    assert list(shown(closure(script(main)))) == ["c_dir", "app", "b_dir", "a_dir"]


# ── what is remembered ───────────────────────────────────────────────────────────────────────────────────────────────


def test_sources_are_parsed_once(tmp_path, path, monkeypatch):
    put(tmp_path, "app/a.py", "import b")
    put(tmp_path, "app/b.py", "import further")
    put(tmp_path, "lib/further.py")
    path(tmp_path / "app", tmp_path / "lib")
    parsed: list[bytes] = []

    def counted(source):
        parsed.append(source)
        return marked(source)

    monkeypatch.setattr("jobsys.shipping.closure.marked", counted)
    for times in (3, 0):
        parsed.clear()
        found = Closure(Start(str(tmp_path / "app"), "", True), import_path(), str(tmp_path / "facts"))
        found.follow()
        found.save()
        assert len(parsed) == times
        assert sorted(shown(found)) == ["app", "lib"]


# ── against a model ──────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    homes=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=8, max_size=8),
    edges=st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 8), max_size=3), max_size=8),
    begin=st.sets(st.integers(0, 7), max_size=2),
)
def test_the_closure_is_what_can_be_reached(tmp_path_factory, homes, edges, begin):
    base = tmp_path_factory.mktemp("graph")
    for number, (home, package) in enumerate(homes):
        text = "".join(f"def f{each}():\n  import m{each}x.sub\n" for each in sorted(edges.get(number, ())))
        put(base, f"r{home}/m{number}x/deep/er.py" if package else f"r{home}/m{number}x.py", text)
        if package:
            put(base, f"r{home}/m{number}x/__init__.py")
    main = put(base, "app/main.py", "".join(f"import m{each}x\n" for each in sorted(begin)))
    reached, todo = set(), set(begin)
    while todo:
        reached |= todo
        todo = {each for one in todo for each in edges.get(one, ()) if each < len(homes)} - reached
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(base / each) for each in ("app", "r0", "r1", "r2")] + sys.path)
        importlib.invalidate_caches()
        found = closure(script(main))
    names = {(os.path.basename(each.directory), name) for each in found.ordered() if not each.whole for name in each.names}
    assert names == {(f"r{homes[each][0]}", f"m{each}x" + ("" if homes[each][1] else ".py")) for each in reached}


def test_what_is_installed_and_imported_is_named(tmp_path, path):
    main = put(tmp_path, "app/main.py", "import json, msgspec, beside\ntry:\n    import psutil\nexcept ImportError:\n    psutil = None\n")
    put(tmp_path, "app/beside.py", "def later(): import dill")
    path(tmp_path / "app")
    assert closure(script(main)).installed() == {"dill": "imported by beside.py", "msgspec": "imported by main.py"}
