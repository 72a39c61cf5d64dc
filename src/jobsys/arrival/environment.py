"""An environment that was assembled on this host out of layers: where it lies, and whether it still is what it was. Makes none.

It lies in ``<root>/env-<digest>/env``, with the list of its files beside it as of any place in the cache (``kept.py``). Its name follows
from its layers and the interpreter, so that it is found again; the cache's directory must not move, as scripts name it.
"""

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from jobsys.holding import hold
from jobsys.kept import harm, read_list
from jobsys.late import Logger

logger = Logger(__name__)

NAME: Final = "env"
MINOR: Final = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SITE: Final = f"lib/{MINOR}/site-packages"
_FORMAT: Final = 1


class Layer(NamedTuple):
    """A tree in the cache: ``place/<name>`` holds ``site/…`` and ``prefix/…``, and ``digest`` is that of its manifest."""

    place: str
    name: str
    digest: str

    @property
    def tree(self) -> str:
        """Give the directory of its files."""
        return f"{self.place}/{self.name}"


class Environment(NamedTuple):
    """An assembled virtual environment: its place in the cache and its own directory."""

    place: str
    path: str

    @property
    def python(self) -> str:
        """Give the path of its interpreter."""
        return f"{self.path}/bin/python"

    @property
    def bin(self) -> str:
        """Give the directory of its programs."""
        return f"{self.path}/bin"

    @property
    def site(self) -> str:
        """Give its ``site-packages``."""
        return f"{self.path}/{SITE}"


def assembled(layers: Sequence[Layer], *, root: str, python: str, system_site: bool) -> Environment | None:
    """Give the environment of these layers, held and verified, if it is there; the layers themselves are not looked at."""
    environment = named(layers, root, os.path.realpath(python), system_site)
    if not os.path.isdir(environment.place):
        return None
    hold(environment.place, [layer.place for layer in layers])
    return environment if is_usable(environment.place) else None


def named(layers: Sequence[Layer], root: str, base: str, system_site: bool) -> Environment:
    """Say where the environment of these layers and this interpreter lies, whether or not it is there."""
    facts = [_FORMAT, [layer.digest for layer in layers], system_site, base, list(sys.version_info)]
    place = f"{os.path.realpath(root)}/env-{sha256(json.dumps(facts).encode()).hexdigest()}"
    return Environment(place, f"{place}/{NAME}")


def is_usable(place: str) -> bool:
    """Tell whether an environment is there, and what it was."""
    try:
        reason = harm(place, NAME, read_list(place))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        logger.warning("%s can't be used again, assembling it anew: %s", place, reason)
    return not reason
