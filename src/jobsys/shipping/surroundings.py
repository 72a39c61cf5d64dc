"""What of the leader's interpreter and environment a worker takes over, so that code behaves there as here. Never more than is listed."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from jobsys.errors import UsageError
from jobsys.record import printable

_PASSED: Final = r"LANG|LANGUAGE|LC_[A-Z]+|TZ|PYTHONHASHSEED"
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_LOCAL_TIME: Final = "/etc/localtime"
_NOT_PASSED: Final = {"frozen_modules", "importtime", "showrefcount", "pycache_prefix", "presite", "perf", "perf_jit"}  # of this process


def interpreter_options() -> list[str]:
    """Give the options that make another interpreter run code as this one does: ``-O``, ``-W``, ``-X``, ``-b``."""
    flags = sys.flags
    options = ["-" + "O" * flags.optimize] * bool(flags.optimize)
    options += ["-" + "b" * flags.bytes_warning] * bool(flags.bytes_warning)
    for name, value in sys._xoptions.items():
        if name not in _NOT_PASSED:
            options += ["-X", name if value is True else f"{name}={value}"]
    if flags.utf8_mode and "utf8" not in sys._xoptions:
        options += ["-X", "utf8"]
    if flags.dev_mode and "dev" not in sys._xoptions:
        options += ["-X", "dev"]
    if flags.int_max_str_digits != -1 and "int_max_str_digits" not in sys._xoptions:
        options += ["-X", f"int_max_str_digits={flags.int_max_str_digits}"]
    for warning in sys.warnoptions:
        options += ["-W", warning]
    return options


def environment(here: Mapping[str, str]) -> dict[str, str]:
    """Pick what a worker on another host gets of the leader's environment: language, time zone, hash seed. Nothing else ever travels."""
    passed = {name: printable(value) for name, value in here.items() if re.fullmatch(_PASSED, name)}
    zone = _time_zone(passed.pop("TZ", None))
    return passed | ({"TZ": zone} if zone is not None else {})


def _time_zone(given: str | None) -> str | None:
    """Name the time zone so that another host finds it; None if it has no name here."""
    if given is not None and not given.startswith((":", "/")):
        return given
    try:
        target = os.path.realpath(given.removeprefix(":") if given else _LOCAL_TIME, strict=True)
    except OSError:  # what C takes for UTC if it is missing; or a name behind a colon
        return given.removeprefix(":") if given else "UTC"
    return target.partition("/zoneinfo/")[2] or None


def asked_for(words: Iterable[str], here: Mapping[str, str]) -> dict[str, str]:
    """Read ``--env NAME=VALUE`` and ``--env NAME``, which takes the value that it has here.

    Raises:
        UsageError: it is no name, or has no value here.
    """
    found = {}
    for word in words:
        name, given, value = word.partition("=")
        if not re.fullmatch(_NAME, name):
            raise UsageError(f"--env {name!r} is no name of a variable: write --env NAME or --env NAME=VALUE")
        if not given and name not in here:
            raise UsageError(f"--env {name}: there is no such variable here: set it first, or write --env {name}=VALUE")
        found[name] = value if given else here[name]
    return found


def without_values(words: Iterable[str]) -> list[str]:
    """Write a command line so that it can be kept: values that ``--env`` gives may be secret, and are taken from the environment then."""
    kept: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if kept and _is_env(kept[-1]):
            word = option
        elif equals and _is_env(option):
            word = f"{option}={value.partition('=')[0]}"
        kept.append(word)
    return kept


def _is_env(word: str) -> bool:
    """Tell whether a word is ``--env``, or an abbreviation that argparse takes for it."""
    return len(word) > len("--") and "--env".startswith(word)
