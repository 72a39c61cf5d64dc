"""Where modules come from: the standard library, an installed distribution, or somebody's own code. Imports and changes nothing."""

import os
import site
import sys
import sysconfig
from functools import cache
from importlib.machinery import ModuleSpec
from typing import Any, Final, Literal, NamedTuple

from jobsys.manifest import is_inside
from jobsys.modules import SITE_PACKAGES

Origin = Literal["standard", "installed", "own"]
NOT_OURS: Final = frozenset(("jobsys", "__main__", "__mp_main__", "__jobsys_main__"))
"""Modules that have no own code to find: jobsys travels by itself, and what was started is known."""


class Place(NamedTuple):
    """Where a top-level module of somebody's own lies.

    Args:
        directory: the directory to be in ``sys.path``; of a module in an archive, the archive.
        name: the module's file or directory as import looks for it in there.
        source: that file or directory itself, which an editable install may have under another name; of an archive, the archive.
    """

    directory: str
    name: str
    source: str


def import_path() -> list[str]:
    """List the entries of ``sys.path`` that count, as absolute paths: ``import`` passes over what is no text."""
    entries: list[Any] = sys.path
    return [os.path.abspath(each) for each in entries if isinstance(each, str)]


def site_directories() -> list[str]:
    """List the directories of installed distributions in the order of ``sys.path``."""
    return [each for each in dict.fromkeys(import_path()) if _is_site(each) and os.path.isdir(each)]


def _is_site(path: str) -> bool:
    return os.path.basename(path) in SITE_PACKAGES or os.path.realpath(path) in _known_sites()


@cache
def _known_sites() -> frozenset[str]:
    """Name this interpreter's directories of distributions, as they really are."""
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return frozenset(map(os.path.realpath, [*paths, site.getusersitepackages()] if site.ENABLE_USER_SITE else paths))


@cache
def _libraries() -> tuple[str, ...]:
    """Name the directories of the standard library, as they really are."""
    return tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})


@cache
def _shelves() -> frozenset[str]:
    """Name the directories in which modules of the standard library lie next to each other, as they really are."""
    found = {real for each in _libraries() for real in (each, os.path.realpath(f"{each}/lib-dynload"))}
    return frozenset(each for each in found if not set(SITE_PACKAGES) & set(each.split(os.sep)))


def is_standard(path: str) -> bool:
    """Tell whether an entry of ``sys.path``, or a file, belongs to the standard library of this interpreter."""
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    if archive in path.split(os.sep):
        return True
    directory, name = os.path.split(path)
    if directory in _shelves() and name not in SITE_PACKAGES and not os.path.islink(path):
        return True  # what is below says the same, with a look at each directory above
    real = os.path.realpath(path)
    if set(SITE_PACKAGES) & set(real.split(os.sep)):
        return False
    return any(is_inside(real, library) for library in _libraries())


def origin_of(path: str) -> Origin:
    """Tell where a module's file or directory comes from."""
    if is_standard(path):
        return "standard"
    if any(is_inside(path, each) or is_inside(os.path.realpath(path), os.path.realpath(each)) for each in site_directories()):
        return "installed"
    return "own"


def is_installed(name: str) -> bool:
    """Tell whether a top-level module belongs to an installed distribution, other than jobsys."""
    if name in NOT_OURS or name in sys.builtin_module_names:
        return False
    return any(origin_of(path) == "installed" for path in _paths(name))


def own_places(name: str) -> list[Place]:
    """Find where a top-level module lies, if it is somebody's own: one place, or the portions of a namespace package.

    A module of the standard library's name counts as well: one that comes before it in ``sys.path`` hides it.
    """
    if name in NOT_OURS or name in sys.builtin_module_names:
        return []
    found = [_place(name, path) for path in _paths(name)] + [_inner_place(*each) for each in _inner(name)]
    return [each for each in dict.fromkeys(found) if origin_of(each.source) == "own"]


