"""Every key of a job store is made here, and nowhere else."""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_LONGEST: Final = 180  # characters of a quoted name
_NUMBERED: Final = re.compile(r"[a-z]+/[0-9]{10}")
_FILE: Final = re.compile(r"files/\d+-[^/]+/\d+-[^/]+")

STORE: Final = "jobsys-store.json"  # format, and what was asked for; its presence makes a directory a job store
STATUS: Final = "status.json"
KILL: Final = "kill.json"
LEASES: Final = "lease/"
JOURNAL: Final = "journal/"
SNAPSHOTS: Final = "snapshots/"
COMMITS: Final = "commits/"
VALUES: Final = "values/"
FILES: Final = "files/"
GRAPHS: Final = "graphs/"
LOGS: Final = "logs/"
TOPS: Final = frozenset(
    {STORE, STATUS, KILL, "lease", "journal", "snapshots", "commits", "heartbeat", "code", "values", "graphs", "logs", "files", "shared"}
    | {"shared-refs", "probe", "tasks"}
)
"""The first parts of all keys."""
TASKS: Final = "tasks/"
"""How the keys begin of what a leader and the tasks of a cluster leave for each other."""
WAVES: Final = f"{TASKS}wave/"
"""How the keys begin of what is kept of the tasks that were asked for together."""
TASK_LOG: Final = f"{TASKS}log"
"""What tasks print, where the store is a directory that they share."""
POINTERS: Final = "shared-refs/"  # to what a run refers to in a commons
RESOURCES: Final = "resources/"
"""How the names of those shared files begin that lie in a commons, where there is one, and all keys of a commons."""
PROBE: Final = "probe/"
"""How the keys begin by which a storage is tried out; what lies there means nothing."""
IMMUTABLE: Final = (JOURNAL, VALUES, GRAPHS, FILES, SNAPSHOTS)
"""How the keys begin whose objects never change once they are there."""


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


def is_numbered(key: str) -> bool:
    """Tell whether a key is that of a segment or a snapshot, and not of a copy that somebody laid beside."""
    return _NUMBERED.fullmatch(key) is not None


def number(key: str) -> int:
    """Read the number back from a key of a segment, a snapshot or a lease."""
    return int(key.rpartition("/")[2])


def value(job: int, token: str, serial: int) -> str:
    """A large value, or a large body of a new job, of an attempt."""
    return f"{values(job, token)}{serial}"


def values(job: int, token: str) -> str:
    """All large values of an attempt."""
    return f"{VALUES}{job}-{token}/"


def graph(job: int, token: str) -> str:
    """The jobs that an attempt made, where they are too many for the journal."""
    return f"{GRAPHS}{job}-{token}"


def log(job: int, token: str) -> str:
    """What an attempt printed, where it is too much for the journal."""
    return f"{LOGS}{job}-{token}"


def commit(job: int, token: str) -> str:
    """The commit of an attempt whose worker could not reach its leader; no two attempts share one, so nobody deletes another's."""
    return f"{COMMITS}{job:012d}-{token}"


def file(job: int, token: str, serial: int, name: str) -> str:
    """A global file; its name is kept for people."""
    return f"{files(job, token)}{serial}-{_quoted(name)}"


def files(job: int, token: str) -> str:
    """All global files of an attempt."""
    return f"{FILES}{job}-{token}/"


def file_name(key: str) -> str:
    """Read a global file's name back from its key."""
    return unquote_to_bytes(key.rpartition("/")[2].partition("-")[2]).decode("utf-8", "surrogateescape")


def is_file(key: str) -> bool:
    """Tell whether a key is that of a global file."""
    return _FILE.fullmatch(key) is not None


def shared(name: str) -> str:
    """A file with a known name, such as shipped code."""
    return f"shared/{'/'.join(_quoted(part) for part in name.split('/'))}"


def resource(name: str) -> str:
    """All generations of a resource in a commons."""
    return f"{RESOURCES}{_quoted(name.removeprefix(RESOURCES))}/"


def pointer(resource: str, generation: str) -> str:
    """That the run refers, or was about to refer, to a generation of what `resource` has named."""
    return f"{POINTERS}{resource.removeprefix(RESOURCES)}{generation}"


def pointed(key: str) -> tuple[str, str]:
    """Read resource and generation back from a pointer's key."""
    name, _, generation = key.removeprefix(POINTERS).partition("/")
    return f"{RESOURCES}{name}/", generation


def immutable(key: str) -> bool:
    """Tell whether an object never changes once it is there."""
    return key.startswith(IMMUTABLE)


def is_own(key: str) -> bool:
    """Tell whether a key can be one of a job store."""
    return key.partition("/")[0] in TOPS


def _quoted(name: str) -> str:
    """Make a name part of a key: whole if it is short, else its beginning and its suffix."""
    text = _quote(name)
    if len(text) > _LONGEST:
        stem, dot, suffix = name.rpartition(".")
        end = _quote(dot + suffix) if stem else ""
        stem, end = (stem, end) if end and len(end) <= _LONGEST // 4 else (name, "")
        while len(text := _quote(stem)) > _LONGEST - len(end):
            stem = stem[: len(stem) - 1 - (len(text) - _LONGEST + len(end)) // 12]
        text += end
    return text if text.strip(".") else text.replace(".", "%2E") or "file"


def _quote(name: str) -> str:
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = name.encode("utf-8", "replace")
    return quote(data, safe="")
