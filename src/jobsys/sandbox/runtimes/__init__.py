"""Which runtime makes the sandboxes of this host."""

from typing import Final

from jobsys.errors import UsageError
from jobsys.sandbox.runtimes.base import Runtime
from jobsys.sandbox.runtimes.bubblewrap import Bubblewrap
from jobsys.sandbox.runtimes.containers import Apptainer, Docker, Podman
from jobsys.sandbox.spec import Site

RUNTIMES: Final[dict[str, type[Runtime]]] = {each.name: each for each in (Podman, Docker, Apptainer, Bubblewrap)}
"""By name, in the order in which they are tried."""


def choose(site: Site) -> Runtime:
    """Make the runtime that was asked for, or the first that works here.

    Raises:
        UsageError: there is none; the text says what each of them lacks.
    """
    names = list(RUNTIMES) if site.runtime == "auto" else [site.runtime]
    reasons = []
    for name in names:
        if name not in RUNTIMES:
            raise UsageError(f"there is no container runtime {name!r}: there are auto, {', '.join(RUNTIMES)}")
        kind = RUNTIMES[name]
        reason = kind.missing()
        if not reason:
            return Bubblewrap(site.images, host_image=site.host_image) if kind is Bubblewrap else kind()
        reasons.append(reason)
    raise UsageError(f"no container can be run on this host: {'; '.join(reasons)}")
