"""The benchmarks run and leave figures in the shape that others read. What the figures are is no matter here."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "contrib" / "bench" / "run.py"


def bench(tmp_path: Path, *arguments: str, status: int = 0) -> tuple[dict[str, Any], str]:
    target = tmp_path / "figures.json"
    command = [sys.executable, str(RUN), "--json", str(target), "--directory", str(tmp_path), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == status, result.stderr
    return json.loads(target.read_text()), result.stdout


@pytest.mark.slow
def test_a_small_fan_out_beside_the_peers_that_need_no_installation(tmp_path: Path) -> None:
    found, printed = bench(tmp_path, "--only", "fan-out", "--n", "20", "--rounds", "2", "--peers", "pool,fork,spawn")
    assert found["machine"].keys() >= {"cores", "system", "python", "fsync_ms", "load_before", "load_after"}
    (case,) = found["cases"]
    assert (case["name"], case["problems"]) == ("fan-out 20", [])
    assert sorted((run["who"], run["round"]) for run in case["runs"]) == [
        (who, number) for who in ("fork", "jobsys", "pool", "spawn") for number in (0, 1)
    ]
    for run in case["runs"]:
        assert run["seconds"] > 0
        assert run["wall_s"] >= run["seconds"]
        assert run["jobs_per_s"] == pytest.approx(run["n"] / run["seconds"], rel=0.02)  # both are rounded
    pool = case["ratios"][0]
    assert (pool["name"], pool["target"], pool["met"]) == ("fan-out 20: jobs a second, jobsys / pool", None, None)  # of 20,000 there is one
    assert len(pool["rounds"]) == 2
    assert "jobs a second, jobsys / pool" in printed


@pytest.mark.slow
def test_one_job_with_a_stand_in_for_toil(tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho Hello, world\n")
    stand_in.chmod(0o755)
    found, _ = bench(tmp_path, "--only", "one-job", "--rounds", "1", "--peer-python", str(stand_in))
    (case,) = found["cases"]
    assert {run["who"] for run in case["runs"]} == {"jobsys", "toil", "python", "import dill, psutil"}
    assert (case["ratios"][0]["target"], case["ratios"][0]["at_least"]) == (0.25, False)


NEEDED = ("msgspec", "dill", "psutil", "pathspec", "requests", "urllib3", "idna", "certifi", "charset-normalizer", "zipp")


@pytest.fixture
def small_environment(tmp_path: Path) -> str:
    """Make an environment of just what jobsys needs, without installing anything."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (site,) = place.glob("lib/python3*/site-packages")
    for name in NEEDED:
        found = distribution(name)
        for file in found.files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (site / Path(file).parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(str(found.locate_file(file)), site / Path(file))
    return str(place / "bin" / "python")


@pytest.mark.slow
def test_a_small_environment_shipped_where_there_are_no_peers(tmp_path: Path, small_environment: str) -> None:
    found, printed = bench(
        *(tmp_path, "--only", "shipping", "--rounds", "1", "--peer-python", str(tmp_path / "none"), "--shipped-python", small_environment),
        status=1,
    )
    (case,) = found["cases"]
    assert [any(f"{peer} is left out" in problem for problem in case["problems"]) for peer in ("toil", "ray")] == [True, True]
    runs = {run["who"]: run for run in case["runs"]}
    assert runs.keys() == {"jobsys", "jobsys VirtualEnvResource", "tar"}
    ours = runs["jobsys"]
    assert all(ours[figure] > 0 for figure in ("create", "create_again", "localise", "localise_again", "edit"))
    assert ours["create_growth"] >= 0, "the peak of memory may lie before: this environment is small"
    assert (ours["sent"] > 1_000_000, ours["again_sent"], 0 < ours["edit_sent"] < 100_000) == (True, 0, True)
    assert runs["jobsys VirtualEnvResource"]["again_sent"] == 0
    ratios = {ratio["name"].partition(": ")[2]: ratio for ratio in case["ratios"]}
    assert (ratios["seconds after a line was edited"]["target"], ratios["seconds after a line was edited"]["at_least"]) == (1, False)
    assert "cold localise, seconds, jobsys / tar" in ratios
    assert not [name for name in ratios if "toil" in name or "ray" in name]
    assert "bytes sent by a second start" in printed


def test_what_nobody_knows_is_refused() -> None:
    result = subprocess.run([sys.executable, str(RUN), "--peers", "pol"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "there is no peer pol" in result.stderr
