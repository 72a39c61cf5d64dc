"""An environment with jobsys and what it needs, without the tools of its developers: what travels from it to hosts is a tenth, or less."""

import functools
import re
import shutil
import tempfile
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from cluster.interpreter import NAME  # type: ignore[import-not-found]

LEFT: Final = re.compile(r"kubernetes/aio/|botocore/data/(?!s3/)[^/]+/|.*__pycache__")
"""Files that no leader and no task here reads; they are half of all bytes, and each host unpacks what travels."""


@functools.cache
def lean_python(extra: str = "") -> str:
    """Make the environment, once in a session, from what is installed here for jobsys and one of its extras; give its Python."""
    folder = Path(tempfile.mkdtemp(prefix="lean-"))
    venv.create(folder, symlinks=True, with_pip=False)
    for each in _needed("jobsys", extra, {}).values():
        for file in each.files or ():
            source, target = Path(str(each.locate_file(file))), folder / "lib" / NAME / "site-packages" / file
            if ".." not in file.parts and not LEFT.match(str(file)) and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return str(folder / "bin" / "python")


def _needed(name: str, extra: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Find a distribution and all that it requires, with the extra for it alone."""
    if name not in found:
        found[name] = distribution(name)
        for requirement in map(Requirement, found[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                _needed(requirement.name, "", found)
    return found