def _inner(name: str) -> list[tuple[str, str]]:
    """List modules of a namespace package that are loaded, or that setuptools' hooks of editable installs know, with their paths.

    Such a hook finds the parts of a namespace, which may have no directory of its own in ``sys.path``.
    """
    found: list[tuple[str, str]] = []
    for each, module in list(sys.modules.items()) if _is_namespace(name) else ():
        if each.startswith(f"{name}."):
            found += [(each, path) for path in _locations(_facts(module).get("__spec__"))]
        elif each.startswith("__editable__"):
            mapping = _facts(module).get("MAPPING")
            for inner, path in mapping.items() if isinstance(mapping, dict) else ():
                if inner.startswith(f"{name}."):
                    found.append((inner, path if os.path.exists(path) else f"{path}.py"))
    return [(inner, path) for inner, path in found if os.path.exists(path)]


def _is_namespace(name: str) -> bool:
    spec = _facts(sys.modules.get(name)).get("__spec__") or _find(name)
    return isinstance(spec, ModuleSpec) and spec.submodule_search_locations is not None and not spec.has_location


def _inner_place(name: str, path: str) -> Place:
    """Find where the namespace package around a module lies; of a module under another name, where it has to stand."""
    top, *parts = name.split(".")
    around = os.path.abspath(path)
    for part in reversed(parts):
        if os.path.basename(around).partition(".")[0] != part:
            return Place(os.path.dirname(os.path.abspath(path)), name.replace(".", "/") + (".py" if os.path.isfile(path) else ""), path)
        around = os.path.dirname(around)
    return _place(top, around)


def _paths(name: str) -> list[str]:
    """List the files or directories of a module, by what it is in this process, else as ``import`` would find it."""
    if name in sys.modules and sys.modules[name] is None:  # which forbids its import
        return []
    facts = _facts(sys.modules.get(name))
    spec = facts.get("__spec__")
    found = _locations(spec)
    portions = [each for each in _texts(facts.get("__path__")) if os.path.basename(each) == name]  # what a package adds to itself
    found += portions
    if not found and isinstance(facts.get("__file__"), str):  # made by hand, but from a file
        found = [facts["__file__"]]
    if not found and not isinstance(spec, ModuleSpec):
        found = _locations(_find(name))
    paths = dict.fromkeys(map(os.path.abspath, found))
    return [each for each in paths if os.path.exists(each) or archive_around(each)]  # editable installs have entries that are no paths


def is_importable(name: str) -> bool:
    """Tell whether a top-level module is found here, or belongs to the standard library of some system."""
    known = name in sys.stdlib_module_names or name in sys.builtin_module_names
    return known or sys.modules.get(name) is not None or _find(name) is not None


def loaded_files(name: str) -> list[str]:
    """List the file of a module that is loaded, if it says which it is."""
    facts = _facts(sys.modules.get(name))
    spec = facts.get("__spec__")
    file = spec.origin if isinstance(spec, ModuleSpec) and spec.has_location else facts.get("__file__")
    return [os.path.abspath(file)] if isinstance(file, str) else []


def _facts(module: object) -> dict[str, Any]:
    """Give the attributes of a module as they are stored: asking for one may run code, or be answered by anything."""
    try:
        facts = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _find(name: str) -> ModuleSpec | None:
    """Ask the finders, as ``import`` does, but not ``sys.modules``."""
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        try:
            spec = find_spec(name, None, None) if find_spec is not None else None
        except (ImportError, ValueError, AttributeError, TypeError):  # a finder that is out of order, or a name that is none
            continue
        if spec is not None:
            return spec if isinstance(spec, ModuleSpec) else None
    return None


def _texts(values: object) -> list[str]:
    try:
        return [each for each in values if isinstance(each, str)]  # type: ignore[attr-defined]  # a __path__ may be anything
    except (TypeError, KeyError):  # no list; or of a package that is not there any more
        return []


def _locations(spec: object) -> list[str]:
    if not isinstance(spec, ModuleSpec):
        return []
    packages = _texts(spec.submodule_search_locations)
    if packages:
        return packages
    return [spec.origin] if spec.has_location and isinstance(spec.origin, str) else []


def _place(name: str, path: str) -> Place:
    archive = archive_around(path)
    if archive is not None:
        return Place(archive, "", archive)
    directory, base = os.path.split(path)
    stem, _, rest = base.partition(".")
    if stem == name:
        return Place(directory, base, path)
    return Place(directory, name if os.path.isdir(path) or not rest else f"{name}.{rest}", path)


def archive_around(path: str) -> str | None:
    """Find the archive in which a path that is no file of its own lies; None if there is none."""
    while path and not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
        if os.path.isfile(path):
            return path
    return None
