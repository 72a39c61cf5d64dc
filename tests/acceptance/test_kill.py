"""Promise 9: after a cancel, a signal or a kill of the leader no process of the run is left."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

LONG = """
@jobsys.job(cores=0.5)
def sleeper(number):
    import subprocess
    # a process in a session of its own, and one that outlives its parent
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", os.getcwd()], start_new_session=True)
    subprocess.run(["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(300)' {os.getcwd()} & exit 0"])
    with open("side", "a") as side:
        side.write(f"{number}\\n")
    time.sleep(300)

@jobsys.job
def main():
    return [sleeper(number) for number in range(4)]
"""


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left(workflow, how):
    flow = workflow(LONG)
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) == 4)
    assert len(flow.processes()) >= 8
    os.kill(process.pid, how)
    _, err = process.communicate(timeout=30)
    flow.wait_for_no_process()
    assert process.returncode != 0
    if how != signal.SIGKILL:
        assert "--restart" in err
        assert signal.Signals(how).name in err


def test_the_hosts_death_leaves_nothing_and_the_run_goes_on(workflow):
    flow = workflow(
        """
@jobsys.job(cores=0.5)
def sleeper(number):
    with open("side", "a") as side:
        side.write(f"{number}\\n")
    time.sleep(1.0)
    return number

@jobsys.job
def main():
    return [sleeper(number) for number in range(4)]
"""
    )
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) == 4)
    host = next(each for each in family(process) if "jobsys.worker" in " ".join(each.cmdline()) and each.parent().pid == process.pid)
    host.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, "[0, 1, 2, 3]"), err
    flow.wait_for_no_process()


def test_jobsys_kill_stops_a_run_which_can_be_resumed(workflow):
    flow = workflow(
        """
@jobsys.job
def main():
    with open("side", "a") as side:
        side.write("x\\n")
    time.sleep(0 if os.path.exists("quick") else 300)
    return "done"
"""
    )
    process = flow.start()
    flow.wait_until(flow.side)
    killed = subprocess.run([sys.executable, "-m", "jobsys", "kill", str(flow.store)], capture_output=True, text=True, timeout=60)
    assert killed.returncode == 0, killed.stderr
    assert process.wait(timeout=30) != 0
    flow.wait_for_no_process()
    (flow.directory / "quick").touch()
    assert flow.run("--restart")[1].strip() == "done"


def test_a_failed_run_leaves_no_process_and_no_temporary_file(workflow, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    flow = workflow("@jobsys.job(retries=0)\ndef main():\n    raise ValueError('no')\n")
    code, _, _ = flow.run(TMPDIR=str(temporary))
    assert code != 0
    flow.wait_for_no_process()
    assert list(temporary.iterdir()) == []


def test_a_killed_leader_leaves_no_temporary_file(workflow, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    flow = workflow(LONG)
    process = flow.start(TMPDIR=str(temporary))
    flow.wait_until(lambda: len(flow.side()) == 4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    flow.wait_for_no_process()
    deadline = time.monotonic() + 10
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(temporary.iterdir()) == []


def test_a_second_interrupt_ends_at_once_with_a_message(workflow):
    flow = workflow(LONG)
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) == 4)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    flow.wait_for_no_process()
    assert process.returncode == 130
    assert "SIGINT" in err
    assert "--restart" in err
    assert "Traceback" not in err


def test_a_store_whose_name_is_no_unicode(workflow, tmp_path):
    flow = workflow("@jobsys.job\ndef main():\n    return 1\n")
    code, out, err = flow.run(store=os.fsdecode(os.fsencode(str(tmp_path)) + b"/bad\xff"))
    assert (code, out.strip()) == (0, "1"), err
