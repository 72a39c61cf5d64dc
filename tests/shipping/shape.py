"""One shape of a project: its files, how it is made ready and started, and what it must print. Knows no host and no fixture."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PROOF: Final = textwrap.dedent('''
    def seen(*modules):
        """Say where this ran and from which files its modules came; the harness takes these lines apart."""
        import socket
        return [f"on {socket.gethostname()}", *(f"at {module.__file__}" for module in modules)]
''')
GUARD: Final = textwrap.dedent("""
    if __name__ == "__main__":
        parser = jobsys.argument_parser()
        value, lines = jobsys.run(main(), parser.parse_args())
        print(value, *lines, sep="\\n")
""")
START: Final = ("{store}", "{options}")
"""What every script takes: the job store, and the options of the batch system under test."""


@dataclass(frozen=True)
class Shape:
    """A way of writing and starting a workflow.

    In ``argv``, ``setup``, ``environment`` and ``stdin`` stand placeholders: {python} the environment's, {base} the one it was made from,
    {project}, {venv}, {tools} (build tools, for PYTHONPATH), {checkout} (a copy of jobsys' sources), {store}, {options}, and {argv}, the
    last two as a Python list.
    """

    name: str
    files: Mapping[str, str | bytes]
    out: str
    argv: tuple[str, ...] = ("{python}", "flow.py", *START)
    setup: tuple[tuple[str, ...], ...] = ()
    venv: str = "shared"  # the session's own, "own" a copy for this shape, "science" with numpy and a kernel
    cwd: str = "."
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    options: tuple[str, ...] = ()
    local: bool = True  # says something on this machine, too
    hosts: tuple[str, ...] = ("n3", "n4")
    places: int = 1  # how many lines "at" there must be
    edit: Mapping[str, str] = field(default_factory=dict)  # after a first start that must fail
    again: tuple[str, ...] = ()  # options of the second start
    first: tuple[str, ...] = ()  # options of the first start
    forbidden: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def script(body: str, head: str = "") -> str:
    """Make a script: imports, the proof, jobs, and the guarded start. ``main`` returns a value and what ``seen`` gave."""
    return f"import jobsys\n{textwrap.dedent(head)}{PROOF}\n{textwrap.dedent(body)}\n{GUARD}"


def module(body: str) -> str:
    """Write a module that a script imports."""
    return textwrap.dedent(body).lstrip()


HELPER: Final = "def twice(x):\n    return 2 * x\n"
"""A decoy called ``helper`` lies in the site-packages of every worker."""
TWICE: Final = """
    @jobsys.job(memory="50M")
    def main():
        return helper.twice(21), seen(helper)
"""
