"""A Dask cluster that is there already as a scheduler of tasks: each is a Dask task, whose worker runs the script by /bin/sh.

The leader's end: what it asks is done by functions that run in Dask's scheduler (`dask_ledger.py`) and workers (`dask_worker.py`).
"""

import importlib
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from jobsys.batch.cluster.scheduler import (
    Ask,
    AskRefusedError,
    PassingError,
    Scheduler,
    Seen,
    Setting,
    TaskId,
    TaskState,
    settings_of,
)
from jobsys.errors import BatchSystemError, UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

SECONDS: Final = 60.0
"""After which Dask's scheduler is said not to answer."""
PAUSE: Final = 0.02
KINDS: Final = ("cores", "memory", "accelerators")


class Shipped:
    """A thing of a module that the other end does not have, to be pickled by value: whoever unpickles this gets the thing itself."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        """Take what a module has under a name; with arguments, what a call of it gives."""
        self._module = importlib.import_module(f"jobsys.batch.cluster.{module}")  # which loads distributed
        thing = getattr(self._module, name)
        self._thing = thing(*arguments) if arguments else thing
        self.__name__ = name

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        """Call it here."""
        return self._thing(*arguments, **more)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it by value, whatever pickles this."""
        cloudpickle = importlib.import_module("cloudpickle")
        cloudpickle.register_pickle_by_value(self._module)
        return cloudpickle.loads, (cloudpickle.dumps(self._thing),)


class DaskScheduler(Scheduler):
    """Tasks as tasks of Dask, told apart by keys made of the ask's name and their numbers."""

    name = "dask"
    settings = (
        Setting("scheduler", "the address of Dask's scheduler (tcp://HOST:PORT, tls://HOST:PORT), or the path of its scheduler file"),
        Setting(
            "resources",
            "which resources of Dask's workers stand for cores, memory (bytes) and accelerators: cores=CPU,memory=MEMORY,accelerators=GPU",
            "accelerators=GPU",
        ),
    )
    index = "JOBSYS_TASK"

    def __init__(self, options: Mapping[str, str] | None = None, seconds: float = SECONDS) -> None:
        """Take the settings that were given, and after how many seconds Dask's scheduler is said not to answer.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        given = settings_of(self.name, self.settings, options or {})
        self._place = given["scheduler"] or os.environ.get("DASK_SCHEDULER_ADDRESS", "")
        if not self._place:
            raise UsageError("which Dask? Say --batch-option scheduler=tcp://HOST:PORT, or the path of its scheduler file")
        self._kinds = parse_resources(given["resources"])
        self._seconds = seconds
        self._client: Any = None
        self._connecting = threading.Lock()  # `check` is asked for by another thread than the rest

    def check(self, requirements: Requirements) -> str:
        """Say why no worker of the cluster, as it is now, can run such a task."""
        needs = resources_of(requirements, self._kinds)
        return lacking(needs, self._ask("workers")) if needs else ""

    def submit(self, ask: Ask) -> str:
        """Ask for tasks; once they are known in Dask's scheduler they run on without their leader."""
        if self._ask("find", ask.name):
            return ask.name
        futures = self._try(lambda client: client.map(Shipped("dask_worker", "run_task"), range(ask.count), **self._how(ask)))
        deadline = time.monotonic() + self._seconds
        while self._ask("keep", ask.name, ask.count) < ask.count:
            if futures[0].status == "error":
                raise AskRefusedError(f"Dask does not take the tasks: {futures[0].exception(timeout=self._seconds)!r}")
            if time.monotonic() > deadline:
                raise PassingError(f"Dask's scheduler has not taken the tasks within {self._seconds:g} s")
            time.sleep(PAUSE)
        return ask.name

    def find(self, name: str) -> str | None:
        """Find tasks by name."""
        return name if self._ask("find", name) else None

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Look at tasks."""
        told = self._ask("look", {native: list(numbers) for native, numbers in tasks.items()}) if tasks else ()
        return {
            TaskId(name, number): Seen(TaskState(state), Reason(reason) if reason else None, status, message, host)
            for name, number, state, reason, status, message, host in told
        }

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks; those that run end within some seconds."""
        if tasks:
            self._ask("cancel", {native: None if numbers is None else list(numbers) for native, numbers in tasks.items()})

    def close(self) -> None:
        """Hang up; tasks run on."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _how(self, ask: Ask) -> dict[str, Any]:
        key_of = Shipped("dask_ledger", "key_of")
        return {
            "key": [key_of(ask.name, number) for number in range(ask.count)],
            "pure": False,
            "retries": 0,
            "resources": resources_of(ask.requirements, self._kinds) or None,
            "name": ask.name,
            "script": Shipped("dask_worker", "Hidden", ask.script),
            "index": self.index,
            "log": ask.log,
            "seconds": ask.requirements.walltime,
        }

    def _ask(self, what: str, *arguments: Any) -> Any:
        """Have a function of the ledger run in Dask's scheduler."""
        function = Shipped("dask_ledger", what)
        return self._try(lambda client: client.run_on_scheduler(function, *arguments, callback_timeout=self._seconds))

    def _try(self, do: Callable[[Any], Any]) -> Any:
        """Do something with a client, which is made anew after it failed.

        Raises:
            PassingError: Dask's scheduler does not answer.
        """
        try:
            with self._connecting:
                self._client = client = self._client or connect(self._place, self._seconds)
            return do(client)
        except (OSError, TimeoutError, RuntimeError) as error:  # a client that was closed by the other end says RuntimeError
            self.close()
            raise PassingError(f"Dask's scheduler at {self._place} does not answer: {error}") from error


def connect(place: str, seconds: float) -> Any:
    """Make a client of the scheduler at an address, or of the one that a file names.

    Raises:
        BatchSystemError: distributed is not installed.
        PassingError: there is no such file.
        OSError: nobody answers.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise BatchSystemError("Dask's own library is not there: pip install 'jobsys[dask]'") from error
    is_address = "://" in place or (":" in place and "/" not in place)
    if not is_address and not os.path.exists(place):  # for which Dask would wait
        raise PassingError(f"there is no scheduler file of Dask at {place}")
    where = {"address" if is_address else "scheduler_file": place}
    return distributed.Client(**where, timeout=seconds, set_as_default=False, name="jobsys")


def parse_resources(text: str) -> dict[str, str]:
    """Read which resource of Dask stands for what.

    Raises:
        UsageError: it can't be read.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, name = part.partition("=")
        if kind not in KINDS or not name:
            raise UsageError(f"--batch-option resources: {part!r} is not KIND=NAME with a KIND of {', '.join(KINDS)}")
        found[kind] = name
    return found


def resources_of(requirements: Requirements, kinds: Mapping[str, str]) -> dict[str, float]:
    """Say what a task takes of a worker's resources; memory in bytes."""
    return {name: amount for kind, name in kinds.items() if (amount := getattr(requirements, kind))}


def lacking(needs: Mapping[str, float], workers: Collection[Mapping[str, float]]) -> str:
    """Say why no worker can run a task; nothing if one can, or there is none at all, for clusters grow."""
    if not workers or any(all(worker.get(name, 0) >= amount for name, amount in needs.items()) for worker in workers):
        return ""
    wanted = " ".join(f"{name}={amount:g}" for name, amount in needs.items())
    return f"no worker of the Dask cluster has the resources {wanted}: start workers with --resources '{wanted}'"
