"""Where modules lie and how they are loaded: files, import roots, name collisions, ``sys.path``. Knows no resources."""

import importlib
import importlib.machinery
import importlib.util
import os
import site
import sys
from types import CodeType, ModuleType
from typing import Any, Final
from zipimport import zipimporter

import msgspec

from jobsys.files import locked, write_whole
from jobsys.manifest import is_inside

SITE_PACKAGES: Final = ("site-packages", "dist-packages")
LEADER_FILE: Final = ".jobsys-leader"
"""Beside what was unpacked on a worker: from where on the leader it came."""
_SUFFIXES: Final = (".py", ".pyc", ".pyw")


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """From where on the leader a directory of this worker came, and under which path it was saved."""

    resource_path: str
    directory: str
    from_virtualenv: bool


def origins(directory: str) -> list[Origin]:
    """Read from where on the leader the content of a worker's directory came: one origin, or several with the same content."""
    try:
        with open(os.path.join(directory, LEADER_FILE), "rb") as stream:
            return msgspec.json.decode(stream.read(), type=list[Origin])
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return []


def remember(directory: str, origin: Origin) -> None:
    """Note one more origin of a worker's directory."""
    if origin not in origins(directory):
        with locked(f"{directory}.lock"):
            known = [each for each in origins(directory) if each != origin]
            write_whole(os.path.join(directory, LEADER_FILE), msgspec.json.encode([*known, origin]), sync=False)


def script_path(module: ModuleType) -> str | None:
    """Give the file of a script that runs as ``__main__``; of a link, the file it points to, as Python itself does."""
    path: str | None = getattr(module, "__file__", None)
    if path is None or not os.path.isfile(path):
        return None
    is_script = getattr(module, "__spec__", None) is None  # else a directory is run, and that is what stands in the import path
    return os.path.realpath(path) if is_script and os.path.islink(path) else os.path.abspath(path)


def main_archive(module: ModuleType) -> str | None:
    """Give the archive whose ``__main__`` runs (``python app.pyz``); None if it is no archive that runs."""
    path = os.path.dirname(getattr(module, "__file__", None) or "")
    return os.path.abspath(path) if os.path.isfile(path) else None


