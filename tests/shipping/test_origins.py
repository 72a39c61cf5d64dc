"""Where modules come from, in a process that is made to look odd: modules that lie, paths that are none, finders out of order."""

import importlib.util
import os
import sys
import sysconfig
import types
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from jobsys.shipping import origins
from jobsys.shipping.origins import Place, archive_around, import_path, is_standard, origin_of, own_places, site_directories


def _forget():
    for each in vars(origins).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Ask for the interpreter's directories anew, before and after it is made to look odd."""
    _forget()
    yield
    _forget()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory at the head of the import path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return tmp_path


def loaded(monkeypatch, name, value):
    monkeypatch.setitem(sys.modules, name, value)


def built(name, path, inside=None):
    """Make a module as an import of it would begin."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    assert spec is not None
    return importlib.util.module_from_spec(spec)


def write(path, text="x = 1\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


# ── the path ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_text_in_the_path_is_passed_over_as_import_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(sys, "path", ["", "lib", Path("lib"), b"lib", None, 3, "lib", str(tmp_path / "missing")])
    here = str(tmp_path)
    assert import_path() == [here, f"{here}/lib", f"{here}/lib", f"{here}/missing"]
    assert site_directories() == []
    write(tmp_path / "lib" / "amodule.py")
    assert own_places("amodule") == [Place(f"{here}/lib", "amodule.py", f"{here}/lib/amodule.py")]


def test_site_directories_are_known_by_name_and_by_place(tmp_path, monkeypatch):
    for name in ("a/site-packages", "usr/lib/python3/dist-packages", "plain"):
        (tmp_path / name).mkdir(parents=True)
    paths = [str(tmp_path / name) for name in ("plain", "usr/lib/python3/dist-packages", "a/site-packages", "gone/site-packages")]
    monkeypatch.setattr(sys, "path", [*paths, paths[1], sysconfig.get_path("purelib")])
    assert site_directories() == [paths[1], paths[2], sysconfig.get_path("purelib")]


def test_the_user_s_site_counts_unless_it_is_off(tmp_path, monkeypatch):
    monkeypatch.setattr("site.getusersitepackages", lambda: str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    assert site_directories() == [str(tmp_path)]
    _forget()
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    assert site_directories() == []


def test_what_is_standard():
    library = sysconfig.get_path("stdlib")
    archive = f"{sys.base_prefix}/lib/python{sys.version_info[0]}{sys.version_info[1]}.zip"
    assert is_standard(library)
    assert is_standard(f"{library}/json/__init__.py")
    assert is_standard(archive)
    assert is_standard(f"{archive}/os.py")
    assert not is_standard(f"{library}/site-packages")
    assert not is_standard(f"{library}/dist-packages/foo.py")
    assert not is_standard(f"{library}-mine/foo.py")


def test_a_link_to_a_site_directory_leads_to_what_is_installed(tmp_path, monkeypatch):
    real = tmp_path / "v" / "site-packages"
    write(real / "found.py")
    (tmp_path / "link").symlink_to(real)
    monkeypatch.setattr(sys, "path", [str(real)])
    assert origin_of(str(tmp_path / "link" / "found.py")) == "installed"
    assert origin_of(str(tmp_path / "other.py")) == "own"


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_modules_packages_and_namespaces(project, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    write(project / "single.py")
    write(project / "package" / "__init__.py")
    for base in (project, other):
        write(base / "spread" / f"in_{base.name[:2]}.py")
    here = str(project)
    assert own_places("single") == [Place(here, "single.py", f"{here}/single.py")]
    assert own_places("package") == [Place(here, "package", f"{here}/package")]
    assert own_places("spread") == [Place(str(base), "spread", f"{base}/spread") for base in (project, other)]
    assert own_places("nowhere") == []


def test_a_portion_in_site_packages_is_installed_the_other_is_own(project, tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("v") / "site-packages"
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    write(project / "spread" / "a.py")
    write(site / "spread" / "b.py")
    assert [each.directory for each in own_places("spread")] == [str(project)]


@pytest.mark.parametrize("name", ["sys", "jobsys", "__main__", "json", "os", "pytest", "a b", "a\0b", "a/b", "../x", "", "\udcff"])
def test_what_is_nobody_s_own(name):
    assert own_places(name) == []


@pytest.mark.parametrize("load", [False, True])
def test_a_module_that_hides_a_standard_one_is_own(project, monkeypatch, load):
    path = write(project / "colorsys.py")
    if load:
        loaded(monkeypatch, "colorsys", built("colorsys", path))
    else:
        monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert own_places("colorsys") == [Place(str(project), "colorsys.py", path)]


def test_an_extension_module_keeps_its_suffix(project):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    path = write(project / f"native{suffix}", "")
    assert own_places("native") == [Place(str(project), f"native{suffix}", path)]


def test_a_module_under_another_file_name_is_grafted(project, monkeypatch):
    path = write(project / "elsewhere" / "real_name.py")
    package = write(project / "trunk" / "__init__.py")
    for name, where, inside in (("mapped", path, None), ("tree", package, [str(project / "trunk")])):
        loaded(monkeypatch, name, built(name, where, inside))
    assert own_places("mapped") == [Place(str(project / "elsewhere"), "mapped.py", path)]
    assert own_places("tree") == [Place(str(project), "tree", str(project / "trunk"))]


def test_a_package_that_adds_portions_to_itself(project, tmp_path_factory, monkeypatch):
    """As with pkgutil.extend_path; a directory of another name in ``__path__`` is no portion that import would find."""
    other = tmp_path_factory.mktemp("other")
    path = write(project / "wide" / "__init__.py")
    write(other / "wide" / "plug.py")
    (project / "plugins").mkdir()
    module = built("wide", path, [str(project / "wide")])
    module.__path__ = [str(project / "wide"), str(other / "wide"), str(project / "plugins")]
    loaded(monkeypatch, "wide", module)
    assert [each.directory for each in own_places("wide")] == [str(project), str(other)]


# ── modules that lie ─────────────────────────────────────────────────────────────────────────────────────────────────


class Liar:
    """Answers everything, with itself."""

    def __getattr__(self, name):
        return self

    def __call__(self, *_):
        return self


class Grumbler:
    """Answers nothing, loudly."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize("kind", [Liar, Grumbler, lambda: 3, lambda: "text", object])
