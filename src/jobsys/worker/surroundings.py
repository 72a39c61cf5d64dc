"""What a job finds changed must not be what the one before it left: the process' surroundings, noted before a job and restored after it.

Restored are the working directory, the environment, the umask, ``sys.path``, ``sys.argv``, ``sys.stdout`` and ``sys.stderr``, descriptors
1 and 2, the alarm, and the handlers of the signals that a program usually catches. What a job does to modules, loggers, threads and
open files stays with the worker: ``--isolation process`` gives each job a process of its own. There only that is restored on which
depends what comes after the job: its log and its report.
"""

import _signal  # type: ignore[import-not-found]  # what signal wraps in enumerations, which takes ten times as long
import os
import signal
import sys
from contextlib import suppress
from typing import Any, Final

from jobsys.worker.output import flush

_SIGNALS: Final = tuple(
    map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1))
)
_environment: Final[dict[bytes, bytes]] = vars(os.environ)["_data"]  # comparing that takes a tenth of the time


class Surroundings:
    """The surroundings as they were when this was made."""

    __slots__ = ("_argv", "_directory", "_environment", "_handlers", "_last", "_log", "_output", "_path", "_streams", "pid")

    def __init__(self, log: int, *, last: bool = False) -> None:
        """Note them.

        Args:
            log: what descriptors 1 and 2 are to write to, -1 if they are left alone.
            last: this process ends after the job.
        """
        self.pid = os.getpid()
        self._log = log
        self._last = last
        self._output = None if log < 0 else os.fstat(log)
        self._streams = (sys.stdout, sys.stderr)
        if not last:
            self._note_for_the_next()

    def _note_for_the_next(self) -> None:
        try:
            self._directory = os.getcwd()
        except OSError:  # deleted by an earlier job
            self._directory = "/"
        self._environment = _environment.copy()
        self._path = sys.path[:]
        self._argv = sys.argv[:]
        self._handlers: list[Any] = list(map(_signal.getsignal, _SIGNALS)) if self._log >= 0 else []

    def restore(self) -> None:
        """Undo what has changed."""
        if not self._last:
            self._restore_for_the_next()
        if self._log >= 0:
            self._restore_process()

    def _restore_for_the_next(self) -> None:
        try:
            moved = os.getcwd() != self._directory
        except OSError:
            moved = True
        if moved:
            with suppress(OSError):  # the place is gone: stay
                os.chdir(self._directory)
        if _environment != self._environment:
            self._restore_environment()
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.argv != self._argv:
            sys.argv[:] = self._argv

    def _restore_environment(self) -> None:
        for name in _environment.keys() - self._environment.keys():
            del os.environ[os.fsdecode(name)]
        for name, value in self._environment.items():
            if _environment.get(name) != value:
                os.environ[os.fsdecode(name)] = os.fsdecode(value)

    def _restore_process(self) -> None:
        """Restore what belongs to a worker process alone."""
        flush("stdout")  # a stream of the job's own
        sys.stdout, sys.stderr = self._streams  # which may close the job's own, and with them descriptors
        for descriptor in (1, 2):
            if not self._leads_to_log(descriptor):
                os.dup2(self._log, descriptor)
        self._streams = sys.stdout, sys.stderr = _opened(sys.stdout, 1), _opened(sys.stderr, 2)
        os.umask(_UMASK)
        threading = sys.modules.get("threading")  # unless it is loaded there is no other thread
        if threading is None or threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not self._last and list(map(_signal.getsignal, _SIGNALS)) != self._handlers:
                for number, handler in zip(_SIGNALS, self._handlers, strict=True):
                    if handler is not None:  # else it was installed by C code, and can't be put back from here
                        _signal.signal(number, handler)

    def _leads_to_log(self, descriptor: int) -> bool:
        try:
            found = os.fstat(descriptor)
        except OSError:  # closed
            return False
        return self._output is not None and found.st_ino == self._output.st_ino and found.st_dev == self._output.st_dev


def _opened(stream: Any, descriptor: int) -> Any:
    """Give a stream back as it was, or one like it where a job has closed it."""
    if stream is None or not stream.closed:
        return stream
    return open(descriptor, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK: Final = _umask()
