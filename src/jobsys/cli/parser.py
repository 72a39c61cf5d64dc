"""The command line: which subcommands there are, and what all of them have."""

import argparse
import importlib
from collections.abc import Collection, Sequence
from typing import Final, Protocol, cast

from jobsys.arguments import ArgumentParser
from jobsys.collecting import uncollected
from jobsys.version import VERSION


class Command(Protocol):
    """What the module of a subcommand has."""

    __doc__: str | None

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the subcommand's arguments."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Do it; return the exit status."""


COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "status": ("jobsys.cli.status", "show how a run is going: counts, what runs, what failed"),
    "logs": ("jobsys.cli.logs", "show what jobs printed, and why they failed"),
    "stats": ("jobsys.cli.stats", "show where a run's time and memory went, by function"),
    "graph": ("jobsys.cli.graph", "draw the graph of a run's jobs"),
    "kill": ("jobsys.cli.kill", "stop a run; it can be resumed"),
    "restart": ("jobsys.cli.restart", "resume a run with the command that started it"),
    "serve": ("jobsys.cli.serve", "give a job store to workers that do not share its directory"),
    "clean": ("jobsys.cli.clean", "delete a job store"),
    "lifecycle": ("jobsys.cli.lifecycle", "print a rule by which S3 removes what was left of uploads and versions"),
    "ship": ("jobsys.cli.ship", "show what code would travel with a script, with sizes and reasons"),
    "cache": ("jobsys.cli.cache", "show or empty this host's cache of shipped code"),
    "completion": ("jobsys.cli.completion", "print the completion script for a shell"),
}
"""Name -> the module that does it, and its line of help."""

_EPILOG: Final = """\
Examples:
  jobsys status file:my-store --watch      look on until the run ends
  jobsys logs file:my-store --failed       why did jobs fail?
  jobsys stats file:my-store               which jobs ask for too much memory?
  jobsys restart file:my-store             go on where it stopped

A locator is file:/path, a plain path, s3://bucket/prefix, or http://host:port of a store that is served.
Exit status: 0 fine, 1 the run failed or is not there, 2 wrong usage.
"""


def make_parser(load: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Make the command line; only the subcommands in ``load`` get their arguments, and have their modules loaded."""
    parser = ArgumentParser(
        prog="jobsys",
        description="Look at the runs of jobsys workflows, stop and resume them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jobsys {VERSION}")
    subparsers = parser.add_subparsers(title="commands", dest="command", required=True)
    for name, (module, help) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in load:
            with uncollected():
                command = cast("Command", importlib.import_module(module))
            subparser.description, _, subparser.epilog = (command.__doc__ or "").partition("\n\n")
            command.configure(subparser)
            subparser.set_defaults(execute=command.execute, refuse=subparser.error)
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line, loading only what it names."""
    name = next((word for word in words if not word.startswith("-")), "")
    parser = make_parser({name})
    arguments, more = parser.parse_known_args(words)
    # argparse gives up positional arguments that come after an option, as in: logs LOCATOR --attempt 1 JOB
    if more and (any(word.startswith("-") for word in more) or not hasattr(arguments, "jobs")):
        arguments.refuse(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.jobs = [*arguments.jobs, *more]
    return arguments


def add_locator(parser: argparse.ArgumentParser) -> None:
    """Add the argument that nearly every subcommand has."""
    parser.add_argument(
        "locator", metavar="LOCATOR", help="the job store: file:/path, a plain path, s3://bucket/prefix, or http://host:port"
    )
    add_s3(parser)


def add_s3(parser: argparse.ArgumentParser) -> None:
    """Add how a bucket is used."""
    group = parser.add_argument_group("s3:// stores")
    group.add_argument("--s3-endpoint-url", metavar="URL", help="the URL of a server that is not Amazon's (default: AWS_ENDPOINT_URL_S3)")
    group.add_argument("--s3-sse-key-file", metavar="PATH", help="the file with the key of your own that the run was started with")
    group.add_argument("--s3-owner", metavar="ACCOUNT", help="the account that must own the bucket (default: not checked)")
    group.add_argument("--s3-requester-pays", action="store_true", help="pay for the requests to a bucket of somebody else's")
    parser.set_defaults(in_bucket=True)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names jobs."""
    parser.add_argument("jobs", metavar="JOB", nargs="*", default=[], help="number or name of a job, or a pattern such as 'align*'")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