def test_what_stands_in_for_a_module_is_looked_up_as_a_file(project, monkeypatch, kind):
    path = write(project / "odd.py")
    loaded(monkeypatch, "odd", kind())
    assert own_places("odd") == [Place(str(project), "odd.py", path)]


def test_a_module_that_is_forbidden_is_not_looked_for(project, monkeypatch):
    write(project / "forbidden.py")
    loaded(monkeypatch, "forbidden", None)
    assert own_places("forbidden") == []


def test_attributes_of_modules_are_not_asked_for(project, monkeypatch):
    path = write(project / "lazy.py")
    module = types.ModuleType("lazy")

    def answer(name):
        raise RuntimeError(f"asked for {name}")

    module.__dict__["__getattr__"] = answer
    module.__file__ = path
    for name in ("__spec__", "__path__"):
        module.__dict__.pop(name, None)
        assert own_places_of(monkeypatch, "lazy", module) == [Place(str(project), "lazy.py", path)]
    del module.__file__
    assert own_places_of(monkeypatch, "lazy", module) == [Place(str(project), "lazy.py", path)], "found as import would"


def own_places_of(monkeypatch, name, module):
    loaded(monkeypatch, name, module)
    return own_places(name)


@pytest.mark.parametrize("weird", [None, 3, [3, None], object()])
def test_a_weird_path_of_a_package(project, monkeypatch, weird):
    path = write(project / "odd" / "__init__.py")
    module = types.ModuleType("odd")
    module.__path__ = weird
    module.__spec__ = ModuleSpec("odd", None, origin=path)
    module.__spec__.submodule_search_locations = [str(project / "odd")]
    assert own_places_of(monkeypatch, "odd", module) == [Place(str(project), "odd", str(project / "odd"))]
    module.__spec__.submodule_search_locations = weird
    assert own_places_of(monkeypatch, "odd", module) == []


def test_an_entry_that_is_no_path_is_passed_over(project, monkeypatch):
    """Editable installs of setuptools put a word for their hook into the path of a namespace."""
    write(project / "space" / "a.py")
    monkeypatch.chdir(project)
    module = types.ModuleType("space")
    module.__spec__ = ModuleSpec("space", None)
    module.__spec__.submodule_search_locations = [str(project / "space"), "__editable__.space-1.0.finder.__path_hook__"]
    assert [each.source for each in own_places_of(monkeypatch, "space", module)] == [str(project / "space")]


def test_parts_of_a_namespace_that_only_a_hook_finds(project, monkeypatch):
    """As setuptools does for an editable install; what is loaded counts, and what its hook would find later."""
    path = write(project / "a" / "space" / "one" / "__init__.py")
    write(project / "b" / "space" / "deep" / "two.py")
    write(project / "c" / "trunk" / "__init__.py")
    module = types.ModuleType("space")
    module.__spec__ = ModuleSpec("space", None)
    module.__spec__.submodule_search_locations = ["__editable__.space-1.0.finder.__path_hook__"]
    loaded(monkeypatch, "space", module)
    loaded(monkeypatch, "space.one", built("space.one", path, [str(project / "a" / "space" / "one")]))
    finder = types.ModuleType("__editable___space_finder")
    mapping = {
        "space.deep.two": f"{project}/b/space/deep/two",
        "space.three": f"{project}/c/trunk",
        "space.none": f"{project}/d",
        "spaces.x": "/",
    }
    finder.__dict__["MAPPING"] = mapping
    loaded(monkeypatch, "__editable___space_finder", finder)
    assert own_places("space") == [
        Place(f"{project}/a", "space", f"{project}/a/space"),
        Place(f"{project}/b", "space", f"{project}/b/space"),
        Place(f"{project}/c", "space/three", f"{project}/c/trunk"),
    ]


def test_finders_that_are_out_of_order_are_passed_over(project, monkeypatch):
    path = write(project / "after.py")

    class Broken:
        @staticmethod
        def find_spec(name, *_):
            raise AttributeError(name)

    class Wrong:
        @staticmethod
        def find_spec():
            return None

    class Old:
        """Knows only what is long gone."""

        find_module = None

    monkeypatch.setattr(sys, "meta_path", [Broken, Wrong, Old, *sys.meta_path])
    assert own_places("after") == [Place(str(project), "after.py", path)]


# ── archives ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_modules_of_an_archive(tmp_path, monkeypatch):
    archive = str(tmp_path / "app.pyz")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside.py", "")
        file.writestr("pack/__init__.py", "")
    monkeypatch.setattr(sys, "path", [archive, *sys.path])
    assert own_places("inside") == own_places("pack") == [Place(archive, "", archive)]
    assert archive_around(f"{archive}/pack/deep/x.py") == archive
    assert archive_around(os.fspath(tmp_path / "no" / "such")) is None
    assert archive_around("") is None
