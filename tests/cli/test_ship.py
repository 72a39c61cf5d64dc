"""`jobsys ship --dry-run` tells what would travel, how large it is and why, and runs nothing."""

import os
import sys
import zipfile

import pytest


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Be a program whose own directory stands first in the import path."""
    monkeypatch.setattr(sys, "path", ["/the/program's/own/directory", *sys.path])
    yield
    for name in ("pack", "parcel"):  # what -m loads to find a module in it
        sys.modules.pop(name, None)


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "project"
    files = {
        "flow.py": "import near\nraise SystemExit('it was run')\n",
        "near.py": "def later(): import far_away\n",
        "table.csv": "x" * 5000,
        ".env": "PASSWORD=1",
        "notes.txt": "",
        ".jobsysignore": "*.txt\n",
        "pack/__init__.py": "",
        "pack/flow.py": "import far_away",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "far_away.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    sys.path[:2] = reversed(sys.path[:2])  # the program's directory stays first
    return root


def test_sizes_reasons_and_what_is_left_out(jobsys, project):
    found = jobsys("ship", "--dry-run", project / "flow.py", "--json").json
    why = {os.path.basename(each["path"]): each["why"] for each in found["largest"] if "pack" not in each["path"]}
    assert why == {
        "flow.py": "in the script's directory",
        "near.py": "in the script's directory",
        "table.csv": "in the script's directory",
        ".jobsysignore": "in the script's directory",
        "far_away.py": "imported by near.py",
    }
    assert found["largest"][0]["bytes"] == 5000
    assert found["bytes"] == sum(each["bytes"] for each in found["largest"])
    left_out = {os.path.basename(each["path"]): each["why"] for each in found["left_out"]}
    assert "may hold secrets" in left_out[".env"]
    assert ".jobsysignore" in left_out["notes.txt"]
    assert [root["what"] for root in found["roots"]] == ["all of it", "far_away.py"]
    assert "jobsys" in [each["name"].partition(" ")[0] for each in found["distributions"]]


def test_what_people_see(jobsys, project):
    said = jobsys("ship", "--dry-run", project / "flow.py", "--ship-env", "never")
    assert (said.status, said.err) == (0, "")
    lines = [line.split() for line in said.out.splitlines()]
    assert said.out.startswith("own code, to all workers: 7 files, 5.")
    assert ["5", "kB", str(project / "table.csv"), "in", "the", "script's", "directory"] in lines
    assert "jobsys and what it needs, to workers on other hosts: " in said.out


def test_the_twenty_largest(jobsys, project):
    for number in range(30):
        (project / f"data{number:02}").write_bytes(bytes(10_000 + number))
    said = jobsys("ship", "--dry-run", project / "flow.py", "--json").json
    assert [each["bytes"] for each in said["largest"]] == list(range(10_029, 10_009, -1))


def test_more_than_the_limit_is_shown_and_said(jobsys, project):
    said = jobsys("ship", "--dry-run", project / "flow.py", "--ship-limit", "1k")
    assert said.status == 1
    assert "a run would be refused: " in said.err
    assert "table.csv" in said.out


def test_ship_adds_what_nothing_names(jobsys, project, tmp_path):
    (tmp_path / "plug").mkdir()
    (tmp_path / "plug" / "in.py").write_text("")
    found = jobsys("ship", "--dry-run", project / "flow.py", "--ship", tmp_path / "plug", "--ship", project / "notes.txt", "--json").json
    assert {"asked for with --ship"} == {each["why"] for each in found["largest"] if each["path"].endswith(("in.py", "notes.txt"))}
    around = jobsys("ship", "--dry-run", project / "flow.py", "--ship", tmp_path, "--json").json
    assert [root["directory"] for root in around["roots"]] == [str(tmp_path)]
    why = {each["path"]: each["why"] for each in around["largest"]}
    assert why[str(tmp_path / "plug" / "in.py")] == f"in {tmp_path}, asked for with --ship"
    missing = jobsys("ship", "--dry-run", project / "flow.py", "--ship", tmp_path / "nothing")
    assert (missing.status, "there is no such file or directory" in missing.err) == (2, True)


def test_a_module_a_directory_and_an_archive(jobsys, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    found = jobsys("ship", "--dry-run", "-m", "pack.flow", "--json").json
    assert {root["what"] for root in found["roots"]} == {"pack", "far_away.py"}
    (project / "pack" / "__main__.py").write_text("import far_away")
    found = jobsys("ship", "--dry-run", project / "pack", "--json").json
    assert next((root["directory"], root["what"]) for root in found["roots"]) == (str(project / "pack"), "all of it")
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", "import far_away")
    found = jobsys("ship", "--dry-run", tmp_path / "app.pyz", "--json").json
    assert {os.path.basename(root["directory"]): root["what"] for root in found["roots"]} == {"app.pyz": "all of it", "lib": "far_away.py"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dry-run"], "name a script, or a module with -m"),
        (["--dry-run", "a.py", "-m", "b"], "name a script, or a module with -m"),
        (["--dry-run", "nothing.py"], "there is no script nothing.py"),
        (["--dry-run", "-m", "no_such_module_at_all"], "there is no module no_such_module_at_all"),
        (["flow.py"], "--dry-run"),
        (["--dry-run", "."], "a directory without a __main__.py"),
    ],
)
def test_wrong_usage(jobsys, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = jobsys("ship", *words)
    assert (said.status, message in said.err) == (2, True), said.err


def test_what_is_found_nowhere_and_what_a_rule_keeps_back(jobsys, project):
    (project / "flow.py").write_text("import near, no_such_util, mine\n")
    (project / "mine.py").write_text("")
    said = jobsys("ship", "--dry-run", project / "flow.py")
    assert (said.status, said.err) == (0, "")
    assert "not found here: no_such_util (imported by flow.py)" in said.out
    (project / ".jobsysignore").write_text("mine.py\n")
    said = jobsys("ship", "--dry-run", project / "flow.py", "--json")
    assert said.json["not_found"] == [{"module": "no_such_util", "why": "imported by flow.py"}]
    assert (said.status, "a run would be refused: mine, which flow.py imports, is left out: .jobsysignore" in said.err) == (1, True)
    said = jobsys("ship", "--dry-run", project / "flow.py", "--ship", project / "mine.py")
    assert (said.status, said.err) == (0, "")


def test_files_of_a_package_are_said_to_be_in_it(jobsys, project, monkeypatch):
    (project / "parcel").mkdir()
    (project / "parcel" / "flow.py").write_text("import far_away")
    (project / "parcel" / "data.csv").write_text("1")
    monkeypatch.chdir(project)
    found = jobsys("ship", "--dry-run", "-m", "parcel.flow", "--json").json
    why = {os.path.basename(each["path"]): each["why"] for each in found["largest"]}
    assert (why["data.csv"], why["far_away.py"]) == ("in the package parcel, imported by the script", "imported by the script")
