"""Programs of an environment: what an entry point becomes, and a first line that survives any path."""

import logging
import os
import subprocess
import sys

import pytest

from jobsys.arrival.scripts import console_scripts, rewritten, shebang


def make(text):
    return dict(console_scripts(text, "/env/bin/python", "x.dist-info"))


def test_an_entry_point_becomes_a_script_that_calls_its_function(tmp_path):
    (tmp_path / "tool.py").write_text("class Tool:\n    @staticmethod\n    def main():\n        print('called')\n        return 3\n")
    [(name, content)] = console_scripts("[console_scripts]\nTool = tool:Tool.main\n", sys.executable, "x")
    script = tmp_path / name
    script.write_bytes(content)
    script.chmod(0o755)
    ended = subprocess.run([script], capture_output=True, text=True)
    assert (name, ended.stdout, ended.returncode) == ("Tool", "called\n", 3)


def test_both_kinds_of_scripts_are_made_and_nothing_else():
    made = make("[console_scripts]\na = m:f [extra]\nb=m.n : g.h\n[gui_scripts]\nc = m:f\n[other]\nd = m:f\n")
    assert sorted(made) == ["a", "b", "c"]
    assert made["a"].startswith(b"#!/env/bin/python\n")
    assert b"from m.n import g\n" in made["b"]
    assert b"g.h()" in made["b"]


@pytest.mark.parametrize("line", ["x = no function", "../x = m:f", "x = m:f; import os", ".. = m:f"])
def test_what_names_no_function_or_leaves_the_directory_is_told_and_left_out(line, caplog):
    with caplog.at_level(logging.WARNING):
        assert make(f"[console_scripts]\n{line}\ngood = m:f\n").keys() == {"good"}
    assert "x.dist-info" in caplog.text


def test_a_file_that_is_no_list_of_entry_points_is_told_and_left_out(caplog):
    assert make("good = m:f\n") == {}
    assert "can't be read" in caplog.text


@pytest.mark.parametrize("folder", ["plain", "with space", 'with "quote" and $HOME', "long" + "g" * 150])
def test_the_first_line_finds_its_python_at_any_path(tmp_path, folder):
    directory = tmp_path / folder
    directory.mkdir()
    python = directory / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    script = tmp_path / "script"
    script.write_bytes(shebang(str(python)) + b"import sys\nprint(sys.orig_argv[0], *sys.argv[1:], sep='|')\n")
    script.chmod(0o755)
    ended = subprocess.run([script, "a b", "c"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"{python}|a b|c\n"


@pytest.mark.parametrize("first", [b"#!python\n", b"#!pythonw\n", b"#!python\r\n", b"#!python -s\n"])
def test_a_script_for_whatever_python_gets_this_one(first):
    assert rewritten(first + b"print(1)\n", "/env/bin/python") == b"#!/env/bin/python\nprint(1)\n"


@pytest.mark.parametrize("script", [b"#!/bin/sh\n", b"#!python3.11\n", b"\x7fELF", b"", b"#!/usr/bin/env python\n"])
def test_a_script_with_another_first_line_is_left_alone(script):
    assert rewritten(script, "/env/bin/python") is None
