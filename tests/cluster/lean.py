"""An environment with jobsys and what it needs, without the tools of its developers: what travels from it to hosts is a tenth."""

import functools
import shutil
import tempfile
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from cluster.interpreter import NAME  # type: ignore[import-not-found]

EXTRA = "kubernetes"
"""Whose client the leader needs where tasks run in pods."""


@functools.cache
def lean_python() -> str:
    """Make the environment, once in a session, from what is installed here; give its Python."""
    folder = Path(tempfile.mkdtemp(prefix="lean-"))
    venv.create(folder, symlinks=True, with_pip=False)
    for each in _needed("jobsys", {}).values():
        for file in each.files or ():
            source, target = Path(str(each.locate_file(file))), folder / "lib" / NAME / "site-packages" / file
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return str(folder / "bin" / "python")


def _needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Find a distribution and all that it requires."""
    if name not in found:
        found[name] = distribution(name)
        for requirement in map(Requirement, found[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": EXTRA if name == "jobsys" else ""}):
                _needed(requirement.name, found)
    return found
