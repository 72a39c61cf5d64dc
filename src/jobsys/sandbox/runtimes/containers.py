"""podman and docker, by their command lines, which are alike."""

import os
import shutil
import subprocess
from typing import ClassVar, Final

from jobsys.sandbox.runtimes.base import Command, ImageError, Runtime, Start

_PULL_SECONDS: Final = 3600.0
_STOP_SECONDS: Final = 30.0


class Podman(Runtime):
    """Needs the program ``podman``, and images in its store or in a registry that it reaches."""

    name = "podman"
    program: ClassVar[str] = "podman"

    @classmethod
    def missing(cls) -> str:
        """Say what is missing."""
        if shutil.which(cls.program) is None:
            return f"there is no program {cls.program}"
        done = subprocess.run([cls.program, "info"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return f"{cls.program} does not work here: {_last(done.stderr)}" if done.returncode else ""

    def prepare(self, image: str) -> str:
        """Pull an image that is not here."""
        quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False}
        if subprocess.run([self.program, "image", "inspect", image], **quiet).returncode == 0:  # type: ignore[call-overload] # all are known
            return ""
        try:
            done = subprocess.run(
                [self.program, "pull", image], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PULL_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise ImageError(f"image {image!r} could not be pulled in {_PULL_SECONDS:g} s") from error
        if done.returncode:
            raise ImageError(f"image {image!r} is not here and can't be pulled: {_last(done.stderr)}")
        return ""

    def command(self, start: Start) -> Command:
        """Run a container that is removed when it ends."""
        argv = [self.program, "run", "--rm", "--interactive", "--init", "--name", start.name, "--network", "host"]
        argv += ["--cpus", f"{start.limits.cores:g}"] if start.limits.cores else []
        argv += ["--memory", str(start.limits.memory)] if start.limits.memory else []
        for bind in start.binds:
            argv += ["--volume", f"{start.tree}{bind.path}:{bind.path}"]
        for device in start.limits.accelerators:
            argv += ["--device", device]
        argv += ["--workdir", start.workdir] if start.workdir else []
        for name, value in start.env.items():
            argv += ["--env", f"{name}={value}"]
        words = list(start.command)
        if start.shell and len(words) == 1 and " " in words[0]:
            words = ["/bin/sh", "-c", words[0]]
        return Command([*argv, "--entrypoint", words[0], start.image, *words[1:]])

    def stop(self, name: str) -> None:
        """Remove the container, also where the process that had started it is dead."""
        subprocess.run(
            [self.program, "rm", "--force", "--time", "0", name] if self.program == "podman" else [self.program, "rm", "--force", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_STOP_SECONDS,
        )


class Docker(Podman):
    """Needs the program ``docker``, a daemon, and the right to talk to it."""

    name = "docker"
    program = "docker"


class Apptainer(Runtime):
    """Needs the program ``apptainer`` or ``singularity``; images are what those take: a file, a directory, a URL."""

    name = "apptainer"

    @classmethod
    def missing(cls) -> str:
        """Say what is missing."""
        return "" if _apptainer() else "there is no program apptainer or singularity"

    def prepare(self, image: str) -> str:
        """Leave it to the program, which pulls and converts when it runs."""
        if image.startswith("/") and not os.path.exists(image):
            raise ImageError(f"image {image!r} is not here")
        return ""

    def command(self, start: Start) -> Command:
        """Run with nothing of the host but what is shared."""
        argv = [_apptainer() or "apptainer", "--silent", "exec", "--contain", "--cleanenv", "--writable-tmpfs", "--no-home", "--pid"]
        argv += ["--nv"] if start.limits.accelerators else []
        for bind in start.binds:
            argv += ["--bind", f"{start.tree}{bind.path}:{bind.path}"]
        argv += ["--pwd", start.workdir] if start.workdir else []
        for name, value in start.env.items():
            argv += ["--env", f"{name}={value}"]
        image = start.image if start.image.startswith("/") or "://" in start.image else f"docker://{start.image}"
        words = list(start.command)
        if start.shell and len(words) == 1 and " " in words[0]:
            words = ["/bin/sh", "-c", words[0]]
        return Command([*argv, image, *words])


def _apptainer() -> str | None:
    return shutil.which("apptainer") or shutil.which("singularity")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it does not say why"
