import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobsys
from jobsys.config import Config, add_options, argument_parser
from jobsys.errors import UsageError

OPTIONS = [field for field in dataclasses.fields(Config) if field.name != "job_store"]


def test_every_option_is_on_the_command_line_with_its_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        argument_parser(description="Squares.").parse_args(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    for word in ("Squares.", "JOB_STORE", "90 % of the machine's"):
        assert word in shown
    for field in OPTIONS:
        assert f"--{field.name.replace('_', '-')}" in shown
        assert field.metadata["help"].split(",")[0].replace("%%", "%") in " ".join(shown.split())


def test_defaults_of_the_command_line_and_of_keywords_are_the_same() -> None:
    assert Config.of(argument_parser().parse_args(["s"])) == Config.of("s") == Config(job_store="s")


GIVEN: dict[str, tuple[str, Any]] = {
    "clean": ("always", "always"),
    "key_file": ("/tmp/a.jobsys-key", "/tmp/a.jobsys-key"),
    "durability": ("kill", "kill"),
    "retries": ("3", 3),
    "backoff": ("0.5", 0.5),
    "max_retry_memory": ("16G", 16 * 10**9),
    "batch_system": ("inline", "inline"),
    "host_patience": ("2.5", 2.5),
    "max_cores": ("1.5", 1.5),
    "max_memory": ("8GiB", 8 * 2**30),
    "max_disk": ("0", 0),
    "isolation": ("process", "process"),
    "task_seconds": ("120", 120.0),
    "task_log": ("/tmp/a b", "/tmp/a b"),
    "file_workers": ("leader", "leader"),
    "ssh": ("ssh -p 22", "ssh -p 22"),
    "worker_python": ("python3.12", "python3.12"),
    "store_address": ("head:8000", "head:8000"),
    "s3_workers": ("direct", "direct"),
    "s3_endpoint_url": ("http://s3.example.org:9000", "http://s3.example.org:9000"),
    "s3_sse": ("aws:kms", "aws:kms"),
    "s3_sse_key_file": ("/tmp/a key", "/tmp/a key"),
    "s3_owner": ("123456789012", "123456789012"),
    "ship_env": ("never", "never"),
    "ship_limit": ("1G", 10**9),
    "work_dir": ("/tmp/a b", "/tmp/a b"),
    "default_memory": ("1M", 10**6),
    "default_disk": ("1M", 10**6),
    "default_walltime": ("2h", 7200.0),
    "progress": ("off", "off"),
    "log_level": ("debug", "debug"),
    "max_log_size": ("1k", 1000),
}


FLAGS = ("restart", "stop_on_first_failure", "same_code", "s3_requester_pays", "s3_unfenced")
LISTS = ("hosts", "ship", "env", "batch_option")


def test_all_options_are_tried_here() -> None:
    assert GIVEN.keys() | {*FLAGS, *LISTS} == {field.name for field in OPTIONS}


@pytest.mark.parametrize("name", GIVEN)
def test_an_option_means_the_same_in_every_form(name: str) -> None:
    text, value = GIVEN[name]
    on_the_line = Config.of(argument_parser().parse_args(["s", f"--{name.replace('_', '-')}", text]))
    assert getattr(on_the_line, name) == value
    assert Config.of("s", **{name: text}) == Config.of("s", **{name: value}) == on_the_line
    assert Config.of(on_the_line) == on_the_line
    assert Config.of(on_the_line, job_store="t").job_store == "t"
    assert json.loads(json.dumps(on_the_line.stored()))[name] == value


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str) -> None:
    assert getattr(Config.of(argument_parser().parse_args(["s", f"--{name.replace('_', '-')}"])), name) is True
    assert getattr(Config.of("s", **{name: True}), name) is True
    for wrong in ("no", 1, None):
        with pytest.raises(UsageError, match=f"^{name}={wrong!r} makes no sense: .*True or False"):
            Config.of("s", **{name: wrong})


@pytest.mark.parametrize("name", LISTS)
def test_options_that_may_be_repeated(name: str) -> None:
    words = [f"--{name.replace('_', '-')}", "a", f"--{name.replace('_', '-')}=b"]
    on_the_line = Config.of(argument_parser().parse_args(["s", *words]))
    assert getattr(on_the_line, name) == ("a", "b")
    assert Config.of("s", **{name: ["a", Path("b")]}) == Config.of("s", **{name: ("a", "b")}) == on_the_line
    assert getattr(Config.of("s", **{name: "a"}), name) == ("a",)
    assert Config.of(argument_parser().parse_args(["s"])) == Config.of("s"), "the one before left nothing behind"


def test_values_of_variables_are_not_stored() -> None:
    config = Config.of("s", env=["TOKEN=secret=1", "NAME"])
    assert config.stored()["env"] == ("TOKEN", "NAME")
    assert "secret" not in json.dumps(config.stored())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("retries", "x"),
        ("retries", -1),
        ("retries", 1.5),
        ("retries", True),
        ("retries", None),
        ("backoff", "soon"),
        ("backoff", -1),
        ("backoff", float("nan")),
        ("max_memory", "much"),
        ("max_memory", []),
        ("host_patience", 0.5),
        ("max_cores", 0),
        ("default_walltime", "1w"),
        ("clean", "sometimes"),
        ("progress", 3),
        ("work_dir", 3),
        ("log_level", "loud"),
    ],
)
def test_a_wrong_value_is_named(name: str, wrong: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=f"^{name}=.* makes no sense: "):
        Config.of("s", **{name: wrong})
    if isinstance(wrong, str):
        with pytest.raises(SystemExit):
            argument_parser().parse_args(["s", f"--{name.replace('_', '-')}={wrong}"])
        assert f"--{name.replace('_', '-')}" in capsys.readouterr().err


def test_what_are_no_options() -> None:
    with pytest.raises(UsageError, match=r"jobsys.run has no option 'retrys'; do you mean 'retries'"):
        Config.of("s", retrys=1)
    with pytest.raises(UsageError, match="no job store was named"):
        Config.of(None)
    with pytest.raises(UsageError, match="no job store was named"):
        Config.of("", retries=1)
    with pytest.raises(UsageError, match="are no options: give a parsed command line"):
        Config.of({"job_store": "s"})  # type: ignore[arg-type]


def test_a_script_s_own_arguments_stay_beside() -> None:
    parser = argument_parser()
    parser.add_argument("--n", type=int, default=10)
    args = parser.parse_args(["a b", "--n", "3"])
    assert (args.n, Config.of(args).job_store) == (3, "a b")
    assert Config.of(Path("a b")).job_store == "a b"
    bare = argparse.ArgumentParser()
    add_options(bare)
    assert Config.of(bare.parse_args(["--retries", "2"]), job_store="s").retries == 2
    assert jobsys.argument_parser is argument_parser


@given(st.integers(0, 9), st.floats(0, 1e6), st.integers(0, 2**60), st.integers(0, 2**60), st.floats(0.1, 1e6))
def test_the_policy_is_what_was_asked_for(retries: int, backoff: float, memory: int, disk: int, walltime: float) -> None:
    policy = Config.of("s", retries=retries, backoff=backoff, default_memory=memory, default_disk=disk, default_walltime=walltime).policy
    assert (policy.retries, policy.backoff, policy.default_memory, policy.default_disk) == (retries, backoff, memory, disk)
    assert policy.default_walltime == walltime
