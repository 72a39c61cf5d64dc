"""The host's cache: where it is, who may use it, what is removed, and that nothing in use ever is."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

from jobsys import cache as module
from jobsys import holding
from jobsys.cache import LIMIT, Cache
from jobsys.errors import StorageError, UsageError
from jobsys.files import locked
from jobsys.holding import hold
from jobsys.kept import Kept, write_list
from jobsys.package import pack
from jobsys.resource import Resource
from jobsys.scan import read_tree
from layered import image, needs_root, run_on_image  # type: ignore[import-not-found]


@pytest.fixture(autouse=True)
def held(monkeypatch):
    held: dict[str, int] = {}
    monkeypatch.setattr(holding, "_held", held)
    yield held
    for descriptor in held.values():
        os.close(descriptor)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def put(cache, name, size=100, used=1000.0, parts=()):
    """Put a place into the cache: a tree, or an environment if its name begins with ``env``."""
    place = f"{cache.root}/{name}" if name.startswith("env") else f"{cache.code}/{name * 64}-01234567"
    os.mkdir(place)
    write_list(place, [Kept("x", "file", 0o644, size, "")])
    hold(place, parts)
    for each in list(holding._held):
        os.close(holding._held.pop(each))
    os.utime(f"{place}.used", (used, used))
    return place


def names(cache):
    return sorted(os.path.basename(place.path)[:5] for place in cache.places())


# ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def homes(tmp_path, monkeypatch):
    for name in ("JOBSYS_CACHE", "XDG_CACHE_HOME", "JOBSYS_CACHE_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_the_first_directory_that_will_do(homes, monkeypatch):
    found = []
    for name, value in ((None, None), ("XDG_CACHE_HOME", "xdg"), ("JOBSYS_CACHE", "chosen")):
        if name is not None:
            monkeypatch.setenv(name, str(homes / value))
        found.append(os.path.relpath(Cache.of_host().root, homes))
    assert found == ["home/.cache/jobsys", "xdg/jobsys", "chosen"]
    assert all((homes / path).stat().st_mode & 0o777 == 0o700 for path in found)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.delenv("JOBSYS_CACHE")
    assert Cache.of_host().root == str(homes / "home/.cache/jobsys")


def test_a_home_that_is_none_is_passed_over(homes, monkeypatch):
    (homes / "home").rmdir()
    (homes / "home").write_text("")
    assert Cache.of_host().root == f"{homes}/tmp/jobsys-cache-{os.getuid()}"


def test_a_directory_that_others_may_write_is_passed_over_or_refused(homes, monkeypatch):
    root = homes / "home/.cache/jobsys"
    Cache.of_host()
    root.chmod(0o770)
    assert Cache.of_host().root == f"{homes}/tmp/jobsys-cache-{os.getuid()}"
    monkeypatch.setenv("JOBSYS_CACHE", str(root))
    with pytest.raises(StorageError, match=r"others may write into the cache .*chmod go-w it, or let JOBSYS_CACHE"):
        Cache.of_host()


def test_two_users_have_two_directories(homes, monkeypatch):
    """The second comes with the first one's HOME, as with sudo, and must not run what the first can change."""
    mine = Cache.of_host().root
    me, real = os.getuid(), os.stat
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    planted = homes / "tmp" / f"jobsys-cache-{me + 1}"
    planted.mkdir()
    with pytest.raises(StorageError, match=f"{planted} belongs to another user"):
        Cache.of_host()
    planted.rmdir()

    def theirs(path, *arguments, **options):
        found = real(path, *arguments, **options)
        return os.stat_result((*found[:4], me + 1, *found[5:])) if str(path).startswith(str(planted)) else found

    monkeypatch.setattr(os, "stat", theirs)
    monkeypatch.setattr(os, "lstat", theirs)
    assert Cache.of_host().root == str(planted) != mine
    monkeypatch.setenv("JOBSYS_CACHE", mine)
    with pytest.raises(StorageError, match="belongs to another user"):
        Cache.of_host()


def test_a_relative_path_is_refused(homes, monkeypatch):
    monkeypatch.setenv("JOBSYS_CACHE", "some/where")
    with pytest.raises(UsageError, match="JOBSYS_CACHE='some/where' is not an absolute path"):
        Cache.of_host()


