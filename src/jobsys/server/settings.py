"""What a server is told when it starts."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobsys.errors import UsageError
from jobsys.sandbox.spec import Site

ENVIRONMENT: Final = "JOBSYS_SERVER_"
"""What the variables begin with from which settings come that nobody gives."""


@dataclass(frozen=True)
class Settings:
    """All that a server's processes need to know. The same in each of them."""

    directory: str = "jobsys-server"
    """Where the server keeps what is its own: the database, unless ``database`` names another, the job store, and logs."""
    database: str = ""
    """The URL of the database; empty: SQLite in ``directory``."""
    name: str = "jobsys"
    organization: str = "jobsys"
    organization_url: str = "https://github.com/ga4gh/task-execution-schemas"
    contact_url: str = ""
    max_body: int = 16 << 20
    """Bytes of a request, at most."""
    max_content: int = 4 << 20
    """Bytes of the content of one input, at most; the specification wants 128 KiB."""

    batch_system: str = "local"
    """Where tasks run, as for ``--batch-system``."""
    runtime: str = "auto"
    """What makes their sandboxes: podman, docker, apptainer, bubblewrap, or the first of them that works."""
    images: str = ""
    """A directory of unpacked images, for bubblewrap."""
    allow: str = ""
    """Directories from which and into which ``file:`` URLs may lead, with ``:`` between them."""

    @property
    def site(self) -> Site:
        """What workers must know of it."""
        return Site(runtime=self.runtime, images=self.images, allowed=[each for each in self.allow.split(os.pathsep) if each])

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return self.database or f"sqlite:///{Path(self.directory).absolute() / 'jobsys.sqlite'}"

    @classmethod
    def from_environment(cls) -> "Settings":
        """Make settings of what the environment says.

        Raises:
            UsageError: a variable makes no sense.
        """
        given: dict[str, object] = {}
        for name, field in cls.__dataclass_fields__.items():
            text = os.environ.get(f"{ENVIRONMENT}{name.upper()}")
            if text is None:
                continue
            try:
                given[name] = int(text) if field.type is int else text
            except ValueError as error:
                raise UsageError(f"{ENVIRONMENT}{name.upper()}={text!r} is no number") from error
        return cls(**given)  # type: ignore[arg-type]
