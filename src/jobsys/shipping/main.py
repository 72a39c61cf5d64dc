"""What was started: a script, a module, a directory or archive with a ``__main__``, or a session. Reads ``__main__``, changes nothing."""

import sys

from jobsys import session
from jobsys.modules import script_path
from jobsys.resource import ModuleDescriptor
from jobsys.shipping.closure import Start
from jobsys.shipping.imports import session_names


class Main:
    """The ``__main__`` of this process: what describes it for a worker (None for a session), and where the closure begins."""

    def __init__(self) -> None:
        """Look at it.

        Raises:
            ResourceException: it can't be shipped.
        """
        module = sys.modules["__main__"]
        self.descriptor: ModuleDescriptor | None = None
        if session.is_session(module):
            self.start = Start("", "", False, tuple(session_names(vars(module).values())))
            return
        self.descriptor = ModuleDescriptor.forModule("__main__")
        file = script_path(module) or ""
        spec = getattr(module, "__spec__", None)  # a debugger's may have none
        if spec is None or spec.name == "__main__":
            self.start = Start(self.descriptor.dirPath, file, True)
        else:
            self.start = Start("", file, False, (spec.name.partition(".")[0],))
