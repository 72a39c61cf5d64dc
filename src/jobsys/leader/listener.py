"""What others may want to know while a run goes on; the leader's loop knows no terminal and no file of theirs."""

from jobsys.events import Event
from jobsys.status import RunStatus


class Listener:
    """Told about a run by its leader; override what is of interest. Must not raise."""

    def on_event(self, event: Event, name: str) -> None:
        """Hear of something that is durable now; ``name`` is the job's."""

    def on_log(self, job: int, name: str, level: int, text: str) -> None:
        """Hear what a running job says to the leader."""

    def on_status(self, status: RunStatus) -> None:
        """See how the run is going, a few times a second at most."""

    def close(self) -> None:
        """End, before the result or the error is shown."""
