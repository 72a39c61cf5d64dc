"""Code on its way: saved once, fetched once a host, checked always, loaded as the leader loads it."""

import http.server
import json
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from contextlib import contextmanager
from hashlib import md5, sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from jobsys import fetch, kept, modules, package, resource
from jobsys.errors import JobsysError
from jobsys.jobstores.locators import locate
from jobsys.resource import DirectoryResource, FileResource, ModuleDescriptor, Resource, ResourceException, VirtualEnvResource

SOURCE = str(Path(os.path.abspath(resource.__file__)).parents[1])


class Store:
    """The smallest job store: files in a directory."""

    def __init__(self, root, base=None):
        self.root, self.base = Path(root), base
        self.root.mkdir(exist_ok=True)
        self.written = []

    @contextmanager
    def write_shared_file(self, name):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(path.name + ".part")
        with open(part, "wb") as stream:
            yield stream
        part.rename(path)
        self.written.append(name)

    def shared_file_exists(self, name):
        return (self.root / name).exists()

    def shared_file_url(self, name):
        return f"{self.base}/{name}" if self.base else "file://" + quote(str(self.root / name))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "job store %41")


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    monkeypatch.delenv("JTRES_ROOT", raising=False)
    path, modules = list(sys.path), set(sys.modules)
    yield
    Resource.cleanSystem()
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("")
    (root / "pkg" / "mod.py").write_text("VALUE = 7\n")
    (root / "flow.py").write_text("VALUE = 8\n")
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    return root


def run(*arguments, cwd=None, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JTRES_")} | {"PYTHONPATH": SOURCE} | variables
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False, cwd=cwd)


# ── the specification's own examples ─────────────────────────────────────────────────────────────────────────────────


def test_the_specification_s_examples(tmp_path):
    described = ModuleDescriptor.forModule("jobsys.resource")
    assert re.fullmatch(r"ModuleDescriptor\(dirPath='/.*/src', name='jobsys.resource', fromVirtualEnv=False\)", repr(described))
    script = "from jobsys.resource import ModuleDescriptor\n{}(ModuleDescriptor.forModule(__name__))"
    (tmp_path / "foo.py").write_text(script.format("print"))
    out = run(tmp_path / "foo.py").stdout
    assert out == f"ModuleDescriptor(dirPath='{tmp_path}', name='foo', fromVirtualEnv=False)\n"
    (tmp_path / "collections.py").write_text(script.format("print"))
    assert run(tmp_path / "collections.py").returncode == 1


def test_a_script_with_the_name_of_another_module_is_refused_and_both_files_are_named(tmp_path):
    script = tmp_path / "colorsys.py"
    script.write_text("from jobsys.resource import ModuleDescriptor\nModuleDescriptor.forModule(__name__)")
    answer = run(script)
    assert answer.returncode == 1
    assert "jobsys: error: " in answer.stderr
    assert str(script) in answer.stderr
    assert os.path.realpath(os.path.join(sysconfig.get_path("stdlib"), "colorsys.py")) in answer.stderr


def test_public_names():
    assert Resource._fields == ("name", "pathHash", "url", "contentHash")
    assert ModuleDescriptor._fields == ("dirPath", "name", "fromVirtualEnv")
    assert (Resource.resourceEnvNamePrefix, Resource.rootDirPathEnvName) == ("JTRES_", "JTRES_ROOT")
    assert issubclass(VirtualEnvResource, DirectoryResource)
    assert issubclass(ResourceException, JobsysError)
    assert resource.logger.name == "jobsys.resource"


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_there_and_back(store, project):
    content = (project / "tool").read_bytes()
    made = Resource.create(store, str(project / "tool"))
    assert isinstance(made, FileResource)
    assert made.name == "tool"
    assert made.pathHash == md5(str(project / "tool").encode()).hexdigest()
    assert made.contentHash == md5(content).hexdigest()
    assert f"#sha256={sha256(content).hexdigest()}" in made.url
    assert pickle.loads(pickle.dumps(made)) == made
    Resource.prepareSystem()
    made.download()
    assert Path(made.localPath).read_bytes() == content
    assert os.access(made.localPath, os.X_OK)


