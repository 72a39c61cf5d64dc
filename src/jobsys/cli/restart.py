"""Resume a run with the very command that started it, in the directory where that was, with --restart added.

Examples:
  jobsys restart file:my-store
  jobsys restart file:my-store --dry-run     only show the command
  jobsys restart file:my-store --key-file my.jobsys-key      the run's key was copied here from another host

The process of this command becomes the new leader: Ctrl-C stops the run, and the exit status is the script's.
"""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from jobsys import runkey
from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json, add_locator
from jobsys.cli.standing import look
from jobsys.errors import JobStoreError, LeaderRunningError
from jobsys.jobstores import JobStore, open_store
from jobsys.jobstores.base import StoreInfo

_RESTART = "--restart"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the command and the directory, start nothing")
    parser.add_argument("--key-file", metavar="PATH", help="where the run's key is, if not where it was made")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Become the command that started the run."""
    store = open_store(arguments.locator, key_file=arguments.key_file)
    info = store.sealed_info()  # what is started here must be what the run's first leader was
    command = restart_command(info)
    if arguments.json:
        print_json({"command": command, "directory": info.directory})
    elif arguments.dry_run:
        print(f"cd {shlex.quote(info.directory)} && {shlex.join(command)}")
    if not arguments.dry_run:
        if arguments.key_file:
            os.environ[runkey.VARIABLE] = os.path.abspath(arguments.key_file)
        _start(store, info, command)
    return 0


def _start(store: JobStore, info: StoreInfo, command: list[str]) -> None:
    leader = look(store).leader
    if leader is not None and leader.alive:
        raise LeaderRunningError(
            f"the run in {store.locator} goes on: its leader is process {leader.pid} on {leader.host}; watch it with "
            f"'jobsys status --watch', or stop it first, with 'jobsys kill'"
        )
    check(info, command)
    print(f"jobsys: in {info.directory}: {shlex.join(command)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(info.directory)
    os.execv(command[0], command)


def restart_command(info: StoreInfo) -> list[str]:
    """Give the command that resumes a run.

    Raises:
        JobStoreError: how it was started was not recorded.
    """
    if len(info.command) < 2:
        raise JobStoreError(
            "the run was not started by a script but in a session (a notebook, a prompt, python -c), so there is no command to start "
            "it again: define there what it runs once more, and call jobsys.run with restart=True"
        )
    command = list(info.command)
    # what follows a lone -- is no option
    end = command.index("--") if "--" in command else len(command)
    if _RESTART not in command[:end]:
        command.insert(end, _RESTART)
    found = shutil.which(command[0])
    return [found or command[0], *command[1:]]


def check(info: StoreInfo, command: list[str]) -> None:
    """Refuse what can't be started any more.

    Raises:
        JobStoreError: the interpreter, the directory or the script is gone.
    """
    way = "start the script where it is now, with --restart"
    if not os.access(command[0], os.X_OK):
        raise JobStoreError(f"the Python that started the run, {command[0]}, is not there any more: {way}, by another Python")
    if not Path(info.directory).is_dir():
        raise JobStoreError(f"the directory in which the run was started, {info.directory}, is not there any more: {way}")
    script = Path(info.directory, command[1])
    if not command[1].startswith("-") and not script.exists():
        raise JobStoreError(f"the script that started the run, {script}, is not there any more: {way}")
