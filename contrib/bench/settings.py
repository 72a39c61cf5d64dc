"""What all cases are told, and what a case is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from report import Case

TO_INSTALL = ("ray", "parsl", "dask", "toil", "awscli")
PEERS = ("pool", "fork", "spawn", *TO_INSTALL)


@dataclass(frozen=True)
class Settings:
    """How it is measured."""

    directory: Path
    quick: bool = False  # small and once: to see that it works, not how fast it is
    rounds: int | None = None
    count: int | None = None  # --n
    peers: tuple[str, ...] = ()
    peer_python: str = ""  # empty: there are no installed peers
    shipped_python: Callable[[], str] = str
    workers: int = 2

    def size(self, usual: int, quick: int) -> int:
        """Tell how many to take."""
        return self.count or (quick if self.quick else usual)

    def turns(self, usual: int) -> int:
        """Tell how many rounds to run."""
        return self.rounds or (1 if self.quick else usual)

    def among(self, *names: str) -> list[str]:
        """Pick from these peers those that were asked for."""
        return [name for name in names if name in self.peers]


class Bench(NamedTuple):
    """A case of the suite; it may give several tables."""

    name: str
    about: str
    run: Callable[[Settings], list[Case]]
    usual: bool = True  # runs unless cases are named
    quick: bool = True  # takes part in --quick
    beside: bool = True  # runs beside peers that must be installed
