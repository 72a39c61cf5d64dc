"""What hosts keep of shipped code: fetched once, shared, never evicted in use, and not believed when it has rotted."""

import time
from pathlib import Path

import pytest

from shipping.field import ANSWER, CACHE, GATED, Field, said, until  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash]


HELPED = """
import helper
import msgspec

@jobsys.job(memory="50M")
def main():
    note("ran")
    return helper.answer(), msgspec.__version__ != "decoy"
"""


def test_a_second_run_downloads_nothing(field: Field) -> None:
    script = field.script(HELPED, helper=ANSWER)
    assert field.run(script, hosts=("n3",)).stdout == "(42, True)\n"
    before = field.hosts.run("n3", ["find", CACHE, "-mindepth", "1", "-maxdepth", "2", "-type", "d", "-printf", "%p %i %C@\n"]).stdout
    assert "/env-" in before
    done = field.run(script, hosts=("n3",))
    assert done.stdout == "(42, True)\n"
    assert "sent 0" not in done.stderr  # a new store: the leader sends all, the host fetches none
    after = field.hosts.run("n3", ["find", CACHE, "-mindepth", "1", "-maxdepth", "2", "-type", "d", "-printf", "%p %i %C@\n"]).stdout
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_two_runs_share_a_cold_cache(field: Field) -> None:
    script = field.script(HELPED, helper=ANSWER)
    field.hosts.run("n3", ["rm", "-rf", CACHE])
    both = [field.start(script, hosts=("n3",)) for _ in range(2)]
    ends = [each.end() for each in both]
    assert [(done.returncode, done.stdout) for done in ends] == [(0, "(42, True)\n")] * 2, said(ends[0]) + said(ends[1])
    assert not [place for place in places(field) if ".part-" in place]
    assert len([place for place in places(field) if "/env-" in place]) == 1


def test_what_runs_is_not_evicted_whatever_the_limit(field: Field) -> None:
    assert field.run(field.script(HELPED, helper=ANSWER), hosts=("n3",)).returncode == 0
    before = places(field)
    lazy = field.script(
        GATED.replace("range(8)", "range(1)").replace('note(f"ended {number}")', "import helper; note(helper.answer())"), helper=ANSWER
    )
    limit = ("--env", "JOBSYS_CACHE_LIMIT=1k")
    running = field.start(lazy, *limit, hosts=("n3",))
    until(lambda: field.side("n3"))
    side = field.hosts.persist("n3") / "side"
    other = field.workshop.base / "projects" / "other"
    field.workshop.write(other, {"flow.py": Path(lazy).read_text(), "helper.py": "def answer():\n    return 43\n"})
    beside = field.start(str(other / "flow.py"), *limit, hosts=("n3",))
    until(lambda: side.read_text().count("began") == 2)
    field.go("n3")
    for done in (running.end(), beside.end()):
        assert (done.returncode, done.stdout) == (0, "['n3']\n"), said(done)
    assert sorted(field.side("n3"))[:2] == ["42", "43"]
    assert before - places(field), "nothing was evicted, so nothing was spared"


ROT = """
import glob, marshal, os, sys
cache, what = sys.argv[1:]
if what == "own code":
    paths = glob.glob(f"{cache}/code/*/*/helper.py")
elif what == "a distribution":
    paths = glob.glob(f"{cache}/env-*/env/lib/python3*/site-packages/msgspec/__init__.py")
else:
    sources = glob.glob(f"{cache}/code/*/*/helper.py")
    paths = [path for source in sources for path in glob.glob(f"{os.path.dirname(source)}/__pycache__/helper.*.pyc")]
assert paths, os.listdir(cache)
for path in paths:
    found = os.stat(path)
    data = open(path, "rb").read()
    if path.endswith(".pyc"):
        bad = data[:16] + marshal.dumps(compile("def answer():\\n    return 66\\n", "helper.py", "exec"))
    else:
        bad = data.replace(b"42", b"66", 1) if b"42" in data else b"1/0  # rotten\\n" + data[14:]
    with open(path, "r+b") as stream:
        stream.write(bad)
        stream.truncate()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
print(len(paths))
"""


@pytest.mark.parametrize("what", ["own code", "a distribution", "bytecode"])
def test_what_rots_in_a_cache_is_repaired_before_it_is_imported(field: Field, what: str) -> None:
    script = field.script(HELPED, helper=ANSWER)
    assert field.run(script, hosts=("n3",)).stdout == "(42, True)\n"
    rotten = field.hosts.run("n3", [field.hosts.python, "-c", ROT, CACHE, what])
    assert rotten.stdout.strip() >= "1", said(rotten)
    done = field.run(script, hosts=("n3",))
    assert (done.returncode, done.stdout) == (0, "(42, True)\n"), said(done)


@pytest.mark.parametrize("what", ["own code", "a distribution"])
def test_an_archive_that_was_damaged_in_the_store_is_refused_by_name(field: Field, what: str) -> None:
    script = field.script(GATED.replace("range(8)", "range(1)") + HELPED.partition("@")[0], helper=f"{ANSWER}# {time.time_ns()}\n")
    started = field.start(script, hosts=("n3",))
    until(lambda: field.side("n3"))
    field.signal("INT", started.store)
    assert started.end().returncode == 130
    archives = Path(started.store.removeprefix("file:"))
    path = archive_of(archives, b"helper.py" if what == "own code" else b"site/msgspec/__init__.py")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    field.hosts.run("n3", ["rm", "-rf", CACHE])
    ran = field.side("n3")
    done = field.run(script, "--restart", store=started.store, hosts=("n3",))
    assert done.returncode in (1, 2), said(done)
    assert path.name in done.stderr, said(done)
    assert "Traceback" not in done.stderr, said(done)
    assert field.side("n3") == ran, "a job ran with damaged code"
    path.unlink()
    field.go("n3")
    mended = field.run(script, "--restart", store=started.store, hosts=("n3",))
    assert (mended.returncode, mended.stdout) == (0, "['n3']\n"), said(mended)


def places(field: Field) -> set[str]:
    """List the trees and environments in the cache of n3."""
    return set(field.hosts.run("n3", ["find", f"{CACHE}/code", CACHE, "-mindepth", "1", "-maxdepth", "1", "-type", "d"]).stdout.split())


def archive_of(store: Path, name: bytes) -> Path:
    """Find the archive in a store whose directory names a file."""
    found = [path for path in store.rglob("*") if path.is_file() and "journal" not in str(path) and name in path.read_bytes()]
    assert found, sorted(store.rglob("*"))
    return max(found, key=lambda path: path.stat().st_size)
