"""Where the scripts of HTCondor's jobs lie until they have started: files that nobody else can read, of which somebody must get rid."""

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from jobsys.batch.cluster.htcondor_states import Ad
from jobsys.batch.cluster.htcondor_submission import said
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Command, Steps

logger = logging.getLogger(__name__)

FOLDER: Final = "${1:-${XDG_STATE_HOME:-$HOME/.local/state}/jobsys/htcondor}"
SAVE: Final = f"""set -e
umask 077
folder={FOLDER}
mkdir -p -- "$folder" ${{3:+"$3"}}
cd -- "$folder"
name=$(mktemp "$2.XXXXXXXX")
cat >"$name"
printf '%s/%s\\n' "$(pwd -P)" "$name"
"""
DROP: Final = f'cd -- "{FOLDER}" && shift && rm -f -- "$@"'
NAME: Final = re.compile(r"[a-z][a-z0-9-]*\.[A-Za-z0-9]+")


class Scripts:
    """The scripts that are there, by the native id of their jobs, or by the name of their ask as long as that is not known.

    They are written and deleted by the shell, beside HTCondor's tools: those may be run as somebody else, or in a container.
    """

    def __init__(self, directory: str, prefix: Sequence[str]) -> None:
        """Keep them in a directory, or below ``~/.local/state``; the prefix goes before each command."""
        self._directory, self._prefix = directory, prefix
        self._known: dict[str, set[str]] = {}
        self._gone: set[str] = set()

    def save(self, ask: Ask) -> Steps[str]:
        """Write a script to a new file, and make the directory of the log; return the file's path.

        Raises:
            AskRefusedError: it can't be written.
        """
        saved = yield self._command(SAVE, ask.name, ask.log, text=ask.script)
        path = saved.stdout.removesuffix("\n")
        if saved.status or not path:
            way = "give --batch-option directory=PATH, of a directory that you can write to"
            raise AskRefusedError(f"the script of the tasks can't be kept for HTCondor: {said(saved.stderr)}; {way}")
        self._known.setdefault(ask.name, set()).add(path.rpartition("/")[2])
        return path

    def belong(self, name: str, native: str) -> None:
        """Note that the jobs of an ask have this native id."""
        self._known.setdefault(native, set()).update(self._known.pop(name, ()))

    def natives(self) -> list[str]:
        """List the jobs of which a script is there."""
        return [key for key in self._known if key.isdecimal()]

    def learn(self, ads: Iterable[Ad]) -> None:
        """Note what jobs say of their scripts, which another leader may have written."""
        for ad in ads:
            name = ad.get("JobsysScript")
            if isinstance(name, str) and NAME.fullmatch(name) and name not in self._gone:
                self._known.setdefault(str(ad["ClusterId"]), set()).add(name)

    def drop(self, keys: Collection[str]) -> Steps[None]:
        """Delete the scripts of jobs of which none will start any more."""
        names: set[str] = set().union(*(self._known.pop(key, ()) for key in keys))
        if names:
            output = yield self._command(DROP, *sorted(names))
            self._gone |= names
            if output.status:
                logger.warning("scripts that HTCondor no longer needs can't be deleted: %s", said(output.stderr))

    def _command(self, program: str, *arguments: str, text: str = "") -> Command:
        return Command((*self._prefix, "/bin/sh", "-c", program, "sh", self._directory, *arguments), text)
