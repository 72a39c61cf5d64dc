"""A full disk, a read-only store, a vanished store, damaged code: a clear error, and the run can be resumed afterwards."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jobsys.jobstores import open_store

STEPS = """
@jobsys.job
def step(x):
    with open("side", "a") as side:
        side.write(f"{x}\\n")
    time.sleep(0.05)
    return bytes([x]) * SIZE

@jobsys.job
def sizes(values):
    return [len(value) for value in values]

@jobsys.job
def main():
    return sizes([step(x) for x in range(20)])
"""
RESULT = str([200_000] * 20)


def mount(path: Path, *options: str) -> bool:
    path.mkdir(exist_ok=True)
    return subprocess.run(["mount", *options, str(path)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, where mounting one is allowed."""
    path = tmp_path / "small disk"
    if not mount(path, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        # tests/storage tries a full disk without it
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_named_and_the_run_resumes_on_more_room(workflow, small_disk):
    flow = workflow(STEPS.replace("SIZE", "200_000"))
    flow.store = small_disk / "store"
    code, _, err = flow.run("--retries", "0")
    assert code == 1
    assert "full" in err or "No space" in err
    assert "--restart" in err
    ran = len(flow.side())
    assert ran > 0
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    code, out, err = flow.run("--restart")
    assert (code, out.strip()) == (0, RESULT), err
    assert len(flow.side()) < ran + 20, "everything ran again"


@pytest.fixture
def own_disk(tmp_path, tmp_path_factory):
    """A disk that can fail, and be mounted again."""
    if not os.path.exists("/dev/loop-control") or os.geteuid():
        pytest.skip("a disk in a file needs loop devices, and root")
    image, path = tmp_path_factory.mktemp("disk") / "image", tmp_path / "own disk"  # what lies beside the script is shipped
    image.touch()
    os.truncate(image, 32 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    path.mkdir()

    def mount_it():
        subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True)
        return path

    mount_it()
    yield path, mount_it
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_store_whose_disk_fails_and_becomes_read_only(workflow, own_disk):
    flow = workflow(STEPS.replace("SIZE", "1000"))
    disk, mount_again = own_disk
    flow.store = disk / "store"
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) > 2)
    subprocess.run(["mount", "-o", "remount,abort", str(disk)], check=True)  # what ext4 does by itself when its disk fails
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "read-only" in err.lower()
    flow.wait_for_no_process()
    subprocess.run(["umount", str(disk)], check=True)
    mount_again()
    code, out, err = flow.run("--restart")
    assert (code, out.strip()) == (0, RESULT.replace("200000", "1000")), err


def test_a_store_that_vanishes(workflow, tmp_path):
    flow = workflow(STEPS.replace("SIZE", "1000"))
    process = flow.start()
    flow.wait_until(lambda: len(flow.side()) > 2)
    shutil.move(flow.store, tmp_path / "elsewhere")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "gone" in err or "vanished" in err
    flow.wait_for_no_process()
    assert not flow.store.exists(), "a vanished store was made a second time"
    shutil.move(tmp_path / "elsewhere", flow.store)
    code, out, err = flow.run("--restart")
    assert (code, out.strip()) == (0, RESULT.replace("200000", "1000")), err


def test_a_damaged_segment_of_the_journal_is_not_believed(workflow):
    flow = workflow(STEPS.replace("SIZE", "1000"))
    flow.run()
    [pack] = (flow.store / "journal").glob("*.shut")
    data = bytearray(pack.read_bytes())
    data[-100] ^= 1
    pack.write_bytes(data)
    code, _, err = flow.run("--restart")
    assert code == 1
    assert "damaged" in err
    assert "SHA-256" in err


def test_workers_run_what_was_shipped_not_what_the_script_became(workflow):
    flow = workflow(
        """
@jobsys.job
def second(first):
    return first, "shipped"

@jobsys.job
def main():
    path = os.path.join(os.getcwd(), "flow.py")
    with open(path) as stream:
        text = stream.read()
    with open(path, "w") as stream:
        stream.write(text.replace('"shipped"', '"edited"'))
    return second("first")
"""
    )
    code, out, err = flow.run("--isolation", "process")
    assert (code, out.strip()) == (0, "('first', 'shipped')"), err


def test_code_that_was_changed_in_the_store_does_not_run(workflow, tmp_path):
    flow = workflow(
        "@jobsys.job\ndef step(x):\n    time.sleep(0.2)\n    return x\n\n"
        "@jobsys.job\ndef main():\n    return [step(x) for x in range(50)]\n"
    )
    process = flow.start()
    flow.wait_until(lambda: (flow.store / "journal").exists() and len(list(open_store(str(flow.store)).segments())) > 4)
    process.kill()
    process.communicate()
    flow.wait_for_no_process()
    [resource] = [path for path in (flow.store / "shared").rglob("*") if path.is_file()]
    data = bytearray(resource.read_bytes())
    data[len(data) // 2] ^= 1
    resource.chmod(0o600)
    resource.write_bytes(data)
    code, _, err = flow.run("--restart", JOBSYS_CACHE=str(tmp_path / "other host"))
    assert code == 1, "damaged code was run"
    assert "is not what was packed" in err
    code, _, err = flow.run("--restart")
    assert code == 0, f"what this host has in its cache is what was shipped: {err}"


@pytest.mark.parametrize("name", ["a b", "it's", 'say "hi"', "ünï→", "new\nline", "$HOME", "-dash", "100%25"])
def test_stores_with_awkward_names(workflow, tmp_path, name):
    flow = workflow("@jobsys.job\ndef one(x):\n    return x + 1\n\n@jobsys.job\ndef main():\n    return one(one(1))\n")
    code, out, err = flow.run(store=str(tmp_path / name / "store"))
    assert (code, out.strip()) == (0, "3"), err
    code, out, err = flow.run("--restart", store=f"file:{tmp_path / name / 'store'}")
    assert (code, out.strip()) == (0, "3"), err


@pytest.mark.parametrize("name", ["my-script.py", "script.v2.py", "script", "2nd.py", "sp ace.py", "ünï.py"])
def test_scripts_with_awkward_names(workflow, name):
    flow = workflow(
        "class Point:\n    pass\n\n@jobsys.job\ndef one(x):\n    return type(x).__name__, Point()\n\n"
        "@jobsys.job\ndef main():\n    return one(Point())[0]\n",
        name=name,
    )
    code, out, err = flow.run()
    assert (code, out.strip()) == (0, "Point"), err


def test_a_work_directory_may_be_named_from_where_the_script_starts(workflow):
    flow = workflow("""
@jobsys.job
def main():
    os.chdir("/")
    file = jobsys.current().temp_dir / "file"
    file.write_text("here")
    return str(file.parents[4]), file.read_text()
""")
    (flow.directory / "work").mkdir()
    assert flow.run("--work-dir", "work")[1].strip() == str((str(flow.directory / "work"), "here"))
    assert not list((flow.directory / "work").iterdir())


def test_a_work_directory_that_is_not_there_is_named(workflow):
    code, _, err = workflow(STEPS).run("--work-dir", "nowhere")
    assert code == 2
    assert "--work-dir nowhere is no directory" in err
    assert "Traceback" not in err
