"""Every option of a run, as a typed field with its help; the command line is derived from here."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jobsys.arguments import ArgumentParser
from jobsys.errors import UsageError
from jobsys.events import Policy
from jobsys.job import Job
from jobsys.promise import Promise
from jobsys.requirements import parse_bytes, parse_cores, parse_seconds
from jobsys.spelling import do_you_mean


def _count(value: Any) -> int:
    count = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError("it must be a whole number from 0 on")
    return count


def _pause(value: Any) -> float:
    return _seconds(value, 0)


def _patience(value: Any) -> float:
    return _seconds(value, 1)


def _seconds(value: Any, least: int) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not least <= seconds < math.inf:
        raise ValueError(f"it must be a number of seconds from {least} on")
    return seconds


def _text(value: Any) -> str:
    text: str = os.fspath(value)
    return text


def _texts(value: Any) -> tuple[str, ...]:
    """Read one text, or several."""
    return (_text(value),) if isinstance(value, (str, os.PathLike)) else tuple(_text(each) for each in value or ())


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it must be True or False")
    return value


LIMIT: Final = 250_000_000
"""Bytes of own code above which nothing is shipped unless asked for."""
_REPEATED: Final = {"hosts": "HOST", "ship": "PATH", "env": "NAME=VALUE", "batch_option": "NAME=VALUE"}
_METAVARS: Final = {_count: "N", _pause: "SECONDS", _patience: "SECONDS", parse_bytes: "SIZE", parse_cores: "CORES", parse_seconds: "TIME"}


def option(default: Any, help: str, parse: Callable[[Any], Any] = _text, group: str = "run", choices: tuple[str, ...] | None = None) -> Any:
    """Declare an option with its help; ``parse`` reads it from text."""
    return dataclasses.field(default=default, metadata={"help": help, "parse": parse, "group": group, "choices": choices})


_GROUPS: Final = {
    "run": "run",
    "failures": "failures",
    "machine": "batch system",
    "s3": "s3:// stores; region, credentials, profile, CA bundle and proxies are found as boto3 finds them",
    "code": "code that travels",
    "defaults": "requirements of jobs that don't say",
    "output": "output",
}


@dataclass(frozen=True, slots=True)
class Config:
    """What a run was asked to be. ``None`` leaves the choice to the part that knows best."""

    job_store: str = ""
    restart: bool = option(False, "resume the run in this job store; jobs that are done do not run again", parse=_flag)
    clean: str = option("never", "when to delete the job store at the end (default: never)", choices=("never", "on-success", "always"))
    key_file: str | None = option(
        None, "where the run's key is kept, without which nobody can resume it; *.jobsys-key (default: in ~/.local/state/jobsys/keys)"
    )
    durability: str = option(
        "power-cut",
        "what the store survives: 'power-cut' syncs to disk, 'kill' only survives the death of processes (default: power-cut)",
        choices=("power-cut", "kill"),
    )
    retries: int = option(
        1, "how often a failed job is tried again (default: 1); lost and preempted attempts don't count", _count, "failures"
    )
    backoff: float = option(1.0, "seconds before the first retry, doubled for each further one (default: 1)", _pause, "failures")
    stop_on_first_failure: bool = option(False, "end the run as soon as one job has failed for good", _flag, "failures")
    max_retry_memory: int | None = option(
        None, "how far a job that ran out of memory may grow, e.g. 16G (default: the machine's memory)", parse_bytes, "failures"
    )
    batch_system: str = option(
        "local",
        "where jobs run: 'local', 'ssh' (on --hosts), a cluster's scheduler such as 'slurm' or 'grid-engine' (docs/clusters), "
        "or 'inline' (in this process, for pdb)",
        group="machine",
    )
    batch_option: tuple[str, ...] = option(
        (), "an option of the scheduler, such as partition=long or args=--exclusive; may be repeated", _texts, "machine"
    )
    task_seconds: float = option(
        60.0, "how long a scheduler's task should run: short jobs share one; 0 gives each its own (default: 60)", _pause, "machine"
    )
    task_log: str | None = option(
        None, "a directory, on all hosts, for what a scheduler's tasks print (default: in a file: store that they share)", group="machine"
    )
    file_workers: str = option(
        "shared",
        "how a scheduler's tasks reach a file: store: 'shared', by its path on all hosts, or through the 'leader' (default: shared)",
        group="machine",
        choices=("shared", "leader"),
    )
    hosts: tuple[str, ...] = option((), "a host that 'ssh' runs jobs on; may be repeated, or several with commas", _texts, "machine")
    ssh: str = option(
        "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=3",
        "the program, with its options, that starts a command on a host (default: ssh, which must not ask for a password)",
        group="machine",
    )
    worker_python: str | None = option(
        None, "the Python that workers on other hosts start with (default: python3.N, N as on the leader)", group="machine"
    )
    host_patience: float = option(
        30.0, "seconds of silence after which a host is lost, and its jobs run elsewhere (default: 30)", _patience, "machine"
    )
    store_address: str | None = option(
        None,
        "this machine's name or address, and perhaps :port, by which workers on other hosts reach a file: or s3: store",
        group="machine",
    )
    s3_workers: str = option(
        "leader",
        "how other hosts reach an s3: store: through this machine, without credentials, or 'direct', with their own (default: leader)",
        group="machine",
        choices=("leader", "direct"),
    )
    max_cores: float | None = option(None, "cores to use at most (default: all)", parse_cores, "machine")
    max_memory: int | None = option(None, "memory to use at most, e.g. 8G (default: 90 %% of the machine's)", parse_bytes, "machine")
    max_disk: int | None = option(None, "disk to use at most (default: what is free in the work directory)", parse_bytes, "machine")
    isolation: str = option(
        "warm",
        "'warm' keeps worker processes for many jobs, 'process' starts a fresh one for each (default: warm)",
        group="machine",
        choices=("warm", "process"),
    )
    work_dir: str | None = option(None, "directory for the workers' temporary files (default: the system's)", group="machine")
    s3_endpoint_url: str | None = option(
        None, "the URL of an S3 server that is not Amazon's: MinIO, Ceph, R2 … (default: AWS_ENDPOINT_URL_S3, or Amazon)", group="s3"
    )
    s3_sse: str | None = option(
        None, "how the server encrypts: AES256, aws:kms, or aws:kms:KEY-ID (default: as the bucket is set up)", group="s3"
    )
    s3_sse_key_file: str | None = option(
        None, "a file with a key of your own, 32 bytes or their base64, by which the server encrypts and which it does not keep", group="s3"
    )
    s3_owner: str | None = option(None, "the 12 digits of the account that must own the bucket (default: not checked)", group="s3")
    s3_requester_pays: bool = option(False, "pay for the requests to a bucket of somebody else's, if its owner does not", _flag, "s3")
    s3_unfenced: bool = option(
        False, "use a server on which create-if-absent does not hold: you alone see to it that the run has one leader", _flag, "s3"
    )
    ship: tuple[str, ...] = option((), "a file or directory that travels although nothing names it; may be repeated", _texts, "code")
    ship_env: str = option(
        "auto",
        "whether installed distributions travel to other hosts; 'auto': if the script runs in a virtual environment (default: auto)",
        group="code",
        choices=("auto", "always", "never"),
    )
    ship_limit: int = option(LIMIT, "bytes of own code above which nothing is shipped (default: 250M)", parse_bytes, "code")
    env: tuple[str, ...] = option((), "a variable that jobs get, NAME=VALUE, or NAME with its value here; may be repeated", _texts, "code")
    same_code: bool = option(False, "with --restart: jobs not yet run get the code of the last start, not what is there now", _flag, "code")
    default_memory: int | None = option(
        None, "memory of a job that does not say (default: a core's share of the machine)", parse_bytes, "defaults"
    )
    default_disk: int | None = option(None, "disk of a job that does not say (default: not counted)", parse_bytes, "defaults")
    default_walltime: float | None = option(None, "walltime of a job that does not say, e.g. 2h (default: none)", parse_seconds, "defaults")
    progress: str = option(
        "auto",
        "how progress is shown: a live display, plain lines, or nothing (default: by terminal)",
        group="output",
        choices=("auto", "live", "plain", "off"),
    )
    log_level: str = option("warning", "jobsys' own log (default: warning)", group="output", choices=("debug", "info", "warning", "error"))
    max_log_size: int = option(10_000_000, "bytes kept of what an attempt prints, from its end (default: 10M)", parse_bytes, "output")

    @property
    def policy(self) -> Policy:
        """What is done about failures."""
        return Policy(
            retries=self.retries,
            backoff=self.backoff,
            max_memory=self.max_retry_memory,
            default_memory=self.default_memory,
            default_disk=self.default_disk,
            default_walltime=self.default_walltime,
        )

    def stored(self) -> dict[str, Any]:
        """Give the options as they are kept in the job store: of variables for jobs their names only, for values may be secret."""
        return dataclasses.asdict(self) | {"env": tuple(word.partition("=")[0] for word in self.env)}

    @classmethod
    def of(cls, options: Config | argparse.Namespace | str | os.PathLike[str] | None, **changes: Any) -> Config:
        """Take options from a parsed command line, a locator, or keyword arguments; keywords win.

        Raises:
            UsageError: there is no such option, a value makes no sense, or no job store was named.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        given = _given(options, known)
        for key, value in changes.items():
            if key not in known:
                meant = do_you_mean(key, known) or f"; there are {', '.join(sorted(known))}"
                raise UsageError(f"jobsys.run has no option {key!r}{meant}")
            given[key] = _read(known[key], value)
        config = cls(**given)
        if not config.job_store:
            raise UsageError("no job store was named: give a locator such as file:/path/to/store")
        return config


