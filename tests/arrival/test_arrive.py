"""A bare Python arrives: end to end from the bootstrap to the program, over HTTP, out of real distributions."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

import jobsys
from arrival.bare import MAGIC, PYTHON, begin, configuration, start, told  # type: ignore[import-not-found]
from arrival.layers import copy_distribution, shipped, write  # type: ignore[import-not-found]
from arrival.store import TOKEN, serving  # type: ignore[import-not-found]
from jobsys import kept
from jobsys.arrival import arrive
from jobsys.arrival.core import core_archive
from jobsys.arrival.interpreter import facts
from jobsys.cache import Cache
from jobsys.errors import StorageError
from jobsys.holding import is_held
from jobsys.kept import read_list
from jobsys.resource import DirectoryResource

HOST = os.uname().nodename
TELL = """
import json, locale, os, sys, time
import msgspec, jobsys
print(json.dumps({
    "msgspec": msgspec.__file__, "native": msgspec._core.__file__, "jobsys": jobsys.__file__, "argv": sys.argv, "prefix": sys.prefix,
    "encoded": msgspec.json.encode([1]).decode(), "optimize": sys.flags.optimize, "safe": sys.flags.safe_path, "cwd": os.getcwd(),
    "variables": dict(os.environ), "path": sys.path, "rest": sys.stdin.read(), "zone": time.tzname[0], "executable": sys.executable,
}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    trees = tmp_path_factory.mktemp("trees")
    copy_distribution("msgspec", trees / "msgspec")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(jobsys.__file__).parent, trees / "jobsys" / "site" / "jobsys", ignore=ignore)
    write(trees / "root", {"script.py": "print('script')\n"})
    described = {name: shipped(trees / name, store, name) for name in ("msgspec", "jobsys", "root")}
    (store / "described.json").write_text(json.dumps(described))
    return store


@pytest.fixture
def server(store):
    with serving(store) as server:
        yield server


def described(store, url):
    found = json.loads((store / "described.json").read_text())
    return {name: each | {"url": f"{url}/{each['url'].rpartition('/')[2]}"} for name, each in found.items()}


def shipment(store, url, command, **more):
    trees = described(store, url)
    config = configuration(store, url, command, layers=[trees["jobsys"], trees["msgspec"]], roots=[trees["root"]], **more)
    return config | {"environment": {"JOBSYS_STORE_URL": url, "JOBSYS_STORE_TOKEN": TOKEN}}


def test_a_bare_python_becomes_a_program_of_the_environment(tmp_path, store, server):
    home = tmp_path / "home"
    home.mkdir()
    (home / "msgspec.py").write_text("raise SystemExit('a decoy was imported')")
    leaders = {"LANG": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": None}
    config = shipment(store, server.url, ["-c", TELL, "an argument"], environment=leaders, options=["-O"], directory=str(tmp_path))
    config["environment"]["PASSED"] = "by --env"
    decoys = {"PYTHONPATH": str(home), "LC_ALL": "C", "PYTHONOPTIMIZE": "2", "KEPT": "host's"}
    behind, errors, status = start(home, config, b"the rest", **decoys)
    assert (errors, status) == ("", 0)
    found = json.loads(behind)
    prefix = found["prefix"]
    assert prefix.startswith(f"{home}/.cache/jobsys/env-")
    assert all(found[name].startswith(f"{prefix}/lib/python") for name in ("msgspec", "native", "jobsys"))
    assert found["encoded"] == "[1]"
    assert found["executable"] == f"{prefix}/bin/python"
    assert (found["argv"], found["rest"], found["cwd"]) == (["-c", "an argument"], "the rest", str(tmp_path))
    assert (found["optimize"], found["safe"], found["zone"]) == (1, True, "JST")
    variables = found["variables"]
    assert variables["VIRTUAL_ENV"] == prefix
    assert variables["PATH"] == f"{prefix}/bin:{os.defpath}"
    assert {"PYTHONPATH", "LC_ALL", "PYTHONOPTIMIZE"}.isdisjoint(variables)
    wanted = {"LANG": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "KEPT": "host's", "PASSED": "by --env"}
    assert wanted.items() <= variables.items()
    assert not [each for each in found["path"] if "core-" in each]


def test_a_second_worker_fetches_nothing_but_what_to_start(tmp_path, store, server):
    config = shipment(store, server.url, ["-c", "print('here')"])
    for _ in range(2):
        assert start(tmp_path / "home", config)[0] == b"here\n"
    assert len(server.asked) == 1 + 2 + 3, "the core, the shipment twice, three trees"
    assert server.asked.count("/shipment.json") == 2


def test_what_has_moved_is_fetched_from_where_the_leader_finds_it_now(tmp_path, store, server):
    config = shipment(store, f"{server.url}/gone", ["-c", "print('here')"])
    for place in (config["core"], config["arrive"]["shipment"]):
        place["url"] = place["url"].replace("/gone/", "/")
    config["arrive"]["urls"] = {each["sha256"]: each["url"] for each in described(store, server.url).values()}
    config["environment"]["JOBSYS_STORE_URL"] = server.url
    assert start(tmp_path / "home", config)[:2] == (b"here\n", "")
    assert not [path for path in server.asked if "gone" in path]


def test_workers_that_start_together_fetch_everything_once(tmp_path, store, server):
    config = shipment(store, server.url, ["-c", "print('here')"])
    processes = [begin(tmp_path / "home", config) for _ in range(6)]
    ended = [process.communicate() for process in processes]
    assert {errors for _, errors in ended} == {b""}
    assert {out for out, _ in ended} == {MAGIC + b"here\n"}
    trees = [path for path in server.asked if path not in {"/core.zip", "/shipment.json"}]
    assert len(trees) == len(set(trees)) == 3


def test_what_a_program_runs_on_is_held_as_long_as_it_lives(tmp_path, store, server):
    home = tmp_path / "home"
    process = begin(home, shipment(store, server.url, ["-c", "import sys; print('here', flush=True); sys.stdin.read()"]))
    while process.stdout.readline() != b"here\n":
        continue
    cache = Cache(home / ".cache" / "jobsys")
    places = [each.path for each in cache.places() if not each.path.endswith(".zip")]
    assert len(places) == 4
    assert all(map(is_held, places))
    assert [each.path for each in cache.evict(0)] == [f"{cache.root}/core-{sha256(core_archive()).hexdigest()}.zip"], "it was needed once"
    process.communicate()
    assert len(cache.evict(0)) == 4


def test_roots_lie_where_a_resource_of_that_name_is_looked_for(tmp_path, store, server, monkeypatch):
    start(tmp_path / "home", shipment(store, server.url, ["-c", "pass"]))
    cache = Cache(tmp_path / "home" / ".cache" / "jobsys")
    root = described(store, server.url)["root"]
    monkeypatch.setenv(DirectoryResource.rootDirPathEnvName, cache.code)
    resource = DirectoryResource("root", "0", f"{root['url']}#sha256={root['sha256']}", root["md5"])
    assert resource.localDirPath == arrive.place(cache, root)
    assert Path(resource.localPath, "script.py").read_text() == "print('script')\n"
    assert [each.path for each in read_list(resource.localDirPath)] == ["script.py"]


def test_a_worker_that_can_not_run_it_says_so_before_it_fetches_anything(tmp_path, store, server):
    config = shipment(store, server.url, ["-c", "pass"])
    config["arrive"]["needs"] = {"native": True, "machine": "riscv64", "glibc": [2, 17], "musl": False}
    behind, _, status = start(tmp_path / "home", config)
    assert status == 1
    assert told(behind).startswith(f"host {HOST} is a {facts()['machine']} machine ({PYTHON}), the leader's packages are built for riscv64")
    assert server.asked == ["/core.zip"]


def test_a_tree_that_is_gone_is_told_with_host_and_address(tmp_path, store, server):
    config = shipment(store, server.url, ["-c", "pass"])
    trees = described(store, server.url)
    trees["root"]["url"] = f"{server.url}/gone.zip"
    again = configuration(store, server.url, ["-c", "pass"], layers=[trees["msgspec"]], roots=[trees["root"]])
    behind, _, status = start(tmp_path / "home", again | {"environment": config["environment"]})
    assert status == 1
    assert told(behind) == f"host {HOST} ({PYTHON}): {server.url}/gone.zip: the server answered 404 File not found"
    assert TOKEN not in told(behind)


def test_a_tree_that_was_changed_in_the_store_is_refused(tmp_path, store, server):
    config = shipment(store, server.url, ["-c", "pass"])
    trees = described(store, server.url)
    trees["root"]["sha256"] = trees["msgspec"]["sha256"]
    again = configuration(store, server.url, ["-c", "pass"], roots=[trees["root"]])
    behind, errors, status = start(tmp_path / "home", again | {"environment": config["environment"]})
    assert status == 1
    assert "is not what was saved" in told(behind)
    assert f"jobsys, host {HOST}: Trying again (1 of 5)" in errors


def test_much_to_fetch_is_shown_now_and_then(tmp_path, store, server, monkeypatch, capsys):
    monkeypatch.setattr(arrive, "PAUSE", 0.05)
    monkeypatch.setenv("JOBSYS_STORE_URL", server.url)
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", TOKEN)
    server.troubles = [503] * 4
    large = {name: each | {"size": 30_000_000} for name, each in described(store, server.url).items()}
    arrive.obtain_all(large.values(), Cache(tmp_path / "cache"))
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(f"jobsys, host {HOST}: fetching what the script needs, " in line and line.endswith(" of 90 MB are here") for line in lines)
    arrive.obtain_all(described(store, server.url).values(), Cache(tmp_path / "other"))
    assert capsys.readouterr().err == ""


def test_of_small_trees_that_are_there_only_own_code_is_read_again(tmp_path, store, server, monkeypatch):
    monkeypatch.setenv("JOBSYS_STORE_URL", server.url)
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", TOKEN)
    trees, cache = described(store, server.url), Cache(tmp_path / "cache")
    layers = {arrive.place(cache, trees[name]) for name in ("jobsys", "msgspec")}
    first = arrive.obtain_all(trees.values(), cache, layers)
    read: list[str] = []
    content = kept._content

    def counted(path, kind):
        read.append(path)
        return content(path, kind)

    monkeypatch.setattr(kept, "_content", counted)
    assert arrive.obtain_all(trees.values(), cache, layers) == first == {place: read_list(place) for place in first}
    assert read == [f"{arrive.place(cache, trees['root'])}/root/script.py"]


def test_a_cache_from_which_nothing_native_can_be_loaded_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 8 + (os.ST_NOEXEC, 255)))
    with pytest.raises(StorageError, match=r"cache is on a file system that is mounted noexec.* JOBSYS_CACHE"):
        arrive.bring({})