def test_a_directory_with_another_use_is_refused_and_left_alone(homes, monkeypatch):
    thesis = homes / "thesis"
    (thesis / "code").mkdir(parents=True)
    thesis.chmod(0o700)
    monkeypatch.setenv("JOBSYS_CACHE", str(thesis))
    for name in ("chapter.tex", "code/figure.py", "CACHEDIR.TAG"):
        (thesis / name).write_text("of another program")
        with pytest.raises(UsageError, match="name an empty or new directory"):
            Cache.of_host()
        assert (thesis / name).read_text() == "of another program"
        (thesis / name).unlink()
    for name in (f"core-{'0' * 64}.zip", ".core-0123456789abcdef", ".CACHEDIR.TAG.xyz"):
        (thesis / name).write_text("of a process that is just making it")
    root = Cache.of_host().root
    (thesis / "code" / "place").mkdir()
    assert Cache.of_host().root == root == str(thesis)


@pytest.mark.parametrize("ours", [True, False])
def test_a_link_will_do_if_it_is_one_s_own(homes, monkeypatch, ours):
    lstat = os.lstat
    (homes / "scratch").mkdir(mode=0o700)
    (homes / "chosen").symlink_to(homes / "scratch")

    def planted(path, *arguments, **options):
        found = lstat(path, *arguments, **options)
        return os.stat_result((*found[:4], os.getuid() + 1, *found[5:])) if str(path) == str(homes / "chosen") else found

    monkeypatch.setenv("JOBSYS_CACHE", str(homes / "chosen"))
    if ours:
        assert Cache.of_host().root == str(homes / "chosen")
    else:
        monkeypatch.setattr(os, "lstat", planted)
        with pytest.raises(StorageError, match="belongs to another user"):
            Cache.of_host()


def test_a_file_system_without_locks_is_said_and_not_shared(homes, monkeypatch, caplog):
    monkeypatch.setattr(module, "has_locks", lambda directory: not directory.startswith(str(homes / "home")))
    with caplog.at_level(logging.WARNING):
        assert Cache.of_host(private=homes / "own").root == str(homes / "own")
    assert "has no locks" in caplog.text
    assert "JOBSYS_CACHE" in caplog.text


@pytest.mark.parametrize(
    ("text", "size"), [("", LIMIT), ("10G", 10**10), ("1.5 kB", 1500), ("2GiB", 2 << 30), ("0", 0), ("x", None), ("-1", None)]
)
def test_the_limit(homes, monkeypatch, text, size):
    monkeypatch.setenv("JOBSYS_CACHE_LIMIT", text)
    if size is None:
        with pytest.raises(UsageError, match="JOBSYS_CACHE_LIMIT"):
            Cache.of_host()
    else:
        assert Cache.of_host().limit == size


def test_the_cache_around_its_trees(cache, tmp_path):
    found = Cache.around(cache.code)
    assert found is not None
    assert found.root == cache.root
    (tmp_path / "code").mkdir()
    assert Cache.around(str(tmp_path / "code")) is None


def test_cleaning_up_after_a_worker_spares_the_cache(cache, monkeypatch):
    place = put(cache, "a")
    monkeypatch.setenv("JTRES_ROOT", cache.code)
    Resource.cleanSystem()
    assert "JTRES_ROOT" not in os.environ
    assert os.path.isdir(place)


# ── what is removed ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_least_recently_used_go_first(cache):
    for name, used in (("c", 30), ("a", 10), ("b", 20)):
        put(cache, name, used=used)
    assert cache.evict(limit=300) == []
    assert [place.used for place in cache.evict(limit=150)] == [10, 20]
    assert names(cache) == ["ccccc"]
    assert sorted(os.listdir(cache.code)) == ["c" * 64 + "-01234567", "c" * 64 + "-01234567.used"]


EMPTY = """
import os, sys
from jobsys.cache import Cache

cache = Cache(sys.argv[1])
print([os.path.basename(place.path)[:5] for place in cache.evict(150)], sorted(os.listdir(cache.code)))
"""


@needs_root
def test_what_is_in_an_image_goes_too(tmp_path):
    """Its directory can't be renamed: it is of the layer below."""
    cache = Cache(image(tmp_path) / "cache")
    for number, name in enumerate("ab"):
        put(cache, name, used=1000.0 + number)
    left = "b" * 64 + "-01234567"
    assert run_on_image(tmp_path, EMPTY, f"{tmp_path}/root/cache") == [f"['aaaaa'] {[left, left + '.used']}"]


def test_an_environment_goes_before_what_it_rests_on(cache):
    layers = [put(cache, name, used=used) for name, used in (("a", 10), ("b", 99))]
    put(cache, "env-01234567", used=50, parts=layers)
    for layer, used in zip(layers, (10, 99), strict=True):
        os.utime(f"{layer}.used", (used, used))
    put(cache, "d", used=40)
    assert [os.path.basename(place.path)[:5] for place in cache.evict(limit=0)] == ["ddddd", "env-0", "aaaaa", "bbbbb"]
    assert sorted(os.listdir(cache.root)) == ["CACHEDIR.TAG", "code"]


