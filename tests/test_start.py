"""What is loaded, and when: a script, a worker host and the command line each start without what they do not use.

Told from ``sys.modules`` of real processes.
"""

import importlib.util
import json
import subprocess
import sys
import textwrap

import pytest

import jobsys

THIRD = {"boto3", "botocore", "dill", "fsspec", "pathspec", "psutil", "requests", "rich", "shtab", "urllib3", "zipp"}
SLOW = {"asyncio", "difflib", "email", "http", "importlib.metadata", "logging.handlers", "multiprocessing", "pydoc", "ssl", "xml"}
SCRIPT = (
    THIRD | SLOW | {"argparse", "concurrent.futures", "hmac", "logging", "pathlib", "pickle", "shutil", "socket", "subprocess", "tempfile"}
)
SCRIPT |= {f"jobsys.{name}" for name in ("batch", "config", "leader", "pickling", "progress", "shipping", "storage", "worker", "workflow")}
HOST = THIRD | SLOW | {"argparse", "concurrent.futures", "csv", "logging", "subprocess", "zipfile"}
HOST |= {f"jobsys.{name}" for name in ("batch", "config", "journal", "launch", "leader", "progress", "workflow")}
LEADER = (THIRD | SLOW) - {"pathspec"} | {"jobsys.worker.host", "jobsys.worker.loop", "jobsys.batch.ssh", "jobsys.cli", "ctypes"}
HELP = THIRD | SLOW | {"concurrent.futures", "ctypes", "subprocess", "jobsys.leader", "jobsys.progress", "jobsys.worker", "jobsys.workflow"}
STATUS = THIRD - {"rich"} | SLOW | {"concurrent.futures", "ctypes", "subprocess", "jobsys.workflow", "jobsys.worker", "jobsys.shipping"}

FLOW = """
    import json, sys
    import jobsys

    @jobsys.job
    def loaded():
        return sorted(sys.modules)

    if __name__ == "__main__":
        told = jobsys.run(loaded(), "file:store", progress="off")
        print(json.dumps({"worker": told, "leader": sorted(sys.modules)}))
"""


def loaded(code: str) -> set[str]:
    """Run code in a fresh interpreter and list what is loaded at its end."""
    code = f"import sys\ntry:\n{textwrap.indent(code, ' ')}\nexcept SystemExit: pass\nimport json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one job, and what was loaded in it."""
    place = tmp_path_factory.mktemp("one")
    (place / "script.py").write_text(textwrap.dedent(FLOW))
    done = subprocess.run([sys.executable, "script.py"], cwd=place, capture_output=True, text=True, check=True, timeout=60)
    return place, {side: set(names) for side, names in json.loads(done.stdout).items()}


def test_a_script_that_imports_jobsys_loads_what_makes_jobs_and_no_more():
    assert loaded("import jobsys; jobsys.job(len)") & SCRIPT == set()


def test_a_worker_loads_nothing_of_the_leader(run):
    assert run[1]["worker"] & HOST == set()


def test_a_leader_loads_no_worker_and_nothing_for_other_ways_to_run(run):
    assert run[1]["leader"] & LEADER == set()


def test_help_loads_no_command_but_its_own():
    assert loaded("from jobsys.cli import main; main(['--help'])") & HELP == set()


def test_status_loads_neither_what_runs_nor_what_ships(run):
    store = str(run[0] / "store")
    shown = loaded(f"from jobsys.cli import main; main(['status', {store!r}])")
    assert shown & STATUS == set()
    assert "rich" in shown


def test_status_for_programs_needs_no_rich(run):
    assert "rich" not in loaded(f"from jobsys.cli import main; main(['status', {str(run[0] / 'store')!r}, '--json'])")


def test_what_must_not_be_loaded_is_there_to_be_loaded():
    assert [name for name in SCRIPT | HOST | LEADER | HELP | STATUS if importlib.util.find_spec(name) is None] == []


def test_dir_and_star_give_the_public_names():
    space: dict[str, object] = {}
    exec("from jobsys import *", space)
    assert set(jobsys.__all__) <= set(dir(jobsys))
    assert set(jobsys.__all__) <= set(space)
    assert space["run"] is jobsys.run


def test_a_host_that_forks_for_each_job_has_loaded_nothing_that_each_fork_pays_for():
    assert loaded("import jobsys.worker.main, jobsys.worker.code") & {"logging", "threading"} == set()