def test_a_directory_that_changes_while_it_is_saved_is_read_again(store, project, monkeypatch):
    """People edit beside a running script, and other runs write there."""
    changing = project / "state.json"
    changing.write_text("0")
    packs = []

    def pack(tree, stream, *, compress):
        packs.append(tree)
        if len(packs) < 3:
            changing.write_text(str(len(packs)))
        package.pack(tree, stream, compress=compress)

    monkeypatch.setattr(resource, "pack", pack)
    made = DirectoryResource.create(store, str(project))
    assert [len(packs), made.contentHash] == [3, packs[-1].md5]
    assert len(store.written) == 1


def test_a_directory_that_never_stands_still_is_named(store, project, monkeypatch):
    changing = project / "state.json"
    changing.write_text("0")

    def pack(tree, stream, *, compress):
        changing.write_text(f"{time.monotonic_ns()}")
        package.pack(tree, stream, compress=compress)

    monkeypatch.setattr(resource, "pack", pack)
    with pytest.raises(ResourceException, match=r"state\.json changed while it was being packed"):
        DirectoryResource.create(store, str(project))
    assert not store.written


def test_a_directory_there_and_back(store, project):
    made = Resource.create(store, str(project))
    assert isinstance(made, DirectoryResource)
    Resource.prepareSystem()
    seen = []
    made.download(lambda directory: seen.append(os.listdir(os.path.join(directory, "project"))))
    assert sorted(seen[0]) == sorted(os.listdir(made.localPath)) == ["flow.py", "pkg", "tool"]
    assert os.access(os.path.join(made.localPath, "tool"), os.X_OK)
    made.download(lambda directory: seen.append([directory]))
    assert len(seen) == 1


def test_a_real_job_store_will_do(project, tmp_path):
    store = locate(f"file:{tmp_path}/real store", durable=False)
    made = Resource.create(store, str(project))
    assert Resource.create(store, str(project)) == made
    Resource.prepareSystem()
    made.download()
    assert sorted(os.listdir(made.localPath)) == ["flow.py", "pkg", "tool"]


def test_saving_the_same_content_again_uploads_nothing(store, project, tmp_path):
    one = Resource.create(store, str(project))
    os.utime(project / "flow.py", (1, 1))
    two = Resource.create(store, str(project))
    shutil.copytree(project, tmp_path / "copy")
    three = Resource.create(store, str(tmp_path / "copy"))
    assert one == two
    assert one.contentHash == three.contentHash
    assert one.pathHash != three.pathHash
    assert len(store.written) == 1
    (project / "flow.py").write_text("VALUE = 9\n")
    assert Resource.create(store, str(project)).contentHash != one.contentHash
    assert len(store.written) == 2


