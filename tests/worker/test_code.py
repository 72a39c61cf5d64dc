"""Scripts run with real workers: what they import is what was shipped, and what is wrong with a script is said."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jobsys.jobstores import JobStore
from jobsys.resource import DirectoryResource, Resource, ResourceException
from jobsys.scan import read_tree
from jobsys.sending import Sender
from jobsys.storage.memory import MemoryStorage
from jobsys.worker.code import _download_from_bucket

HEAD = "import jobsys, os, sys\n"


def run(
    folder: Path, script: str, *arguments: str, name: str = "script.py", command: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + textwrap.dedent(script))
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *(command or (str(path),)), *arguments],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


MAIN = """
if __name__ == "__main__":
    parser = jobsys.argument_parser()
    parser.add_argument("--n", type=int, default=3)
    args = parser.parse_args()
    print(jobsys.run(main(args.n), args, progress="off", retries=0))
"""


@pytest.mark.parametrize("name", ["script.py", "my-script.py", "two.dots.py", "script", "sp ace/sp ace.py"])
def test_classes_come_back_as_the_script_s_own(tmp_path: Path, name: str) -> None:
    result = run(
        tmp_path,
        """
        class Outer:
            class Inner:
                def __init__(self, x): self.x = x

        @jobsys.job
        def main(inner):
            assert type(inner) is Outer.Inner, type(inner)
            assert sys.argv[1:] == ["store"], sys.argv
            code = os.environ["JTRES_ROOT"]
            assert code == os.path.expanduser("~/.cache/jobsys/code"), code
            assert sys.modules["__main__"].__file__.startswith(code), "the shipped copy"
            return Outer.Inner(inner.x + 1)

        if __name__ == "__main__":
            back = jobsys.run(main(Outer.Inner(1)), sys.argv[1], progress="off", retries=0)
            print(type(back) is Outer.Inner, back.x)
        """,
        "store",
        name=name,
    )
    assert (result.returncode, result.stdout) == (0, "True 2\n"), result.stderr
    assert list((tmp_path / "tmp").iterdir()) == [], "nothing is left of the code"


def test_a_module_run_with_m(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "helper.py").write_text("def add(x): return x + 40\n")
    result = run(
        tmp_path,
        """
        from package.helper import add
        class Box:
            def __init__(self, x): self.x = x
        @jobsys.job
        def main(box): return Box(add(box.x))
        if __name__ == "__main__":
            back = jobsys.run(main(Box(2)), "store", progress="off", retries=0)
            print(type(back) is Box, back.x)
        """,
        name="package/mod.py",
        command=("-m", "package.mod"),
    )
    assert (result.returncode, result.stdout) == (0, "True 42\n"), result.stderr


@pytest.mark.parametrize(
    ("guard", "otherwise", "message"),
    [
        ("True", "pass", "jobsys.run was called while a worker imported"),
        ("__name__ == '__main__'", "sys.exit(3)", "called sys.exit(3) while a worker imported it"),
        ("__name__ == '__main__'", "import not_there_at_all", 'script.py", line 8, in <module>'),
        ("__name__ == '__main__'", "1 / 0", "ZeroDivisionError"),
    ],
    ids=["guardless", "exit", "import", "raises"],
)
def test_a_script_that_workers_can_t_import_says_why(tmp_path: Path, guard: str, otherwise: str, message: str) -> None:
    result = run(
        tmp_path,
        f"""
        @jobsys.job
        def main(): return 1
        if {guard}:
            print(jobsys.run(main(), "store", progress="off"))
        else:
            {otherwise}
        """,
    )
    assert result.returncode == (1 if "import" in otherwise else 2)
    assert message in result.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_runs_is_what_was_shipped(tmp_path: Path) -> None:
    """A script that is edited, or deleted, while the run goes on changes nothing; nor do new worker processes."""
    result = run(
        tmp_path,
        """
        @jobsys.job
        def version(_): return 1

        @jobsys.job
        def edited(script):
            assert script.endswith("/script.py") and "/pytest-" in script, script  # nothing else is to be changed by a test
            with open(script) as stream: text = stream.read()
            with open(script, "w") as stream: stream.write(text.replace("return 1", "return 2"))
            return script

        @jobsys.job
        def main(n, script):
            script = edited(script)
            return [version.with_requirements(cores=2)(script) for i in range(n)], gone(script)

        @jobsys.job
        def gone(script): os.remove(script)

        """
        + textwrap.indent(MAIN.replace("main(args.n)", "main(args.n, os.path.abspath(__file__))"), " " * 8),
        "store",
        "--isolation",
        "process",
    )
    assert (result.returncode, result.stdout) == (0, "([1, 1, 1], None)\n"), result.stderr


def test_tracebacks_and_output_come_as_the_user_knows_them(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        import subprocess
        @jobsys.job
        def main(n):
            print("one")
            subprocess.run(["echo", "two"])
            print("three \\udcff")
            raise ValueError("oh")
        """
        + textwrap.indent(MAIN, " " * 8),
        "store",
    )
    assert result.returncode == 1
    assert f'File "{tmp_path}/script.py", line' in result.stderr
    assert "jobsys/worker" not in result.stderr
    assert "code/" not in result.stderr.replace("exit code", "")
    lines = [line.strip(" |") for line in result.stderr.splitlines()]
    assert [line for line in lines if line in {"one", "two"} or line.startswith("three")] == ["one", "two", "three \\udcff"]