def test_core_archives_count_and_go_but_not_while_one_is_written(cache):
    core, left, written = (Path(cache.root, name) for name in (f"core-{'a' * 64}.zip", f".core-{'1' * 16}", f".core-{'2' * 16}"))
    for path in (core, left, written):
        path.write_bytes(b"x" * 100)
    os.utime(left, (1, 1))
    assert sorted(place.size for place in cache.places()) == [100, 100]
    assert [place.path for place in cache.evict(limit=100)] == [str(left)]
    assert [place.path for place in cache.evict(limit=0)] == [str(core)]
    assert sorted(os.listdir(cache.root)) == [written.name, "CACHEDIR.TAG", "code"]


def test_what_is_held_stays_with_what_it_rests_on(cache):
    layer = put(cache, "a")
    environment = put(cache, "env-01234567", parts=[layer])
    put(cache, "b")
    hold(environment)
    assert [place.path[-12:-9] for place in cache.evict(limit=0)] == ["bbb"]
    assert names(cache) == ["aaaaa", "env-0"]


def test_what_is_being_made_or_repaired_stays(cache):
    place = put(cache, "a")
    with locked(f"{place}.lock"):
        assert cache.evict(limit=0) == []
    assert len(cache.evict(limit=0)) == 1


def test_what_is_not_the_cache_s_own_is_never_touched(tmp_path):
    for name in ("thesis", "code/project", ".hidden", "code/x.lock", "env-home", "code/" + "a" * 64):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "code" / ("b" * 64 + ".used")).write_text("")
    tmp_path.chmod(0o700)
    (tmp_path / "code").chmod(0o700)
    before = sorted(tmp_path.rglob("*"))
    cache = Cache(tmp_path)
    assert cache.evict(limit=0) == []
    assert sorted({*tmp_path.rglob("*")} - {tmp_path / "CACHEDIR.TAG"}) == before


def test_what_killed_processes_left_is_swept(cache):
    stem = f"{cache.code}/{'a' * 64}-01234567"
    other = f"{cache.code}/{'b' * 64}-01234567"
    for path in (f"{stem}.part-x", f"{other}.part-y"):
        os.makedirs(f"{path}/project")
    for ending in ("lock", "used", "parts", "transfer"):
        Path(f"{stem}.{ending}").write_text("")
    Path(f"{other}.transfer").write_text("")
    os.utime(f"{other}.transfer", (1, 1))
    with locked(f"{other}.lock"):
        cache.evict()
        assert os.path.exists(f"{other}.part-y")
    cache.evict()
    assert os.listdir(cache.code) == [os.path.basename(f"{stem}.transfer")]


TORMENT = """
import os, random, sys, time
from jobsys.cache import Cache
from jobsys.fetch import Wanted, obtain
root, until = sys.argv[1], time.monotonic() + float(sys.argv[2])
cache = Cache(root, 0)
wanted = [Wanted(*line.split(), True) for line in sys.stdin]
count = 0
while time.monotonic() < until:
    child = os.fork()
    if child == 0:
        each = random.choice(wanted)
        place = cache.code + "/" + each.sha256 + "-01234567"
        made = obtain(each, place)
        cache.evict()
        for _ in range(3):
            assert open(f"{place}/{each.name}/a.py").read() == open(f"{place}/{each.name}/b.py").read() == each.name
        os._exit(42 if made else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 42), status
    count += status == 42
print(count)
"""


def test_what_is_in_use_is_never_removed_however_many_processes_do_their_worst(cache, tmp_path):
    """Each child obtains one of few trees, evicts all that it can, and reads on; nothing may vanish under it."""
    lines = []
    for number in range(3):
        project = tmp_path / f"p{number}"
        project.mkdir()
        for name in ("a.py", "b.py"):
            (project / name).write_text(project.name)
        tree = read_tree(str(project))
        with open(tmp_path / f"{number}.zip", "wb") as stream:
            pack(tree, stream, compress=False)
        lines.append(f"file://{quote(str(tmp_path))}/{number}.zip {project.name} {tree.md5} {tree.sha256}\n")
    command = [sys.executable, "-c", TORMENT, cache.root, "2"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("".join(lines))
        process.stdin.close()
    made = []
    for process in processes:
        assert process.stdout is not None
        made.append(process.stdout.read().strip())
        process.stdout.close()
        assert process.wait() == 0
    assert sum(map(int, made)) > 5, "trees were evicted and obtained again"
    assert len(cache.evict(limit=0)) <= 3
    assert os.listdir(cache.code) == []
