"""Every key of a job store is made here, and nowhere else."""

from typing import Final
from urllib.parse import quote, unquote

STORE: Final = "jobsys-store.json"  # format, and what was asked for; its presence makes a directory a job store
STATUS: Final = "status.json"
KILL: Final = "kill.json"
LEASES: Final = "lease/"
JOURNAL: Final = "journal/"
SNAPSHOTS: Final = "snapshots/"
COMMITS: Final = "commits/"


def lease(epoch: int) -> str:
    """Who leads; created once."""
    return f"{LEASES}{epoch:08d}"


def heartbeat(epoch: int) -> str:
    """When that leader was last alive; replaced."""
    return f"heartbeat/{epoch:08d}"


def code(epoch: int) -> str:
    """Which resources that leader shipped."""
    return f"code/{epoch:08d}.json"


def journal(segment: int) -> str:
    """A group of events with their payloads; created once, in order, without a gap."""
    return f"{JOURNAL}{segment:010d}"


def snapshot(segment: int) -> str:
    """The state after that segment."""
    return f"{SNAPSHOTS}{segment:010d}"


def number(key: str) -> int:
    """Read the number back from a key of a segment, a snapshot or a lease."""
    return int(key.rpartition("/")[2])


def value(job: int, token: str, serial: int) -> str:
    """A large value, or a large body of a new job, of an attempt."""
    return f"{values(job, token)}{serial}"


def values(job: int, token: str) -> str:
    """All large values of an attempt."""
    return f"values/{job}-{token}/"


def log(job: int, token: str) -> str:
    """What an attempt printed, where it is too much for the journal."""
    return f"logs/{job}-{token}"


def commit(job: int) -> str:
    """The commit of a worker that could not reach its leader; created once."""
    return f"{COMMITS}{job:012d}"


def file(job: int, token: str, serial: int, name: str) -> str:
    """A global file; its name is kept for people."""
    return f"{files(job, token)}{serial}/{_quoted(name)}"


def files(job: int, token: str) -> str:
    """All global files of an attempt."""
    return f"files/{job}-{token}/"


def file_name(key: str) -> str:
    """Read a global file's name back from its key."""
    return unquote(key.rpartition("/")[2])


def shared(name: str) -> str:
    """A file with a known name, such as shipped code."""
    return f"shared/{'/'.join(_quoted(part) for part in name.split('/'))}"


def immutable(key: str) -> bool:
    """Tell whether an object never changes once it is there."""
    return key.startswith((JOURNAL, "values/", "files/", SNAPSHOTS))


def _quoted(name: str) -> str:
    text = quote(name, safe="").encode("ascii", "replace").decode()[:180] or "file"
    text = text.rstrip("%")
    return text if text.strip(".") else text.replace(".", "%2E")
