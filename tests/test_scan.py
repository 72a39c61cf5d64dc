"""What of a directory is found, and what is left out and why; git itself says what a pattern means."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobsys.manifest import PackageError
from jobsys.scan import Scanner, read_tree


def write(root, *names, text="x"):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)
        else:
            path.mkdir(exist_ok=True)


def found(root, *, only=None, grafts=None, kinds=("file", "link")):
    return sorted(member.path for member in Scanner(str(root), only, grafts).scan() if member.kind in kinds)


def reasons(root, **options):
    scanner = Scanner(str(root), **options)
    list(scanner.scan())
    return {os.path.relpath(each.path, root): each.reason for each in scanner.left_out}


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ("*.log", "a.py d/c.txt d/e/f.py data"),
        ("*.log\n!keep.log", "a.py d/c.txt d/e/f.py d/keep.log data keep.log"),
        ("/keep.log", "a.log a.py d/b.log d/c.txt d/e/f.py d/keep.log data"),
        ("d/", "a.log a.py data keep.log"),
        ("d/\n!d/c.txt", "a.log a.py data keep.log"),  # what is below a directory that is left out can't come back
        ("d/*\n!d/c.txt", "a.log a.py d/c.txt data keep.log"),
        ("d/**\n!d/c.txt", "a.log a.py d/c.txt data keep.log"),
        ("data/", "a.log a.py d/b.log d/c.txt d/e/f.py d/keep.log data keep.log"),  # which is a file
        ("e", "a.log a.py d/b.log d/c.txt d/keep.log data keep.log"),
        ("/e", "a.log a.py d/b.log d/c.txt d/e/f.py d/keep.log data keep.log"),
        ("d/**/f.py", "a.log a.py d/b.log d/c.txt d/keep.log data keep.log"),
        ("*\n!*/\n!*.py", "a.py d/e/f.py"),
        ("# comment\n\n\\#x\n[ak]*.log", "a.py d/b.log d/c.txt d/e/f.py data"),
        ("\ufeff*.log\r\n", "a.py d/c.txt d/e/f.py data"),
        ("**", ""),
    ],
)
def test_patterns_of_a_jobsysignore(tmp_path, patterns, kept):
    write(tmp_path, "a.py", "a.log", "keep.log", "data", "d/b.log", "d/keep.log", "d/c.txt", "d/e/f.py")
    (tmp_path / ".jobsysignore").write_text(patterns, encoding="utf-8", newline="")
    assert [name for name in found(tmp_path) if name != ".jobsysignore"] == kept.split()


def test_the_nearest_file_that_speaks_of_a_path_decides(tmp_path):
    write(tmp_path, "a.log", "in/a.log", "in/b.log", "in/deep/a.log", "in/deep/c.log", "in/sub/x.log", "in/a.txt")
    (tmp_path / ".jobsysignore").write_text("*.log\n")
    (tmp_path / "in" / ".jobsysignore").write_text("!a.log\n/a.txt\n!sub/\n")
    (tmp_path / "in" / "deep" / ".jobsysignore").write_text("a.*\n")
    assert found(tmp_path) == [".jobsysignore", "in/.jobsysignore", "in/a.log", "in/deep/.jobsysignore"]
    assert reasons(tmp_path)["in/deep/a.log"] == ".jobsysignore in in/deep names it"
    assert reasons(tmp_path)["a.log"] == ".jobsysignore in the root names it"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\n\xe9\n"])
def test_a_jobsysignore_that_can_t_be_understood(tmp_path, content):
    (tmp_path / ".jobsysignore").write_bytes(content)
    with pytest.raises(PackageError, match=r"\.jobsysignore can't be understood: .* Mend it"):
        found(tmp_path)


_names = st.sampled_from(["a", "b", "ab", "a.py", "b.log"])
_segments = st.sampled_from(["a", "b", "ab", "*", "*.py", "a*", "?", "**", "[ab]", "[!a]", "b.log", "\\a"])


@st.composite
def _patterns(draw):
    parts = draw(st.lists(_segments, min_size=1, max_size=3))
    end = draw(st.sampled_from(["", "/", " "] if parts[-1] != "**" else ["", " "]))  # of "a/**/" pathspec thinks that it names "a", too
    return draw(st.sampled_from(["", "!", "/", "!/"])) + "/".join(parts) + end


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.fail("git is needed to say what a pattern means: install it")
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    rules=st.dictionaries(st.sampled_from(["", "a/", "a/b/"]), st.lists(_patterns(), max_size=4), max_size=3),
    paths=st.sets(st.lists(_names, min_size=1, max_size=4).map("/".join), max_size=12),
)
def test_patterns_mean_what_git_says(repository, rules, paths):
    tree = repository / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for path in sorted(paths, key=len, reverse=True):
        if not (tree / path).is_dir() and not any((tree / up).is_file() for up in Path(path).parents):
            write(tree, path)
    for folder, lines in rules.items():
        if (tree / folder).is_dir():
            for name in (".gitignore", ".jobsysignore"):
                (tree / folder / name).write_text("".join(f"{line}\n" for line in lines))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"], cwd=tree, capture_output=True, text=True, check=True
    ).stdout
    ignores = (".gitignore", ".jobsysignore")
    git = sorted(name for name in listed.split("\0") if name and os.path.basename(name) not in ignores)
    assert [name for name in found(tree) if os.path.basename(name) not in ignores] == git


# ── what is left out by itself ───────────────────────────────────────────────────────────────────────────────────────


def test_what_never_travels(tmp_path):
    write(tmp_path, "a.py", "a.pyc", "b.pyc", "environment.yml", "pkg/x.py", "docker/f", ".envrc.py")
    for name in ("__pycache__", ".git", ".hg", ".tox", "node_modules", "pkg/__pycache__", "pkg/node_modules", ".ssh", ".aws"):
        write(tmp_path, f"{name}/x.py")
    write(tmp_path, ".env.example", ".env.local", ".envrc")
    write(tmp_path, ".env", ".netrc", "pkg/.pypirc", "pkg/id_rsa", "run.jobsys-key", ".x.jobsys-key")
    write(tmp_path, "venv/pyvenv.cfg", "venv/lib/x.py", "conda/conda-meta/history", "conda/x.py", "store/jobsys-store.json", "store/v/1")
    write(tmp_path, f"jobsys-{os.getuid()}-x/y.py", "host/CACHEDIR.TAG", "host/code/x.py")
    assert found(tmp_path) == [".env.example", ".envrc.py", "a.py", "b.pyc", "docker/f", "environment.yml", "pkg/x.py"]
    why = reasons(tmp_path)
    assert why["venv"] == why["conda"] == "it is a virtual environment"
    assert why["store"] == "it is a job store"
    assert why["host"] == "it is a cache"
    assert why["a.pyc"] == why["pkg/__pycache__"] == "it is a cache"
    assert why[".git"] == "it belongs to version control"
    assert (
        why[".env"]
        == why[".ssh"]
        == why["pkg/id_rsa"]
        == why[".env.local"]
        == why[".envrc"]
        == "by its name it may hold secrets; send it with --ship if it must travel"
    )


def test_the_root_itself_is_what_was_asked_for(tmp_path):
    """A script that lies in an environment's directory, or beside a store's files, still travels."""
    write(tmp_path, "pyvenv.cfg", "jobsys-store.json", "script.py")
    assert "script.py" in found(tmp_path)


def test_a_git_worktree_s_file_is_no_code(tmp_path):
    write(tmp_path, ".git", "a.py")
    assert found(tmp_path) == ["a.py"]


def test_what_is_no_file(tmp_path, caplog):
    write(tmp_path, "a.py")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            made.bind("s")
        finally:
            os.chdir(here)
    write(tmp_path, "back\\slash", "c:d")
    assert found(tmp_path) == ["a.py"]
    assert reasons(tmp_path)["pipe"] == reasons(tmp_path)["s"] == "it is a pipe, a socket or a device; list it in a .jobsysignore"
    assert "rename it" in reasons(tmp_path)["back\\slash"]
    assert "Leaving out" in caplog.text


def test_a_directory_that_can_t_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, "open/a.py", "closed/b.py")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(PackageError, match=r"/closed can't be read: Permission denied\. Make it readable, or list it in \.jobsysignore"):
        found(tmp_path)
    (tmp_path / ".jobsysignore").write_text("closed/\n")
    assert found(tmp_path) == [".jobsysignore", "open/a.py"]


def test_a_root_that_is_gone_is_an_error_and_a_directory_that_goes_meanwhile_is_none(tmp_path, monkeypatch):
    with pytest.raises(PackageError, match="/none can't be read"):
        found(tmp_path / "none")
    write(tmp_path, "stays.py", "goes/a.py")
    real = os.scandir

    def scandir(path):
        listed = real(path)
        shutil.rmtree(tmp_path / "goes", ignore_errors=str(path) != str(tmp_path))
        return listed

    with real(tmp_path) as listing:
        entries = list(listing)
    assert len(entries) == 2
    shutil.rmtree(tmp_path / "goes")
    monkeypatch.setattr("os.scandir", lambda path: _Listing(entries) if str(path) == str(tmp_path) else scandir(path))
    assert found(tmp_path) == ["stays.py"]


class _Listing(list):
    def __enter__(self):
        return iter(self)

    def __exit__(self, *_):
        pass


# ── names and grafts ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_some_names(tmp_path):
    write(tmp_path, "a.py", "b.py", "p/a.py", "q/b.py")
    assert found(tmp_path, only={"a.py", "p", "none"}) == ["a.py", "p/a.py"]
    assert found(tmp_path, only=()) == []
    assert found(tmp_path, only=(), kinds=("directory",)) == []


def test_grafts_stand_where_they_are_asked_for(tmp_path):
    write(tmp_path, "root/a.py", "root/p/__init__.py", "other/x.py", "other/sub/y.py", "file.txt")
    root = tmp_path / "root"
    grafts = {"p/data": str(tmp_path / "other"), "name.txt": str(tmp_path / "file.txt")}
    assert found(root, grafts=grafts) == ["a.py", "name.txt", "p/__init__.py", "p/data/sub/y.py", "p/data/x.py"]
    assert found(root, only=(), grafts=grafts) == ["name.txt", "p/data/sub/y.py", "p/data/x.py"]
    assert found(root, only=(), grafts=grafts, kinds=("directory",)) == ["p", "p/data", "p/data/sub"]
    with pytest.raises(PackageError, match="/nowhere can't be shipped: it is not there"):
        found(root, grafts={"x": str(tmp_path / "nowhere")})


def test_what_is_asked_for_travels_whatever_a_rule_says(tmp_path):
    write(tmp_path, ".env", "data/big.bin", "data/small.bin", "venv/pyvenv.cfg", "venv/x.py", "store/jobsys-store.json")
    (tmp_path / ".jobsysignore").write_text("data/\n")
    assert found(tmp_path) == [".jobsysignore"]
    for name in (".env", "data/big.bin", "venv/x.py", "store/jobsys-store.json"):
        assert found(tmp_path, grafts={name: str(tmp_path / name)}) == sorted([".jobsysignore", name])
    assert found(tmp_path, grafts={"venv": str(tmp_path / "venv")}) == [".jobsysignore", "venv/pyvenv.cfg", "venv/x.py"]


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def members(root, **options):
    return {each.path: (each.kind, each.source) for each in Scanner(str(root), **options).scan()}


def test_links_stay_inside_or_are_followed(tmp_path):
    write(tmp_path, "root/a.py", "root/d/b.py", "out/c.py", "out/e/f.py")
    root = tmp_path / "root"
    (root / "inside").symlink_to("d/b.py")
    (root / "absolute").symlink_to(root / "a.py")
    (root / "up").symlink_to("d/../a.py")
    (root / "folder").symlink_to("d")
    (root / "file").symlink_to(tmp_path / "out" / "c.py")
    (root / "tree").symlink_to(tmp_path / "out")
    (root / "lost").symlink_to(tmp_path / "out" / "nowhere")
    (root / "broken").symlink_to("nowhere")
    (root / "around").symlink_to("..")
    (root / "loop").symlink_to("loop")
    got = members(root)
    assert got["inside"] == ("link", "d/b.py")
    assert got["absolute"] == got["up"] == ("link", "a.py")
    assert got["folder"] == ("link", "d")
    assert got["file"] == ("file", str(tmp_path / "out" / "c.py"))
    assert got["tree/e/f.py"] == ("file", str(tmp_path / "out" / "e" / "f.py"))
    assert got["broken"] == ("link", "nowhere"), "what is broken here is broken there"
    assert got["loop"] == ("link", "loop")
    assert set(reasons(root)) == {"around", "lost"}


def test_circles_of_links_end(tmp_path):
    write(tmp_path, "root/a.py", "out/b.py")
    (tmp_path / "root" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "again").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "root").symlink_to(tmp_path / "root")
    assert found(tmp_path / "root") == ["a.py", "out/b.py", "out/root"]


def test_a_root_that_is_a_link_and_one_below_a_link(tmp_path):
    write(tmp_path, "real/p/a.py")
    (tmp_path / "real" / "l.py").symlink_to(tmp_path / "real" / "p" / "a.py")
    (tmp_path / "link").symlink_to("real")
    assert members(tmp_path / "link")["l.py"] == ("link", "p/a.py")
    assert read_tree(str(tmp_path / "link")).sha256 == read_tree(str(tmp_path / "real")).sha256


def test_a_link_to_what_does_not_travel_is_followed(tmp_path):
    write(tmp_path, "shared.py", "p/__init__.py")
    (tmp_path / "p" / "s.py").symlink_to("../shared.py")
    assert members(tmp_path, only={"p"})["p/s.py"] == ("file", str(tmp_path / "shared.py"))
    assert members(tmp_path)["p/s.py"] == ("link", "../shared.py")


# ── the same tree ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_tree_has_the_same_digest_elsewhere_later_and_with_other_permissions(tmp_path):
    digests = set()
    for name, file_mode, directory_mode, when in (("a", 0o644, 0o755, 10**9), ("b/c", 0o600, 0o700, 10**6), ("d", 0o664, 0o2775, 0)):
        root = tmp_path / name
        write(root, "p/__init__.py", "data/x.bin", "empty/", "tool")
        (root / "link").symlink_to("p")
        for path in sorted(root.rglob("*"), reverse=True):
            if not path.is_symlink():
                path.chmod(directory_mode if path.is_dir() else file_mode)
            os.utime(path, (when, when), follow_symlinks=False)
        (root / "tool").chmod(file_mode | 0o100)
        write(root, "p/__pycache__/x.pyc", ".git/HEAD", text=name)
        digests.add(read_tree(str(root)).sha256)
    assert len(digests) == 1
    (tmp_path / "a" / "tool").chmod(0o644)
    assert read_tree(str(tmp_path / "a")).sha256 not in digests, "whether the owner may execute it counts"


def test_a_name_in_another_encoding(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.txt", os.O_CREAT | os.O_WRONLY))
    assert found(tmp_path) == ["caf\udce9.txt"]
    (tmp_path / ".jobsysignore").write_text("caf*\n")
    assert found(tmp_path) == [".jobsysignore"]


def test_a_link_to_what_may_hold_secrets_is_no_way_in(tmp_path):
    write(tmp_path, "home/.ssh/mykey", "home/.aws/config", "home/data/x", "app/.env", "app/flow.py")
    app = tmp_path / "app"
    (app / "aws").symlink_to(tmp_path / "home" / ".aws")
    (app / "k").symlink_to("../home/.ssh/mykey")
    (app / "inside").symlink_to(".env")
    (app / "data").symlink_to(tmp_path / "home" / "data")
    (tmp_path / "home" / "other").symlink_to(".ssh")
    (app / "other").symlink_to(tmp_path / "home" / "other")
    assert found(app) == ["data/x", "flow.py"]
    assert all("may hold secrets; send it with --ship" in reasons(app)[name] for name in ("aws", "k", "inside", "other"))
    assert found(app, grafts={"aws": str(app / "aws")}) == ["aws/config", "data/x", "flow.py"]


def test_a_project_below_a_directory_of_such_a_name_keeps_its_links(tmp_path):
    write(tmp_path, ".aws/app/flow.py", ".aws/data/x")
    (tmp_path / ".aws" / "app" / "data").symlink_to("../data")
    (tmp_path / ".aws" / "app" / "same.py").symlink_to("flow.py")
    assert found(tmp_path / ".aws" / "app") == ["data/x", "flow.py", "same.py"]