def script_name(path: str) -> str:
    """Give a script's name: its file name without ``.py``; another suffix, dots and dashes stay."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    return stem if suffix in _SUFFIXES else stem + suffix


def find_file(directory: str, name: str) -> str | None:
    """Find the file whose very name is that of a module, also where it has dots or no suffix."""
    candidates = [os.path.join(directory, name + suffix) for suffix in (".py", "", ".pyc", ".pyw")]
    return next((path for path in candidates if os.path.isfile(path)), None)


def import_root(module: ModuleType, name: str) -> str | None:
    """Find the directory from which an imported module was imported, given its full name; None if it has no file."""
    path: str | None = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if path is None:
        return None
    path = os.path.abspath(path)
    if os.path.basename(path).partition(".")[0] == "__init__" and name.rpartition(".")[2] != "__init__":
        path = os.path.dirname(path)
    for part in reversed(name.split(".")):
        path, tail = os.path.split(path)
        if tail != part and tail.partition(".")[0] != part:
            return None
    return path


def is_from_virtualenv(directory: str) -> bool:
    """Tell whether a directory is the ``site-packages`` of the virtual environment that runs."""
    prefix = os.path.realpath(sys.prefix)
    conda = os.environ.get("CONDA_PREFIX")
    inside = sys.prefix != sys.base_prefix or (conda is not None and os.path.realpath(conda) == prefix)
    return inside and os.path.basename(directory) in SITE_PACKAGES and is_inside(os.path.realpath(directory), prefix)


def collision(name: str, path: str) -> str | None:
    """Find another module that a script's name means when the script's own directory is not looked at."""
    directory = os.path.realpath(os.path.dirname(path))
    entries: list[Any] = sys.path  # in which scripts put what is no text; import passes over it
    others = [entry for entry in entries if isinstance(entry, str) and os.path.realpath(entry or os.curdir) != directory]
    for finder in sys.meta_path:
        spec = _find(finder, name, others)
        if spec is None or spec.origin is None or spec.loader is None:
            continue
        if not os.path.exists(spec.origin) or not os.path.samefile(spec.origin, path):
            return f"the {spec.origin} module {name}" if spec.origin in {"built-in", "frozen"} else spec.origin
    return None


def _find(finder: Any, name: str, path: list[str]) -> importlib.machinery.ModuleSpec | None:
    if finder is importlib.machinery.PathFinder:
        return importlib.machinery.PathFinder.find_spec(name, path)
    spec: importlib.machinery.ModuleSpec | None = finder.find_spec(name, None, None) if hasattr(finder, "find_spec") else None
    return spec


def loaded_beside(directory: str) -> set[str]:
    """Name the files and packages of a directory that this process has imported from it as top-level modules, but not jobsys."""
    names = set()
    for name, module in list(sys.modules.items()):
        facts = getattr(module, "__dict__", {})
        path = facts.get("__file__")
        places = [path] if isinstance(path, str) else list(facts.get("__path__", ()))
        for place in map(os.path.abspath, places):
            if os.path.basename(place).partition(".")[0] == "__init__":
                place = os.path.dirname(place)
            if "." not in name and name != "jobsys" and os.path.dirname(place) == directory:
                names.add(os.path.basename(place))
    return names


def make_importable(directory: str, from_virtualenv: bool) -> None:
    """Put a directory where the leader has it in ``sys.path``: a script's first, packages of an environment after the standard library."""
    if from_virtualenv:
        if directory not in sys.path:
            places = [index for index, entry in enumerate(sys.path) if os.path.basename(entry) in SITE_PACKAGES]
            sys.path.insert(places[0] if places else len(sys.path), directory)
            site.addsitedir(directory)
    elif sys.path[:1] != [directory]:
        if directory in sys.path:
            sys.path.remove(directory)
        sys.path.insert(0, directory)
    importlib.invalidate_caches()


def loaded_name(name: str) -> str:
    """Give the name under which a script is a module: with a dot in it, pickle would look for a package."""
    return name.replace(".", "_") if name != "__main__" else "__jobsys_main__"


class _MainImporter(zipimporter):
    """Imports the ``__main__`` of an archive under another name."""

    def get_code(self, fullname: str) -> CodeType:
        return super().get_code(_member(fullname))

    def get_source(self, fullname: str) -> str | None:
        return super().get_source(_member(fullname))

    def get_filename(self, fullname: str) -> str:
        return super().get_filename(_member(fullname))

    def is_package(self, fullname: str) -> bool:
        return super().is_package(_member(fullname))


def _member(name: str) -> str:
    return "__main__" if name == loaded_name("__main__") else name


def load_archive(archive: str) -> ModuleType:
    """Load the ``__main__`` of an archive, under the name that it has where it is imported.

    Raises:
        ImportError: it has none, or that raises it.
    """
    name = loaded_name("__main__")
    loaded = sys.modules.get(name)
    if loaded is not None and os.path.dirname(getattr(loaded, "__file__", None) or "") == archive:
        return loaded
    importer = _MainImporter(archive)
    spec = importlib.util.spec_from_loader(name, importer, origin=importer.get_filename(name), is_package=False)
    return _load(spec, name, archive)


def load_file(name: str, path: str) -> ModuleType:
    """Load a module from a file that ``import`` can't find, under its name."""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == path:
        return loaded
    kind = importlib.machinery.SourcelessFileLoader if path.endswith(".pyc") else importlib.machinery.SourceFileLoader
    spec = importlib.util.spec_from_loader(name, kind(name, path), origin=path)
    return _load(spec, name, path)


def _load(spec: importlib.machinery.ModuleSpec | None, name: str, path: str) -> ModuleType:
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be loaded", name=name, path=path)
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