def test_one_content_under_two_names(store, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("same")
    Resource.prepareSystem()
    for made in [Resource.create(store, str(tmp_path / name)) for name in "ab"]:
        made.download()
        assert Path(made.localPath).read_text() == "same"
    assert len(store.written) == 1


@pytest.mark.parametrize("path", ["/", "/tmp", "/etc", "/home", os.path.expanduser("~")])
def test_a_directory_of_the_system_is_refused(store, path):
    with pytest.raises(ResourceException, match="directory of its own"):
        DirectoryResource.create(store, path)


def test_what_can_t_be_read_is_named(store, tmp_path):
    with pytest.raises(ResourceException, match=r"/gone can't be shipped"):
        Resource.create(store, str(tmp_path / "gone"))
    with pytest.raises(ResourceException, match="is none"):
        FileResource.create(store, str(tmp_path))
    with pytest.raises(ResourceException, match="site-packages"):
        VirtualEnvResource.create(store, str(tmp_path))


def test_a_job_store_in_the_directory_is_not_shipped(project):
    inside = Store(project / "jobs")
    (project / "jobs" / "jobsys-store.json").write_text("{}")
    one = Resource.create(inside, str(project))
    assert Resource.create(inside, str(project)) == one


# ── register, lookup ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [FileResource, DirectoryResource, VirtualEnvResource])
def test_lookup_finds_what_was_registered_also_in_a_child(kind):
    made = kind("n", md5(b"/leader/n").hexdigest(), "file:///x", "0" * 32)
    assert Resource.lookup("/leader/n") is None
    made.register()
    assert Resource.lookup("/leader/n") == made
    assert type(Resource.lookup("/leader/n")) is kind
    program = "from jobsys.resource import Resource; print(type(Resource.lookup('/leader/n')).__name__)"
    assert run("-c", program, **made.registration()).stdout.strip() == kind.__name__


@pytest.mark.parametrize(
    "text", ["", "[]", '{"kind": "os.system", "name": "x", "pathHash": "", "url": "", "contentHash": ""}', '{"kind": 1}']
)
def test_what_else_stands_in_the_environment_is_never_trusted(monkeypatch, text):
    monkeypatch.setenv("JTRES_" + md5(b"/p").hexdigest(), text)
    with pytest.raises(ResourceException, match="names no resource"):
        Resource.lookup("/p")


def test_register_all_takes_resources_only():
    Resource.registerAll({"JTRES_AB": "x", "PATH": "evil", "JTRES_ROOT": "/evil"})
    assert os.environ["JTRES_AB"] == "x"
    assert os.environ["PATH"] != "evil"
    assert "JTRES_ROOT" not in os.environ


@pytest.mark.parametrize(("name", "digest"), [("../x", "0" * 32), ("", "0" * 32), ("..", "0" * 32), ("x", "../../y"), ("a/b", "0" * 32)])
def test_an_unsafe_name_or_hash_makes_no_path(name, digest):
    Resource.prepareSystem()
    with pytest.raises(ResourceException, match="unsafe"):
        FileResource(name, "0", "file:///x", digest).download()


def test_prepare_and_clean():
    with pytest.raises(ResourceException, match="prepareSystem"):
        _ = FileResource("x", "0", "file:///x", "0" * 32).localPath
    Resource.prepareSystem()
    root = os.environ["JTRES_ROOT"]
    Resource.prepareSystem()
    assert os.environ["JTRES_ROOT"] == root
    assert os.stat(root).st_mode & 0o777 == 0o700
    shutil.rmtree(root)
    Resource.prepareSystem()
    assert os.environ["JTRES_ROOT"] != root
    Resource.cleanSystem()
    assert not [name for name in os.environ if name.startswith("JTRES_")]


# ── download ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def stored_file(store):
    return next(path for path in (store.root / "resources").iterdir())


@pytest.mark.parametrize("what", ["", "tool"])
def test_what_is_not_what_was_saved_is_refused(store, project, what):
    made = Resource.create(store, str(project / what))
    path = stored_file(store)
    data = bytearray(path.read_bytes())
    data[-1 if what else data.index(b"VALUE")] ^= 1
    path.write_bytes(data)
    Resource.prepareSystem()
    with pytest.raises(ResourceException, match="is not what was"):
        made.download()
    assert not os.path.exists(made.localPath)
    assert [name for name in os.listdir(os.environ["JTRES_ROOT"]) if not name.endswith((".lock", ".used"))] == []
    with pytest.raises(ResourceException, match="can't be downloaded"):
        type(made)(*made[:3], "0" * 32).download()


def test_a_missing_file_is_waited_for_and_then_named(store, project):
    made = Resource.create(store, str(project))
    path = stored_file(store)
    path.rename(path.with_suffix(".hidden"))
    Resource.prepareSystem()
    with pytest.raises(ResourceException, match="is not there"):
        made.download()


@pytest.mark.parametrize("url", ["s3://bucket/key", "memory:x/y", "file://elsewhere/x"])
def test_a_url_that_no_worker_can_fetch_is_named(url):
    Resource.prepareSystem()
    with pytest.raises(ResourceException, match=re.escape(url.partition(":")[0])):
        FileResource("x", "0", url, "0" * 32).download()


def test_a_flipped_byte_is_seen_and_repaired(store, project):
    made = Resource.create(store, str(project))
    Resource.prepareSystem()
    made.download()
    victim = Path(made.localPath, "flow.py")
    before = victim.stat()
    victim.write_text("VALUE = 9\n")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    made.download()
    assert victim.read_text() == "VALUE = 8\n"
    Path(made.localPath, "json.py").write_text("")
    made.download()
    assert not Path(made.localPath, "json.py").exists()


@pytest.mark.parametrize("what", ["", "tool"])
@pytest.mark.parametrize("text", [b"", b"\x90", b"\xc1"])
def test_a_changed_manifest_is_seen_and_repaired(store, project, what, text):
    made = Resource.create(store, str(project / what))
    Resource.prepareSystem()
    made.download()
    Path(made.localDirPath, kept.MANIFEST).write_bytes(text)
    Path(made.localPath, "evil.py").write_text("") if not what else Path(made.localPath).write_text("evil")
    made.download()
    assert os.path.isfile(made.localPath) if what else sorted(os.listdir(made.localPath)) == ["flow.py", "pkg", "tool"]
    assert not what or Path(made.localPath).read_text() == "#!/bin/sh\n"


def test_many_processes_download_once(store, project, tmp_path):
    (project / "data").write_bytes(os.urandom(20_000_000))
    made = Resource.create(store, str(project))
    Resource.prepareSystem()
    made.register()
    program = textwrap.dedent("""
        import os, sys
        from jobsys.resource import Resource
        made = Resource.lookup(sys.argv[1])
        made.download(lambda _: open(sys.argv[2], "a").write("x"))
        assert len(os.listdir(made.localPath)) == 4
    """)
    environment = os.environ | {"PYTHONPATH": SOURCE}
    argv = [sys.executable, "-c", program, project, tmp_path / "count"]
    workers = [subprocess.Popen(list(map(str, argv)), env=environment) for _ in range(6)]
    assert [each.wait() for each in workers] == [0] * 6
    assert (tmp_path / "count").read_text() == "x"
    name = os.path.basename(made.localDirPath)
    assert sorted(os.listdir(os.environ["JTRES_ROOT"])) == [name, name + ".lock", name + ".used"]


def test_a_killed_download_leaves_nothing_usable_and_is_swept(store, project):
    made = Resource.create(store, str(project))
    Resource.prepareSystem()
    made.register()
    program = "import sys, time; from jobsys.resource import Resource; Resource.lookup(sys.argv[1]).download(lambda _: time.sleep(60))"
    worker = subprocess.Popen([sys.executable, "-c", program, str(project)], env=os.environ | {"PYTHONPATH": SOURCE})
    root = Path(os.environ["JTRES_ROOT"])
    until = time.monotonic() + 30
    while not list(root.glob(f"*.part-*/{kept.MANIFEST}")) and time.monotonic() < until:
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not os.path.exists(made.localDirPath)
    assert list(root.glob("*.part-*"))
    made.download()
    assert not list(root.glob("*.part-*"))
    assert Path(made.localPath, "flow.py").exists()


def test_extension_modules_for_another_python_are_refused(store, project, monkeypatch):
    site = project / "site-packages"
    site.mkdir()
    (site / ("fast" + sysconfig.get_config_var("EXT_SUFFIX"))).write_bytes(b"")
    made = VirtualEnvResource.create(store, str(site))
    Resource.prepareSystem()
    made.download()
    real = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: ".cpython-399.so" if name == "EXT_SUFFIX" else real(name))
    with pytest.raises(ResourceException, match="version of Python"):
        made.download()


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path):
    """Serve the store, in the way that ``plan`` says for each request; then well."""
    root = tmp_path / "served"
    plan: list[object] = []
    seen: list[tuple[object, str | None, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            step = plan.pop(0) if plan else "good"
            data = (root / self.path.partition("?")[0].lstrip("/")).read_bytes()
            asked = self.headers.get("Range")
            seen.append((step, asked, self.path))
            if isinstance(step, int):
                self.send_error(step)
                return
            start = int(asked[6:-1]) if asked and step != "whole" else 0
            if step == "damaged":
                data = bytes([data[0] ^ 1]) + data[1:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : start + len(data) // 2] if step == "truncated" else data[start:])

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield Store(root, f"http://127.0.0.1:{listening.server_port}"), plan, seen
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("what", ["", "tool"])
@pytest.mark.parametrize(
    ("trouble", "ranges"),
    [
        ([], 0),
        ([503, 500, 429], 0),
        (["truncated"], 1),
        (["truncated", "whole"], 1),
        (["damaged"], 0),
        ([416, "damaged", 502], 0),
    ],
)
def test_http_with_its_troubles(server, project, trouble, ranges, what):
    store, plan, seen = server
    plan += trouble
    content = os.urandom(1_000_000)
    (project / "tool").write_bytes(content)
    made = Resource.create(store, str(project / what))
    Resource.prepareSystem()
    made.download()
    assert Path(made.localPath, "" if what else "tool").read_bytes() == content
    assert len(seen) == len(trouble) + ("whole" not in trouble)
    assert sum(1 for _, asked, _ in seen if asked) == ranges


def test_what_crosses_a_network_is_compressed(server, project):
    (project / "long.py").write_text("x = 1\n" * 100_000)
    Resource.create(server[0], str(project))
    assert stored_file(server[0]).stat().st_size < 20_000


def test_http_gives_up_in_the_end_and_keeps_signatures_to_itself(server, project):
    store, plan, seen = server
    made = Resource.create(store, str(project))
    address, _, fragment = made.url.partition("#")
    made = made._replace(url=f"{address}?X-Amz-Signature=secret#{fragment}")
    Resource.prepareSystem()
    plan += [503] * 50
    with pytest.raises(ResourceException, match="answered 503") as caught:
        made.download()
    assert len(seen) == fetch.TRIES
    assert "secret" in seen[0][2]
    assert "secret" not in str(caught.value)
    seen.clear()
    plan[:] = [403]
    with pytest.raises(ResourceException, match="answered 403"):
        made.download()
    assert len(seen) == 1


def test_a_server_that_is_gone_is_named(project):
    made = FileResource("x", "0", "http://127.0.0.1:9/x", "0" * 32)
    Resource.prepareSystem()
    with pytest.raises(ResourceException, match=r"127\.0\.0\.1:9/x: the transfer broke off"):
        made.download()


# ── modules ──────────────────────────────────────────────────────────────────────────────────────────────────────────

LEADER = """
import json, sys
sys.path.insert(0, {tests!r})
from test_resource import Store
from jobsys.resource import ModuleDescriptor
{extra}
VALUE = 42
def main():
    descriptor = ModuleDescriptor.forModule({module!r})
    made = descriptor.saveAsResourceTo(Store({store!r}))
    print(json.dumps([list(descriptor), made.registration()]))
if __name__ == "__main__":
    main()
"""
WORKER = """
import json, sys
from jobsys.resource import ModuleDescriptor, Resource
descriptor, registration = json.loads(sys.argv[1])
Resource.prepareSystem()
Resource.registerAll(registration)
descriptor = ModuleDescriptor(*descriptor)
local = descriptor.localize()
assert local.globalize() == descriptor, (local.globalize(), descriptor)
assert local.localize() is local
module = descriptor.load()
assert descriptor.load() is module
print(json.dumps([module.VALUE, module.__name__, module.__file__, local.dirPath, sys.path]))
Resource.cleanSystem()
"""


class Trip:
    """Run a script as the leader, hide it, and load it as a worker."""

    def __init__(self, tmp_path):
        self.store = tmp_path / "store"

    def text(self, extra="", module="__main__"):
        return LEADER.format(tests=os.path.dirname(os.path.abspath(__file__)), store=str(self.store), extra=extra, module=module)

    def __call__(self, *arguments, hide, cwd=None):
        answer = run(*arguments, cwd=cwd)
        assert answer.returncode == 0, answer.stderr
        hidden = Path(f"{hide}.hidden")
        os.rename(hide, hidden)
        try:
            loaded = run("-c", WORKER, answer.stdout, cwd="/")
        finally:
            hidden.rename(hide)
        assert loaded.returncode == 0, loaded.stderr
        return json.loads(answer.stdout)[0], *json.loads(loaded.stdout)


@pytest.fixture
def trip(tmp_path):
    return Trip(tmp_path)


@pytest.mark.parametrize("name", ["flow.py", "my-flow.py", "my.flow.v2.py", "flow", "flow.sh", "pipe_line"])
def test_a_script_travels_under_any_name(trip, tmp_path, name):
    root = tmp_path / "scripts"
    root.mkdir()
    (root / name).write_text(trip.text("import helper"))
    (root / "helper.py").write_text("")
    (dir_path, stem, _), value, loaded, file, local, path = trip(root / name, hide=root)
    assert (dir_path, stem) == (str(root), name.removesuffix(".py"))
    assert (value, loaded) == (42, stem.replace(".", "_")), "pickle takes a dot for a package"
    assert file == os.path.join(local, name)
    assert path[0] == local


def test_a_script_behind_a_link_is_where_python_looks(trip, tmp_path):
    root = tmp_path / "scripts"
    root.mkdir()
    (root / "flow.py").write_text(trip.text("import helper"))
    (root / "helper.py").write_text("")
    (tmp_path / "start").symlink_to(root / "flow.py")
    (dir_path, *_), value, *_ = trip(tmp_path / "start", hide=root)
    assert (dir_path, value) == (str(root), 42)


def test_a_directory_that_is_run_travels(trip, tmp_path):
    root = tmp_path / "app"
    root.mkdir()
    (root / "__main__.py").write_text(trip.text())
    _, value, loaded, *_ = trip(root, hide=root)
    assert (value, loaded) == (42, "__jobsys_main__")


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("how", ["pkg.sub.flow", "pkg"])
def test_a_package_that_is_run_travels_with_what_lies_beside(trip, tmp_path, how, init):
    root = tmp_path / "work"
    (root / "pkg" / "sub").mkdir(parents=True)
    if init:
        (root / "pkg" / "__init__.py").write_text("")
    module = root / "pkg" / ("__main__.py" if how == "pkg" else "sub/flow.py")
    module.write_text(trip.text("import utils.tool\nfrom pkg.other import VALUE as V"))
    (root / "pkg" / "other.py").write_text("VALUE = 1")
    (root / "utils").mkdir()
    (root / "utils" / "tool.py").write_text("")
    (root / "unrelated.bin").write_bytes(bytes(1000))
    described, value, loaded, file, local, _ = trip("-m", how, hide=root, cwd=root)
    name = "pkg.__main__" if how == "pkg" else how
    assert described == [str(root), name, False]
    assert (value, loaded) == (42, name)
    assert file == os.path.join(local, *name.split(".")) + ".py"


def test_imported_modules_and_packages_travel(trip, tmp_path):
    root = tmp_path / "work"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("VALUE = 5")
    (root / "mod.py").write_text("VALUE = 6")
    for name, value in (("pkg", 5), ("mod", 6)):
        (root / "start.py").write_text(trip.text(f"import {name}", name))
        described, found, *_ = trip(root / "start.py", hide=root)
        assert described == [str(root), name, False]
        assert found == value


def test_a_script_runs_from_tmp_and_takes_only_its_own_along(trip):
    script = Path(f"/tmp/jobsys_test_{os.getpid()}.py")
    helper = Path(f"/tmp/jobsys_test_helper_{os.getpid()}.py")
    try:
        helper.write_text("")
        script.write_text(trip.text(f"import {helper.stem}"))
        _, value, *_ = trip(script, hide=script)
        assert value == 42
        script.write_text(trip.text(f"import {helper.stem}").replace("print(", "made.download() if made.prepareSystem() else print("))
        answer = run("-c", "import os,sys,json; from jobsys.resource import *; Resource.prepareSystem();"
                     "Resource.registerAll(json.loads(sys.argv[1])[1]); r = Resource.lookup('/tmp'); r.download();"
                     "print(sorted(os.listdir(r.localPath))); Resource.cleanSystem()", run(script).stdout)  # fmt: skip
        assert answer.stdout.strip() == str(sorted([script.name, helper.name])), answer.stderr
    finally:
        script.unlink()
        helper.unlink()


def test_a_virtual_environment_travels(trip, tmp_path):
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", home], check=True)
    site = next(home.glob("lib/python*/site-packages"))
    (site / "tool.py").write_text("VALUE = 11")
    (tmp_path / "venv2").mkdir()
    (tmp_path / "venv2" / "near.py").write_text("VALUE = 12")
    (home / "project").mkdir()
    (home / "project" / "flow.py").write_text("VALUE = 13")
    program = trip.text(f"sys.path += [{str(tmp_path / 'venv2')!r}, {str(home / 'project')!r}]\nimport tool, near, flow", "tool")
    program = program.replace("print(json", "[print(ModuleDescriptor.forModule(n).fromVirtualEnv) for n in ('near', 'flow')]; print(json")
    (tmp_path / "start.py").write_text(program)
    paths = os.pathsep.join([SOURCE, *(entry for entry in sys.path if entry.endswith("site-packages"))])
    answer = subprocess.run(
        [home / "bin" / "python", tmp_path / "start.py"], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    near, flow, facts = answer.stdout.splitlines()
    assert (near, flow) == ("False", "False")
    assert json.loads(facts)[0] == [str(site), "tool", True]
    loaded = run("-c", WORKER, facts, cwd="/")
    assert loaded.returncode == 0, loaded.stderr
    value, _, _, local, path = json.loads(loaded.stdout)
    assert value == 11
    assert path.index(local) > 0
    assert path.index(local) < min([path.index(entry) for entry in path if entry.endswith("site-packages") and entry != local], default=999)


@pytest.mark.parametrize("arguments", [["-c", "from jobsys.resource import *; ModuleDescriptor.forModule('__main__')"], []])
def test_typed_code_must_be_saved_first(arguments):
    command = [sys.executable, *arguments]
    text = "from jobsys.resource import *\nModuleDescriptor.forModule('__main__')\n"
    answer = subprocess.run(command, input=text, env=os.environ | {"PYTHONPATH": SOURCE}, capture_output=True, text=True)
    assert "Save it in a file" in answer.stderr


@pytest.mark.parametrize(("name", "reason"), [("not.loaded", "not loaded"), ("sys", "no file")])
def test_a_module_without_a_file_is_named(name, reason):
    with pytest.raises(ResourceException, match=reason):
        ModuleDescriptor.forModule(name)


def test_jobsys_itself_is_never_shipped(store):
    described = ModuleDescriptor.forModule("jobsys.resource")
    assert described.belongsToJobsys
    assert described.saveAsResourceTo(store) is None
    assert not ModuleDescriptor("/x", "jobsystem.resource", False).belongsToJobsys
    Resource.prepareSystem()
    assert described.localize() is described
    assert described.load() is resource


def test_modules_beside_a_package_go_along_but_jobsys_does_not():
    beside = modules.loaded_beside(SOURCE)
    assert "jobsys" not in beside
    assert "pytest" in modules.loaded_beside(os.path.dirname(os.path.dirname(pytest.__file__)))


def test_on_the_leader_and_without_a_resource_a_module_is_itself(project):
    described = ModuleDescriptor(str(project), "flow", False)
    assert described.localize() is described
    assert described.globalize() is described
    Resource.prepareSystem()
    assert described.localize() is described


def test_two_leader_paths_with_the_same_content_keep_their_names(store, project, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copytree(project, tmp_path / "b" / "project")
    Resource.prepareSystem()
    for path in (project, tmp_path / "b" / "project"):
        described = ModuleDescriptor(str(path), "flow", False)
        made = described.saveAsResourceTo(store)
        assert made is not None
        made.register()
        assert described.localize().globalize() == described
        del os.environ["JTRES_" + made.pathHash]


def test_the_shipped_module_wins_and_another_loaded_one_is_an_error(store, project, tmp_path):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "flow.py").write_text("VALUE = 0")
    sys.path.insert(0, str(tmp_path / "installed"))
    described = ModuleDescriptor(str(project), "flow", False)
    made = described.saveAsResourceTo(store)
    assert made is not None
    made.register()
    Resource.prepareSystem()
    assert getattr(described.load(), "VALUE", None) == 8
    del sys.modules["flow"]
    sys.path.remove(described.localize().dirPath)
    __import__("flow")
    with pytest.raises(ResourceException, match=r"another one from .*installed"):
        described.load()


def test_errors_say_what_to_do_and_nothing_exits(store, caplog, tmp_path):
    with caplog.at_level(logging.DEBUG), pytest.raises(ResourceException) as caught:
        Resource.create(store, str(tmp_path / "missing"))
    assert isinstance(caught.value.__cause__, Exception)
