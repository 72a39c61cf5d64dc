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
from jobsys.jobstores import JobStore, keys, open_store
from jobsys.jobstores.base import StoreInfo
from jobsys.record import printable

_RESTART, _KEY_FILE = "--restart", "--key-file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the command and the directory, start nothing")
    parser.add_argument(_KEY_FILE, metavar="PATH", help="where the run's key is, if not where it was made")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Become the command that started the run."""
    store = open_store(arguments.locator, key_file=arguments.key_file)
    info = store.sealed_info()  # what is started here must be what the run's first leader was
    check_place(store, info)
    key_file = os.path.abspath(arguments.key_file) if arguments.key_file else ""
    command = restart_command(info, key_file)
    if arguments.json:
        print_json({"command": command, "directory": info.directory})
    elif arguments.dry_run:
        key = f"{runkey.VARIABLE}={shlex.quote(key_file)} " if key_file else ""
        print(f"cd {shlex.quote(info.directory)} && {key}{shlex.join(command)}")
    if not arguments.dry_run:
        if key_file:
            os.environ[runkey.VARIABLE] = key_file
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


def check_place(store: JobStore, info: StoreInfo) -> None:
    """Refuse a store that was moved or copied: the recorded command would resume what lies at the old place.

    Raises:
        JobStoreError: it was made elsewhere.
    """
    mark, made_at = store.storage.local_path(keys.STORE), info.locator.removeprefix("file:")
    if mark is None or made_at == info.locator or printable(store.locator) == info.locator:
        return
    if not (os.path.isdir(made_at) and os.path.samefile(os.path.dirname(mark), made_at)):
        raise JobStoreError(
            f"the job store at {store.locator} was made at {info.locator}, which the recorded command names: "
            f"start the script yourself, with {store.locator} and --restart"
        )


def restart_command(info: StoreInfo, key_file: str = "") -> list[str]:
    """Give the command that resumes a run; where it names a file for the run's key, ``key_file`` takes that one's place.

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
    options = command[:end]
    added = [] if _RESTART in options else [_RESTART]
    if key_file and any(word.partition("=")[0] == _KEY_FILE for word in options):
        added += [_KEY_FILE, key_file]  # the last one counts
    command[end:end] = added
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