def _given(options: Any, known: dict[str, dataclasses.Field[Any]]) -> dict[str, Any]:
    if options is None:
        return {}
    if isinstance(options, Config):
        return dataclasses.asdict(options)
    if isinstance(options, argparse.Namespace):
        return {key: tuple(value) if isinstance(value, list) else value for key, value in vars(options).items() if key in known}
    if isinstance(options, (Promise, Job)):
        raise UsageError(f"jobsys.run got {options!r} in place of options: the workflow comes first, as in jobsys.run(main(), options)")
    if isinstance(options, (str, os.PathLike)):
        return {"job_store": _read(known["job_store"], options)}
    raise UsageError(f"{options!r} are no options: give a parsed command line, a Config, or the locator of a job store")


def _read(field: dataclasses.Field[Any], value: Any) -> Any:
    """Read an option given by keyword: as text, as on the command line, or as what it is."""
    if value is None and field.default is None:
        return None
    parse, choices = field.metadata.get("parse", _text), field.metadata.get("choices")
    try:
        read = parse(value)
    except (UsageError, ValueError, TypeError) as error:
        raise UsageError(f"{field.name}={value!r} makes no sense: {error}") from error
    if choices and read not in choices:
        raise UsageError(f"{field.name}={value!r} makes no sense: it must be one of {', '.join(choices)}")
    return read


