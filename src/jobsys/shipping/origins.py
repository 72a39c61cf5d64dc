"""Where modules come from: the standard library, an installed distribution, or somebody's own code. Imports and changes nothing."""

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final, Literal, NamedTuple

from jobsys.manifest import is_inside
from jobsys.modules import SITE_PACKAGES

Origin = Literal["standard", "installed", "own"]
_NOT_OURS: Final = frozenset(("jobsys", "__main__", "__mp_main__", "__jobsys_main__"))


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


def site_directories() -> list[str]:
    """List the directories of installed distributions in the order of ``sys.path``."""
    known = {os.path.realpath(each) for each in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_user_site())}
    return [each for each in dict.fromkeys(map(os.path.abspath, sys.path)) if _is_site(each, known) and os.path.isdir(each)]


def _is_site(path: str, known: set[str]) -> bool:
    return os.path.basename(path) in SITE_PACKAGES or os.path.realpath(path) in known


def _user_site() -> Iterator[str]:
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()


def is_standard(path: str) -> bool:
    """Tell whether an entry of ``sys.path``, or a file, belongs to the standard library of this interpreter."""
    libraries = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    if os.path.basename(path) == archive:
        return True
    real = os.path.realpath(path)
    if set(SITE_PACKAGES) & set(real.split(os.sep)):
        return False
    return any(is_inside(real, os.path.realpath(library)) for library in libraries)


def origin_of(path: str) -> Origin:
    """Tell where a module's file or directory comes from."""
    if is_standard(path):
        return "standard"
    if any(is_inside(path, each) or is_inside(os.path.realpath(path), os.path.realpath(each)) for each in site_directories()):
        return "installed"
    return "own"


def own_places(name: str) -> list[Place]:
    """Find where a top-level module lies, if it is somebody's own: one place, or the portions of a namespace package."""
    if name in _NOT_OURS or name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return []
    return [_place(name, path) for path in _paths(name) if origin_of(path) == "own"]


def _paths(name: str) -> Iterable[str]:
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if isinstance(loaded, ModuleType) else _find(name)
    if spec is not None:
        return [os.path.abspath(each) for each in _locations(spec)]
    path = getattr(loaded, "__file__", None)  # made by hand, but from a file
    return [os.path.abspath(path)] if isinstance(path, str) and os.path.exists(path) else []


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # a finder that is out of order, or a name that is none
        return None


def _locations(spec: ModuleSpec) -> list[str]:
    if spec.submodule_search_locations is not None:
        return list(dict.fromkeys(spec.submodule_search_locations))
    return [spec.origin] if spec.has_location and spec.origin else []


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
