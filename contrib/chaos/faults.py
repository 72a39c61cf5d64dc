"""Faults of the file system under a job store: a disk that is full, errors, slowness. What can't be had on a machine says why."""

import errno
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZE = 32 << 20  # bytes of the small disk, and so many more for each job
A_JOB = 40 << 10
_PAGE = struct.Struct("<iiii")


class SmallDisk:
    """A tmpfs that a job store lies on, and a file that fills it up."""

    def __init__(self, directory: Path, jobs: int) -> None:
        """Mount it, with room for a run of so many jobs; ``problem`` says why that is not possible here."""
        self.directory = directory
        self.filler = directory / "filler"
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE + jobs * A_JOB},mode=700", "chaos", str(directory)]
        done = _run(command)
        self.problem = done and f"no tmpfs can be mounted here ({done})"

    def fill(self) -> None:
        """Leave no room."""
        with self.filler.open("ab", buffering=0) as stream:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        stream.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        """Undo ``fill``."""
        self.filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if not self.problem and os.path.ismount(self.directory):
            problem = _run(["umount", "--lazy", str(self.directory)])
            if problem:
                raise RuntimeError(f"{self.directory} can't be unmounted: {problem}")


class Shim:
    """A library that is preloaded into a run, and the page through which it is told what to do."""

    def __init__(self, directory: Path) -> None:
        """Compile it into a directory; ``problem`` says why that is not possible here."""
        self.library = directory / "shim.so"
        self.control = directory / "control"
        self.control.write_bytes(bytes(_PAGE.size))
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            self.problem = "errors and slowness can't be injected here: there is no C compiler"
            return
        done = _run([compiler, "-O2", "-shared", "-fPIC", "-o", str(self.library), str(HERE / "shim.c"), "-ldl"])
        self.problem = done and f"errors and slowness can't be injected here: {done}"

    def environment(self, under: Path) -> dict[str, str]:
        """Give the variables with which a run is started, so that files under a directory are struck."""
        if self.problem:
            return {}
        return {"LD_PRELOAD": str(self.library), "CHAOS_CONTROL": str(self.control), "CHAOS_UNDER": str(under)}

    def begin(self, error: int = 0, permille: int = 1000, delay: float = 0.0) -> None:
        """Let that many calls in a thousand fail with ``error``, or take ``delay`` seconds longer."""
        self._write(error, permille, int(delay * 1e6), 0)

    def end(self) -> int:
        """Let all be well; tell how many calls were struck."""
        count = _PAGE.unpack(self.control.read_bytes())[3]
        self._write(0, 0, 0, 0)
        return int(count)

    def wait_for_strike(self, seconds: float) -> None:
        """Wait until a call was struck."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not _PAGE.unpack(self.control.read_bytes())[3]:
            time.sleep(0.01)

    def _write(self, *values: int) -> None:
        descriptor = os.open(self.control, os.O_WRONLY)
        try:
            os.pwrite(descriptor, _PAGE.pack(*values), 0)
        finally:
            os.close(descriptor)


def other_host() -> list[str]:
    """Give the command that runs another one under another host name; empty where that is not possible."""
    command = ["unshare", "--uts", "sh", "-c", 'hostname chaos-elsewhere && exec "$@"', "sh"]
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run([*command, "true"], stdout=output, stderr=output, check=False)
        except OSError:
            return []
    return [] if done.returncode else command


def _run(command: list[str]) -> str:
    """Run a command; say what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip().splitlines()[-1]
