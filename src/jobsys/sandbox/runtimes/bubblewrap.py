"""Sandboxes without a daemon and without images of their own: bubblewrap over a directory, or over the host's own files."""

import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from typing import Final

from jobsys.sandbox.inside import look_up
from jobsys.sandbox.layout import Bind
from jobsys.sandbox.runtimes.base import Command, ImageError, Runtime, Start

SEARCHED: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND: Final = 127
NOT_RUNNABLE: Final = 126


class Bubblewrap(Runtime):
    """Needs the program ``bwrap``, and kernels that let users make namespaces (or root)."""

    name = "bubblewrap"

    def __init__(self, images: str = "", *, host_image: bool = True) -> None:
        """Take images from a directory, in which each is one of its name, ``/`` and ``:`` written as ``_``.

        Args:
            images: the directory; empty for none.
            host_image: whether the host's own files stand in for an image that is not there.
        """
        self._images = images
        self._host_image = host_image

    @classmethod
    def missing(cls) -> str:
        """Say what is missing."""
        return "" if shutil.which("bwrap") else "there is no program bwrap: install bubblewrap"

    def prepare(self, image: str) -> str:
        """Find the image; nothing is fetched."""
        root = self._root(image)
        if root == "/":
            return f"image {image} is not here: its place is taken by the host's own files, which can't be changed"
        return ""

    def command(self, start: Start) -> Command:
        """Bind the image read-only, and what is shared over it; bwrap's status does not tell whether the program is there."""
        root = self._root(start.image)
        argv = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        argv += image_mounts(root, start.binds)
        argv += ["--dev", "/dev", "--proc", "/proc"]
        for bind in start.binds:
            argv += ["--bind", start.tree + bind.path, bind.path]
        for device in start.limits.accelerators:
            argv += ["--dev-bind-try", device, device] if device.startswith("/dev/") else []
        argv += ["--remount-ro", "/", "--chdir", start.workdir or "/", "--clearenv"]
        for name, value in {"PATH": SEARCHED, "HOME": "/tmp", **start.env}.items():
            argv += ["--setenv", name, value]
        words, status, message = self._program(root, start)
        return Command([*argv, "--", *words], status, message)

    def _program(self, root: str, start: Start) -> tuple[list[str], int, str]:
        first = start.command[0]
        places = [f"{folder}/{first}" for folder in start.env.get("PATH", SEARCHED).split(":")] if "/" not in first else [first]
        found = [inside for place in places if (inside := self._inside(root, start, place)) is not None]
        runnable = [each for each in found if os.access(each, os.X_OK) and not os.path.isdir(each)]
        if runnable:
            return list(start.command), 0, ""
        if start.shell and len(start.command) == 1:
            return ["/bin/sh", "-c", first], 0, ""
        if found:
            return list(start.command), NOT_RUNNABLE, f"{first}: can't be run: no permission, or a directory"
        return list(start.command), NOT_FOUND, f"{first}: there is no such program in {start.image}"

    def _inside(self, root: str, start: Start, path: str) -> str | None:
        """Find a file as processes inside see it; links lead from the inside's root."""

        def base(path: str) -> str:
            shared = any(path == bind.path or path.startswith(bind.path + "/") for bind in start.binds)
            return start.tree if shared else root.rstrip("/")

        return look_up(posixpath.join(start.workdir or "/", path), base)

    def _root(self, image: str) -> str:
        if self._images:
            place = os.path.join(self._images, image.replace("/", "_").replace(":", "_"))
            if os.path.isdir(place):
                return os.path.realpath(place)
        if os.path.isabs(image) and os.path.isdir(image) and self._images and os.path.realpath(image).startswith(self._images + "/"):
            return os.path.realpath(image)
        if self._host_image:
            return "/"
        where = f"in {self._images}" if self._images else "here: no directory of images was named (--images)"
        raise ImageError(f"image {image!r} is not {where}, and the host's own files may not stand in for it")


def image_mounts(root: str, binds: Sequence[Bind]) -> list[str]:
    """Say how an image is mounted read-only, with room for what is bound at paths that it does not have.

    Where a mount point must be made, the directory around it is made anew, and what the image has there is mounted into it piece by piece.
    """
    opened = {"/"}
    for bind in binds:
        if not (os.path.isdir if bind.directory else os.path.isfile)(root.rstrip("/") + bind.path):
            opened.update(each for each in _above(bind.path) if os.path.isdir(root.rstrip("/") + each))
    argv: list[str] = []
    for directory in sorted(opened):
        place = root.rstrip("/") + directory
        argv += ["--tmpfs", directory]
        for name in sorted(os.listdir(place)):
            inside = posixpath.join(directory, name)
            if os.path.islink(f"{place}/{name}"):
                argv += ["--symlink", os.readlink(f"{place}/{name}"), inside]
            elif inside not in opened and inside not in {"/proc", "/dev"}:
                argv += ["--ro-bind-try", f"{place}/{name}", inside]
    return argv


def _above(path: str) -> Iterator[str]:
    """Go through the directories around a path, from the root on."""
    parts = path.strip("/").split("/")[:-1]
    return ("/" + "/".join(parts[:count]) for count in range(len(parts) + 1))
