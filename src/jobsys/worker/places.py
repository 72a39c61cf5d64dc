"""The directories of a host's workers, each with the log of its worker. What a worker has left as it was is given to the next."""

import os
import shutil
import stat
from pathlib import Path
from typing import Final

LOG: Final = "log"
_TAIL: Final = 1 << 16
_KEPT_MOST: Final = 64


class Places:
    """Directories below one of the host's own: a worker has its own for as long as it lives, and finds nothing in it but an empty log."""

    def __init__(self, base: Path) -> None:
        """Make directories below ``base``, which is made by ``open``."""
        self.base = base
        self._made = 0
        self._free: list[Path] = []

    def open(self) -> None:
        """Make the directory for all the others."""
        self.base.mkdir(mode=0o700)

    def take(self) -> Path:
        """Give a directory that no living worker has."""
        while self._free:
            directory = self._free.pop()
            if directory.is_dir():  # else somebody tidied up
                return directory
        self._made += 1
        directory = self.base / f"worker-{self._made}"
        os.mkdir(directory, 0o700)
        return directory

    def give_back(self, directory: Path) -> None:
        """Take the directory of a worker that left after its job, with all that it had started; remove it unless it is as it was."""
        if len(self._free) < _KEPT_MOST and _is_unused(directory):
            self._free.append(directory)
        else:
            remove(directory)

    def close(self) -> None:
        """Remove all of them."""
        remove(self.base)


def open_log(directory: Path) -> int:
    """Open a worker's log for appending, and give its descriptor."""
    return os.open(f"{directory}/{LOG}", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it."""
    shutil.rmtree(directory, ignore_errors=True)


def tail(directory: Path, start: int) -> bytes:
    """Read the end of a worker's log, of what was written since ``start``."""
    try:
        with (directory / LOG).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start, size - _TAIL))
            return log.read(_TAIL)
    except OSError:
        return b""


def _is_unused(directory: Path) -> bool:
    """Tell whether a directory holds nothing but an empty log, which still is the file that it was made as."""
    try:
        if os.listdir(directory) != [LOG]:
            return False
        place, log = os.lstat(directory), os.lstat(f"{directory}/{LOG}")
    except OSError:
        return False
    private = stat.S_IMODE(place.st_mode) & 0o777 == 0o700 and stat.S_IMODE(log.st_mode) == 0o600
    return private and stat.S_ISREG(log.st_mode) and log.st_size == 0 and log.st_nlink == 1
