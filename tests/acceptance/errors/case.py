"""A way to go wrong: what the user did, what is said, how the program ends, what is left behind."""

from dataclasses import dataclass
from enum import StrEnum

HEAD = "import os, sys, threading, time\nimport jobsys\n"
GUARD = """
if __name__ == "__main__":
    args = jobsys.argument_parser().parse_args()
    print(jobsys.run(main(), args))
"""
START = "python flow.py store --progress off --backoff 0.01"
DOCUMENT = "docs/troubleshooting.md"


class Left(StrEnum):
    """What is behind ``store`` afterwards; the words stand in the document."""

    NOTHING = "no job store"
    RESUMABLE = "the run, to be resumed"
    FINISHED = "the finished run"
    AS_IT_WAS = "what was there, untouched"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table. In ``says``, ``shows``, ``also`` and ``prints`` each text is a whole line, and … stands for anything in it."""

    did: str  # what the user did
    says: str  # the line that tells what is wrong; the document shows it
    way: str  # what to do about it, for the document
    status: int
    left: Left = Left.NOTHING
    script: str = "@jobsys.job\ndef main():\n    return 1\n"
    guard: str = GUARD
    before: str = ""  # a shell command that prepares the mistake
    command: str = START
    shows: tuple[str, ...] = ()  # lines that come before: where in the script it is
    also: tuple[str, ...] = ()  # lines that follow, in this order
    prints: tuple[str, ...] = ()  # lines on standard output
    environment: tuple[tuple[str, str], ...] = ()
    mended: str = ""  # a shell command that mends it; the same run then goes on with --restart
    result: str = "1"  # what it prints then
    needs: str = ""  # a command without which the case can't be made

    @property
    def name(self) -> str:
        """What the test is called."""
        return self.did.replace(" ", "-")


FAILED = "jobsys: error: 1 job failed:"
KEPT = "All else is kept in file:…/store: mend the cause and run the script again with --restart to go on where it stopped"


def failing(did: str, body: str, says: str, way: str, **more: object) -> Case:
    """Make the case of a job whose body goes wrong; the run names it and can be resumed."""
    options, above = more.pop("options", "retries=0"), more.pop("above", "")
    script = f"{above}@jobsys.job({options})\ndef main():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    also = (*more.pop("also", ()), KEPT)  # type: ignore[misc]
    return Case(did=did, says=says, way=way, status=1, left=Left.RESUMABLE, script=script, also=also, **more)  # type: ignore[arg-type]