def test_what_the_guard_binds_reaches_the_worker(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        @jobsys.job
        def main(function, kept): return function(kept.get())
        if __name__ == "__main__":
            factor = 4
            class Kept:
                def get(self): return factor
            @jobsys.job
            def local(x): return x + factor
            print(jobsys.run([main(lambda x: x * factor, Kept()), local(1)], "store", progress="off", retries=0))
        """,
    )
    assert (result.returncode, result.stdout) == (0, "[16, 5]\n"), result.stderr


CACHED = """
import helper
@jobsys.job
def main(): return [helper.VALUE, helper.__file__, sys.modules["__main__"].__file__]
if __name__ == "__main__":
    import json
    print(json.dumps(jobsys.run(main(), sys.argv[1], progress="off", retries=0)))
"""


def flip(path: Path) -> None:
    """Let a constant have another value, by one bit, and set the times back."""
    before = path.stat()
    data = path.read_bytes()
    place = data.index(b"seven")
    path.write_bytes(data[:place] + b"r" + data[place + 1 :])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_runs_share_what_is_in_the_cache_and_a_flipped_byte_in_it_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helper.py").write_text("VALUE = 'seven'\n")
    numbers: list[int] = []

    def again() -> tuple[Path, Path]:
        result = run(folder, CACHED, f"../store{len(numbers)}")
        assert result.returncode == 0, result.stderr
        value, helper, script = json.loads(result.stdout)
        assert value == "seven"
        assert helper.startswith(f"{tmp_path}/cache/code/")
        numbers.append(Path(script).parents[1].stat().st_ino)
        return Path(helper), Path(importlib.util.cache_from_source(helper))

    source, bytecode = again()
    assert bytecode.exists()
    written = bytecode.stat()
    assert again() == (source, bytecode)
    assert numbers[0] == numbers[1], "the same place, not another of its name"
    assert bytecode.stat().st_mtime_ns == written.st_mtime_ns, "bytecode was good for the second run"
    flip(bytecode)
    again()
    assert bytecode.stat().st_mtime_ns > written.st_mtime_ns
    flip(source)
    again()
    assert source.read_text() == "VALUE = 'seven'\n"
    assert numbers[2] == numbers[1] != numbers[3]
    assert list((folder / "tmp").iterdir()) == []


def test_a_cache_that_can_t_be_used_is_said_by_the_leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "helper.py").write_text("VALUE = 'seven'\n")
    result = run(tmp_path, CACHED, "store")
    assert result.returncode == 1
    assert f"the workers can't start: others may write into the cache {tmp_path}/cache" in result.stderr
    assert result.stderr.count("others may write") == 1
    assert "jobsys/worker" not in result.stderr, "no traceback"


def test_a_place_for_code_that_was_chosen_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("JTRES_ROOT", str(tmp_path / "here"))
    (tmp_path / "helper.py").write_text("VALUE = 'seven'\n")
    result = run(tmp_path, CACHED, "store")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[1].startswith(f"{tmp_path}/here/")


def test_code_from_a_bucket_comes_by_the_host_s_own_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was signed when it was shipped may open nothing any more; damage is found all the same."""
    store = JobStore("s3://bucket/run", MemoryStorage())
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "script.py").write_text("x = 1")
    made, _ = DirectoryResource.of_tree(Sender(store), str(tmp_path / "app"), "app", lambda: read_tree(str(tmp_path / "app")))
    facts = made.url.partition("#")[2]
    expired = made._replace(url=f"http://127.0.0.1:1/expired?X-Amz-Signature=1#{facts}")
    name = f"resources/{made.sha256}.zip"
    monkeypatch.setenv(Resource.rootDirPathEnvName, str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    _download_from_bucket(store, name, expired)
    assert Path(expired.localPath, "script.py").read_text() == "x = 1"
    shutil.rmtree(expired.localDirPath)
    with store.write_shared_file(name) as stream:
        stream.write(b"something else")
    monkeypatch.setattr("jobsys.fetch.PAUSE", 0.0)
    with pytest.raises(ResourceException, match=rf"^{name} in s3://bucket/run: .* is damaged"):
        _download_from_bucket(store, name, expired)