def argument_parser(**kwargs: Any) -> argparse.ArgumentParser:
    """Make a command line for a script: a positional job store and every option; add your own arguments to it.

    Args:
        kwargs: passed to argparse.ArgumentParser.
    """
    kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
    parser = ArgumentParser(**kwargs)
    parser.add_argument(
        "job_store",
        metavar="JOB_STORE",
        help="where the run is kept: file:/path, a plain path, s3://bucket/prefix, or http://host:port of a server",
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of a run to a command line."""
    groups = {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    for field in dataclasses.fields(Config):
        if "help" not in field.metadata:
            continue
        name = "--" + field.name.replace("_", "-")
        group = groups[field.metadata["group"]]
        if field.metadata["parse"] is _flag:
            group.add_argument(name, action="store_true", help=field.metadata["help"])
        elif field.metadata["parse"] is _texts:
            group.add_argument(name, action="append", default=[], help=field.metadata["help"], metavar=_REPEATED[field.name])
        else:
            group.add_argument(
                name,
                default=field.default,
                type=_typed(field.metadata["parse"]),
                choices=field.metadata["choices"],
                help=field.metadata["help"],
                metavar=None
                if field.metadata["choices"]
                else _METAVARS.get(field.metadata["parse"], field.name.rpartition("_")[2].upper()),
            )


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} makes no sense: {error}") from error

    return read
