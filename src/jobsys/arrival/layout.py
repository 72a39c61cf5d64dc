"""Which file of which layer goes where in an environment. Decides; reads only the layers' lists and scripts, and writes nothing."""

import os
import posixpath
import sys
from hashlib import sha256
from typing import Final, NamedTuple

from jobsys.arrival.environment import MINOR, SITE, Layer
from jobsys.arrival.scripts import MARKS, console_scripts, rewritten
from jobsys.kept import Kept, read_list
from jobsys.late import Logger
from jobsys.manifest import Entry, PackageError

logger = Logger(__name__)

_LIB64: Final = sys.maxsize > 2**32  # where lib64 is a link to lib, as in what venv makes
_ENTRY_POINTS: Final = ".dist-info/entry_points.txt"
_START: Final = 16


class Planned(NamedTuple):
    """An entry of the environment, and where its content comes from: a file of a layer, else bytes (of a link: its target)."""

    entry: Entry
    layer: Layer | None = None
    kept: Kept | None = None
    data: bytes = b""


class Layout:
    """What an environment will hold, a directory before what is in it. What comes first under a name stays."""

    def __init__(self, prefix: str, base: str, *, system_site: bool) -> None:
        """Begin with what makes a directory a virtual environment, whose final path is ``prefix``, of the interpreter ``base``."""
        self.python = f"{prefix}/bin/python"
        self.planned: dict[str, Planned] = {}
        for directory in ("bin", "lib", f"lib/{MINOR}", SITE):
            self._add(Planned(Entry(directory, "directory", 0o755, 0, "-")))
        home, version = os.path.dirname(base), ".".join(map(str, sys.version_info[:3]))
        lines = (
            f"home = {home}",
            f"include-system-site-packages = {str(system_site).lower()}",
            f"version = {version}",
            f"executable = {base}",
        )
        self._add_data("pyvenv.cfg", "\n".join((*lines, "")).encode(), 0o644, None)
        for name in ("python", f"python{sys.version_info[0]}", MINOR):
            self._add_link(f"bin/{name}", base, None)
        if _LIB64:
            self._add_link("lib64", "lib", None)

    def add(self, layer: Layer, known: list[Kept] | None = None) -> list[Kept]:
        """Add a layer, and the scripts that its entry points declare; give the layer's list, which is read if it is not known.

        Raises:
            PackageError: it is no layer.
        """
        kept = read_list(layer.place) if known is None else known
        for each in kept:
            if each.path.endswith(_ENTRY_POINTS) and each.kind == "file" and each.path.startswith("site/") and each.path.count("/") == 2:
                with open(f"{layer.tree}/{each.path}", encoding="utf-8", errors="replace") as stream:
                    text = stream.read()
                for name, content in console_scripts(text, self.python, f"{layer.name}/{each.path}"):
                    self._add_data(f"bin/{name}", content, 0o755, layer)
        for each in kept:
            path = _mapped(each.path, layer.name)
            if path:
                self._add_kept(path, each, layer)
        return kept

    def _add_kept(self, path: str, kept: Kept, layer: Layer) -> None:
        if kept.kind == "link":
            target = os.readlink(f"{layer.tree}/{kept.path}")
            self._add_link(path, _moved_target(kept.path, path, target, layer.name), layer)
            return
        if kept.kind == "file" and path.startswith("bin/"):
            with open(f"{layer.tree}/{kept.path}", "rb") as stream:
                start = stream.read(_START)  # a program may be large
                script = rewritten(start + stream.read(), self.python) if start.startswith(MARKS) else None
            if script is not None:
                self._add_data(path, script, kept.mode, layer)
                return
        self._add(Planned(Entry(path, *kept[1:5]), layer, kept))

    def _add_link(self, path: str, target: str, layer: Layer | None) -> None:
        data = os.fsencode(target)
        self._add(Planned(Entry(path, "link", 0o777, len(data), sha256(data).hexdigest()), layer, None, data))

    def _add_data(self, path: str, data: bytes, mode: int, layer: Layer | None) -> None:
        self._add(Planned(Entry(path, "file", mode, len(data), sha256(data).hexdigest()), layer, None, data))

    def _add(self, new: Planned) -> None:
        path, kind = new.entry.path, new.entry.kind
        old = self.planned.get(path)
        if old is not None:
            if kind != "directory" or old.entry.kind != "directory":
                log = logger.debug if old.entry == new.entry else logger.warning
                log("%s is in the layers %s and %s: the first one's is used", path, _name(old.layer), _name(new.layer))
            return
        directory, slash, _ = path.rpartition("/")
        around = self.planned.get(directory)
        if slash and (around is None or around.entry.kind != "directory"):
            logger.warning("%s of the layer %s is left out: a file of an earlier layer is in its way", path, _name(new.layer))
            return
        self.planned[path] = new


def _name(layer: Layer | None) -> str:
    return layer.name if layer else "-"


def _mapped(path: str, layer: str) -> str:
    """Give the path in the environment of a path in a layer; empty for the environment itself."""
    top, _, rest = path.partition("/")
    if top == "site":
        return f"{SITE}/{rest}" if rest else SITE
    if top != "prefix":
        raise PackageError(f"{layer} is no layer: it holds {path!r}, which is neither below site nor below prefix")
    if _LIB64 and (rest == "lib64" or rest.startswith("lib64/")):
        return "lib" + rest[5:]
    return rest


def _moved_target(path: str, new: str, target: str, layer: str) -> str:
    """Let a link that leaves ``site`` or ``prefix`` lead to the same thing in the environment, which has neither."""
    if target.split("/").count("..") < path.count("/"):
        return target
    goal = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return posixpath.relpath(_mapped(goal, layer) or ".", posixpath.dirname(new) or ".")
