"""Print the completion script for a shell.

Examples:
  jobsys completion bash > ~/.local/share/bash-completion/completions/jobsys
  jobsys completion zsh > ~/.zfunc/_jobsys        with fpath+=~/.zfunc before compinit in ~/.zshrc
  jobsys completion tcsh > ~/.jobsys.tcsh         with source ~/.jobsys.tcsh in ~/.tcshrc
"""

import argparse

import shtab

from jobsys.cli.output import print_json
from jobsys.cli.parser import make_parser


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")
    parser.add_argument("--json", action="store_true", help="print shell and script as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Print it."""
    parser = make_parser()
    for subparser in _subparsers(parser):
        for action in subparser._actions:  # noqa: SLF001
            if action.dest in ("locator", "output"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(parser, arguments.shell)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": script})
    else:
        print(script)
    return 0


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        subparser
        for action in parser._actions  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
        for subparser in action.choices.values()
    ]
