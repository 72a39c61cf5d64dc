"""What an interpreter is, and whether what was shipped can run in it. Compares; fetches and starts nothing."""

import importlib.machinery
import os
import platform
import re
import sys
from collections.abc import Iterable
from typing import Any, Final

_MANYLINUX: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PLATFORM: Final = r"(manylinux|musllinux)_(\d+)_(\d+)_(\w+)|(manylinux1|manylinux2010|manylinux2014|linux)_(\w+)"


def facts() -> dict[str, Any]:
    """Describe the interpreter that runs this, in words that travel as JSON."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0] if importlib.machinery.EXTENSION_SUFFIXES else ""
    libc, libc_version = _libc(suffix)
    return {
        "implementation": platform.python_implementation(),
        "version": list(sys.version_info[:3]),
        "soabi": suffix.strip(".").removesuffix(".so"),
        "ext_suffix": suffix,
        "platform": sys.platform,
        "machine": _machine(),
        "libc": libc,
        "libc_version": libc_version,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "host": os.uname().nodename,
    }


def _libc(suffix: str) -> tuple[str, list[int]]:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # this libc does not know the name, so it is not glibc
        name = version = ""
    if name == "glibc":
        return name, [int(part) for part in re.findall(r"\d+", version)[:2]]
    return ("musl" if "musl" in suffix or any(each.startswith("ld-musl-") for each in os.listdir("/lib")) else ""), []


def _machine() -> str:
    """Tell the machine that this interpreter was built for: a 32-bit one may run on a 64-bit kernel."""
    machine = os.uname().machine
    return machine if sys.maxsize > 2**32 else {"x86_64": "i686", "aarch64": "armv7l"}.get(machine, machine)


def mismatch(leader: dict[str, Any], here: dict[str, Any], needs: dict[str, Any]) -> str | None:
    """Say why this interpreter can't run what was shipped, naming both sides and the way out; None if it can.

    Implementation and minor version must be the leader's. What is native asks for more: the same ABI, and the machine and C library in
    ``needs`` (made by ``native_needs``). Patch versions may differ.
    """
    minor = ".".join(map(str, leader["version"][:2]))
    if leader["implementation"] != here["implementation"]:
        return f"{_sides(leader, here)}: pickles and packages do not travel between them. {_start_with(leader, minor)}"
    if leader["version"][:2] != here["version"][:2]:
        return f"{_sides(leader, here)}: pickles and packages do not travel between minor versions. {_start_with(leader, minor)}"
    if not needs["native"]:
        return None
    if _abi(leader) != _abi(here):
        return (
            f"{_sides(leader, here)}, with the ABI {_abi(here)} there and {_abi(leader)} on the leader: native modules do not travel "
            f"between them. {_start_with(leader, minor)}, built as the leader's is"
        )
    if needs["machine"] not in {None, here["machine"]}:
        return (
            f"host {here['host']} is a {here['machine']} machine ({here['executable']}), the leader's packages are built for "
            f"{needs['machine']}. Use hosts of that kind, or start the leader on a {here['machine']} machine"
        )
    return _libc_mismatch(here, needs)


def _libc_mismatch(here: dict[str, Any], needs: dict[str, Any]) -> str | None:
    wanted = "musl" if needs["musl"] else "glibc" if needs["glibc"] else None
    there = f"host {here['host']} has {_libc_name(here)} ({here['executable']})"
    if wanted is None:
        return None
    if here["libc"] != wanted:
        return (
            f"{there}, the leader's packages are built for {wanted}. Use hosts with {wanted}, or start the leader on a host like this one"
        )
    if wanted == "glibc" and here["libc_version"] < list(needs["glibc"]):
        least = ".".join(map(str, needs["glibc"]))
        return (
            f"{there}, the leader's packages need glibc {least} or newer. Use newer hosts, or install the leader's environment anew "
            f"on a host as old as this one"
        )
    return None


def _sides(leader: dict[str, Any], here: dict[str, Any]) -> str:
    return f"host {here['host']} has {_name(here)} ({here['executable']}), the leader runs {_name(leader)} ({leader['executable']})"


def _name(side: dict[str, Any]) -> str:
    return f"{side['implementation']} {'.'.join(map(str, side['version']))}"


def _start_with(leader: dict[str, Any], minor: str) -> str:
    python = "Python" if leader["implementation"] == "CPython" else leader["implementation"]
    return f"Start workers with {python} {minor}: --worker-python"


def _abi(side: dict[str, Any]) -> str:
    """Give the part of the SOABI that says how extension modules are built: ``cpython-313t``; what follows names the platform."""
    return "-".join(side["soabi"].split("-")[:2])


def _libc_name(side: dict[str, Any]) -> str:
    return f"{side['libc'] or 'an unknown C library'} {'.'.join(map(str, side['libc_version']))}".strip()


def native_needs(tags: Iterable[str], own: dict[str, Any]) -> dict[str, Any]:
    """Tell the least that runs wheels with all these tags, one a distribution: ``cp311-cp311-manylinux_2_17_x86_64``, or its last part.

    Several tags of one wheel, joined by dots, are alternatives. What was built on the leader itself needs what the leader (``own``) has.
    """
    native, musl = False, False
    machine: str | None = None
    glibc: tuple[int, ...] = ()
    for tag in tags:
        choices = [_need(each, own) for each in tag.rpartition("-")[2].split(".")]
        if None in choices:  # "any": no code of a machine in it
            continue
        native, machine = True, own["machine"]
        musl = musl or (not any(choices) and (own["libc"] == "musl" or "musllinux" in tag))
        glibc = max(glibc, min((each for each in choices if each), default=()))
    return {"native": native, "machine": machine, "glibc": list(glibc) if glibc and not musl else None, "musl": musl}


def _need(tag: str, own: dict[str, Any]) -> tuple[int, ...] | None:
    """Give the glibc that a platform tag asks for; () for a musl one, None for "any"."""
    if tag == "any":
        return None
    found = re.fullmatch(_PLATFORM, tag)
    if found is not None and found[1] == "manylinux":
        return int(found[2]), int(found[3])
    if found is not None and found[5] in _MANYLINUX:
        return _MANYLINUX[found[5]]
    if found is not None and found[1] == "musllinux":
        return ()
    return tuple(own["libc_version"])  # linux_x86_64, and what nobody knows: built here
