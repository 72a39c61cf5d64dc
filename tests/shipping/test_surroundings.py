"""What of the leader's interpreter and environment goes along; nothing else, and no secret."""

import os
import subprocess
import sys

import pytest

from jobsys.config import Config, argument_parser
from jobsys.errors import UsageError
from jobsys.shipping.surroundings import asked_for, environment, interpreter_options, without_values


def options_of(*given, **variables):
    code = "from jobsys.shipping.surroundings import interpreter_options; print(*interpreter_options(), sep='\\n')"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *given, "-c", code], env=plain | variables, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("given", "variables", "expected"),
    [
        ([], {}, []),
        (["-OO"], {}, ["-OO"]),
        (["-b"], {}, ["-b", "-W", "default::BytesWarning"]),
        ([], {"PYTHONWARNINGS": "ignore::ResourceWarning"}, ["-W", "ignore::ResourceWarning"]),
        (["-W", "error::UserWarning"], {}, ["-W", "error::UserWarning"]),
        ([], {"PYTHONOPTIMIZE": "1", "PYTHONUTF8": "1"}, ["-O", "-X", "utf8"]),
        (["-X", "utf8"], {}, ["-X", "utf8"]),
        (["-X", "int_max_str_digits=9000"], {}, ["-X", "int_max_str_digits=9000"]),
        ([], {"PYTHONINTMAXSTRDIGITS": "9001"}, ["-X", "int_max_str_digits=9001"]),
        (["-X", "dev"], {}, ["-X", "dev", "-W", "default"]),
        (["-X", "frozen_modules=off", "-X", "importtime", "-X", "mine=1"], {}, ["-X", "mine=1"]),
    ],
)
def test_options_make_an_interpreter_like_this_one(given, variables, expected):
    found = drop_default_digits(options_of(*given, **variables))
    assert found == expected
    again = options_of(*found)
    assert drop_default_digits(again) == expected, "and that one is like itself"


def test_where_byte_code_is_written_is_this_host_s_affair(tmp_path):
    assert "pycache_prefix" not in " ".join(options_of("-X", f"pycache_prefix={tmp_path}"))


def drop_default_digits(options):
    """Leave out the limit that every interpreter has, where it is told."""
    text = " ".join(options)
    return text.replace("-X int_max_str_digits=4300", "").split()


def test_only_language_time_zone_and_hash_seed_are_taken():
    secret = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "TOKEN": "x",
        "PATH": "/x",
        "PYTHONPATH": "/x",
        "LC": "x",
        "LC_secret": "x",
        "MY_LANG": "x",
        "TZDIR": "x",
    }
    passed = {"LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_ALL": "C", "LC_CTYPE": "C", "PYTHONHASHSEED": "7", "TZ": "Europe/Berlin"}
    assert environment(secret | passed) == passed
    assert set(environment(secret)) <= {"TZ"}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_a_time_zone_that_is_set_travels_as_it_is(zone):
    assert environment({"TZ": zone}) == {"TZ": zone}


def test_a_time_zone_that_is_a_file_travels_by_its_name(tmp_path, monkeypatch):
    zone = tmp_path / "usr" / "share" / "zoneinfo" / "Asia" / "Tokyo"
    zone.parent.mkdir(parents=True)
    zone.write_text("TZif2")
    (tmp_path / "localtime").symlink_to(zone)
    for given in (f":{tmp_path}/localtime", f"{tmp_path}/localtime", str(zone)):
        assert environment({"TZ": given}) == {"TZ": "Asia/Tokyo"}
    assert environment({"TZ": ":Europe/Berlin"}) == {"TZ": "Europe/Berlin"}
    monkeypatch.setattr("jobsys.shipping.surroundings._LOCAL_TIME", str(tmp_path / "localtime"))
    assert environment({}) == {"TZ": "Asia/Tokyo"}
    monkeypatch.setattr("jobsys.shipping.surroundings._LOCAL_TIME", str(tmp_path / "none"))
    assert environment({}) == {"TZ": "UTC"}
    (tmp_path / "copy").write_text("TZif2")
    monkeypatch.setattr("jobsys.shipping.surroundings._LOCAL_TIME", str(tmp_path / "copy"))
    assert environment({}) == {}, "it has no name"


def test_variables_that_were_asked_for():
    here = {"A": "1", "EMPTY": ""}
    assert asked_for(["A", "B=2", "C=", "D=x=y", "EMPTY", "A=3"], here) == {"A": "3", "B": "2", "C": "", "D": "x=y", "EMPTY": ""}
    assert asked_for([], here) == {}
    with pytest.raises(UsageError, match="--env NONE: there is no such variable here"):
        asked_for(["NONE"], here)
    for wrong in ("", "=x", "1A=x", "A B=x", "A-B", "ü=1"):
        with pytest.raises(UsageError, match="is no name of a variable"):
            asked_for([wrong], here)


def test_an_error_about_a_variable_does_not_show_its_value():
    with pytest.raises(UsageError) as caught:
        asked_for(["no name=hunter2"], {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("x s --env A=hunter2 --n 3", "x s --env A --n 3"),
        ("x --env=A=hunter2 s", "x --env=A s"),
        ("x --env A --env=B s", "x --env A --env=B s"),
        ("x --env=A=hunter2=x --env B=hunter2", "x --env=A --env B"),
        ("x --en A=hunter2 --e=B=hunter2", "x --en A --e=B"),
        ("x --env", "x --env"),
        ("x --environment A=b --ship=a=b -- c=d", "x --environment A=b --ship=a=b -- c=d"),
    ],
)
def test_values_are_not_kept_of_a_command_line(line, kept):
    assert without_values(line.split()) == kept.split()
    assert "hunter2" not in " ".join(without_values(line.split()))


@pytest.mark.parametrize("word", ["--env", "--en", "--e"])
def test_what_argparse_takes_for_the_option_is_taken_for_it(word):
    assert Config.of(argument_parser().parse_args(["s", word, "A=1"])).env == ("A=1",)
    assert without_values([word, "A=1"]) == [word, "A"]


def test_this_process_has_options_that_can_be_given():
    subprocess.run([sys.executable, *interpreter_options(), "-c", ""], check=True, timeout=60, capture_output=True)
