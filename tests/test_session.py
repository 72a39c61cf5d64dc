"""What is typed, piped, or run in a notebook, in real processes: a ``__main__`` in no file. And archives and directories that are run."""

import os
import pty
import select
import subprocess
import sys
import textwrap
import time
import types
import zipapp
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsys import session

TIMEOUT = 90

DEFINITIONS = """
import abc, dataclasses, enum, functools, os, sys, threading, typing
import xml.etree.ElementTree
import numpy as np
import jobsys

T = typing.TypeVar("T")
Uid = typing.NewType("Uid", int)
FACTOR = 10
table = np.arange(5)
shared = {"seen": []}
not_referred_to = threading.Lock()
seen = threading.Lock()

class Box(typing.Generic[T]):
    def __init__(self, x): self.x = x
    def more(self): return Box(self.x + FACTOR)

@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: tuple = dataclasses.field(default_factory=tuple)

class Color(enum.Enum):
    RED = 1
    GREEN = 2
    def other(self): return Color(3 - self.value)

class Row(typing.NamedTuple):
    a: int
    b: str = "z"

class Record(typing.TypedDict):
    a: int

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    @staticmethod
    def make(): return Square(3)

class Square(Shape):
    __slots__ = ("side",)
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2

class Outer:
    class Inner:
        depth = 2

class Oops(Exception):
    pass

@functools.cache
def memoized(n): return n if n < 2 else memoized(n - 1) + memoized(n - 2)

def even(n): return n == 0 or odd(n - 1)

def odd(n): return n != 0 and even(n - 1)

def note(x): shared["seen"].append(x)

def notes(): return shared["seen"]

def counter():
    count = 0
    def up():
        nonlocal count
        count += 1
        return count
    return up

@jobsys.job
def add(a, b): return a + b

@jobsys.job
def fib(n): return n if n < 2 else add(fib(n - 1), fib(n - 2))

@jobsys.job
def wrapped(box): return nested(Box(box))

@jobsys.job
def nested(box):
    assert type(box) is Box and type(box.x) is Box
    return box

@jobsys.job
def everything(box, point, color, function, up):
    assert type(box) is Box and type(point) is Point and color is Color.RED
    assert sys.modules["__main__"].Box is Box
    note(1)
    assert notes() == [1], "two functions share a global"
    assert up() == 1 and up() == 2
    try: raise Oops(3)
    except Oops as error: caught = error
    assert xml.etree.ElementTree.fromstring("<a/>").tag == "a"
    assert not hasattr(sys.modules["__main__"], "not_referred_to")
    return dict(box=box.more(), point=Point(4), color=color.other(), row=Row(3), square=Shape.make(), inner=Outer.Inner(), oops=caught,
        numbers=[int(table.sum()), memoized(10), even(10), function(2), Uid(5), Record(a=1)["a"], Square(2).area(), caught.args[0]],
        kinds=[Box, Color, Outer.Inner, Shape], functions=[everything, even, memoized])

@jobsys.job
def undefined(): return nowhere_at_all

"""

WORK = """
def run(workflow, store="store", **options): return jobsys.run(workflow, store, retries=0, **options)

def check():
    back, total, box = run([everything(Box(1), Point(2), Color.RED, lambda x: x * FACTOR, counter()), fib(5), wrapped(Box(7))])
    kinds = dict(box=Box, point=Point, row=Row, square=Square, inner=Outer.Inner, oops=Oops)
    assert {name: type(back[name]) for name in kinds} == kinds, "the session's very own"
    assert back["color"] is Color.GREEN
    assert back["kinds"] == [Box, Color, Outer.Inner, Shape]
    assert back["functions"][:2] == [everything, even]
    assert back["numbers"] == [10, 55, True, 20, 5, 1, 4, 3], back["numbers"]
    assert (back["box"].x, back["point"], total, box.x.x) == (11, Point(4), 5, 7)
    assert notes() == [], "what a job does to a global stays there"

def failing():
    try: run(undefined(), "other")
    except jobsys.FailedJobsError as error: assert "nowhere_at_all" in str(error), error
    else: raise AssertionError("it is there?")

check(); failing(); print("all is", "well", file=open("answer", "w"))

"""


def typed(folder: Path, text: str) -> str:
    """Type lines at the prompt of a Python on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-q"], cwd=folder, stdin=follower, stdout=follower, stderr=follower, close_fds=True)
    os.close(follower)
    said = b""
    lines = [*text.splitlines(), "exit()"]
    deadline = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < deadline:
            if not select.select([leader], [], [], 1)[0]:
                continue
            piece = os.read(leader, 4096)
            said += piece
            if lines and said.rstrip(b" ").endswith((b">>>", b"...")):
                os.write(leader, lines.pop(0).encode() + b"\n")
                said += b"\n"  # so that one prompt is answered once
    except OSError:  # the terminal is gone with its process
        process.wait(TIMEOUT)
    finally:
        os.close(leader)
        process.kill()
        process.wait()
    return said.decode()


def command(folder: Path, *words: str, text: str = "") -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    return done.stdout + done.stderr


def executed(folder: Path, text: str) -> str:
    (folder / "text").write_text(text)
    return command(folder, "-c", "exec(open('text').read())")


def in_ipython(folder: Path, text: str) -> str:
    cells = "".join(f"exec({cell!r}, globals())\n" if "'''" in cell else f"{cell}\n\n" for cell in text.split("\n\n"))
    return command(folder, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", text=cells)


class Kernel:
    """A Jupyter kernel, as a notebook has one."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(self, cell: str) -> str:
        """Run a cell; return what it printed, its error included."""
        return self.wait_for(self.client.execute(cell))

    def wait_for(self, cell: str) -> str:
        said = ""
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            said += content.get("text", "") or "\n".join(content.get("traceback", ()))
            if content.get("execution_state") == "idle":
                return said

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    yield made
    made.close()


def in_notebook(folder: Path, text: str) -> str:
    notebook = Kernel(folder)
    try:
        return "".join(notebook.run(cell) for cell in text.split("\n\n") if cell.strip())
    finally:
        notebook.close()


WAYS: dict[str, Callable[[Path, str], str]] = {
    "-c": lambda folder, text: command(folder, "-c", text),
    "stdin": lambda folder, text: command(folder, text=text),
    "dash": lambda folder, text: command(folder, "-", "word", text=text),
    "exec": executed,
    "typed": typed,
    "ipython": in_ipython,
    "notebook": in_notebook,
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_a_session_defines_travels_by_value(tmp_path: Path, way: str) -> None:
    said = WAYS[way](tmp_path, DEFINITIONS + WORK)
    answer = tmp_path / "answer"
    assert answer.exists(), said
    assert answer.read_text() == "all is well\n"
    restart = command(tmp_path, "-m", "jobsys", "restart", "store")
    assert "not started by a script but in a session" in restart


RESTART = """
import os, jobsys

class Box:
    def __init__(self, x): self.x = x

def broken(): return os.path.exists("broken")

@jobsys.job
def half(box):
    with open("runs", "a") as runs: runs.write("half ")
    return Box(box.x + 1)

@jobsys.job
def fragile(box):
    if broken(): raise RuntimeError("broken")
    assert type(box) is Box
    return last(box)

@jobsys.job
def last(box): return Box((box.x, type(box) is Box))

@jobsys.job
def main(box): return fragile(half(box))

def run(**options): return jobsys.run(main(Box(1)), "store", retries=0, progress="off", **options)

"""


def test_a_new_interpreter_that_runs_the_same_cells_goes_on(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    said = command(tmp_path, text=RESTART + "run()\n")
    assert "RuntimeError: broken" in said
    assert "call jobsys.run again with restart=True to go on" in said
    (tmp_path / "broken").unlink()
    again = "back = run(restart=True); print(type(back) is Box, back.x)\n"
    assert "True (2, True)" in command(tmp_path, text=RESTART + again)
    assert "True (2, True)" in command(tmp_path, "-c", RESTART + again), "it was finished: its value is read once more"
    (tmp_path / "cells.py").write_text(RESTART + again)
    assert "True (2, True)" in command(tmp_path, "cells.py"), "the cells were made a script"
    assert (tmp_path / "runs").read_text() == "half "


UNPICKLABLE = {
    "function": ("def use(): return conn", "use()", "function 'use' uses the global 'conn', a sqlite3.Connection ("),
    "behind": ("def use(): return 1 + other()\n\ndef other(): conn.close()", "use()", "'other' uses the global 'conn', a"),
    "inside": ("held = {'a': [conn]}\n\ndef use(): return held", "use()", "'use' uses the global 'held', and held['a'][0] is a"),
    "method": ("class K:\n    def get(self): return conn\n\ndef use(k): pass", "use(K())", "function 'K.get' uses the global 'conn', a"),
    "lambda": ("def use(f): pass", "use(lambda: conn)", "the global 'conn' that function '<lambda>' uses is a sqlite3"),
}


@pytest.mark.parametrize("case", UNPICKLABLE)
def test_a_global_that_can_t_travel_is_named_before_anything_starts(tmp_path: Path, case: str) -> None:
    definitions, call, message = UNPICKLABLE[case]
    before = "import jobsys, sqlite3\nconn = sqlite3.connect(':memory:')\n"
    said = command(tmp_path, text=f"{before}{definitions}\n\nuse = jobsys.job(use)\njobsys.run({call}, 'store')\n")
    assert message in said
    assert not (tmp_path / "store").exists()


def test_mended_cells_are_what_a_restart_runs(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    assert "RuntimeError: broken" in command(tmp_path, text=RESTART + "run()\n")
    mended = RESTART.replace("return last(box)", "return last(more(box))").replace('raise RuntimeError("broken")', "pass")
    mended += "\ndef more(box): return Box(box.x + STEP)\n\nSTEP = 10\n\n"
    assert "True (12, True)" in command(tmp_path, text=f"{mended}back = run(restart=True); print(type(back) is Box, back.x)\n")


def test_a_session_that_lacks_what_the_run_uses_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    assert "RuntimeError: broken" in command(tmp_path, text=RESTART + "run()\n")
    said = command(tmp_path, text="import jobsys\njobsys.run([jobsys.job(len)('x')], 'store', restart=True, progress='off')\n")
    assert "does not define Box, broken, fragile, half, last, main, os, which jobs of the run use: run those cells, too" in said
    assert "is not in the module '__main__' on this side" in said


def test_a_large_global_travels_once(tmp_path: Path) -> None:
    text = """
import jobsys
import numpy as np
table = np.zeros(1_000_000)
unused = np.zeros(1_000_000)

@jobsys.job
def use(n, function): return n + function() + len(table)

@jobsys.job
def many(n): return [use(i, lambda: len(table)) for i in range(n)]

print(sum(sum(jobsys.run([many(20), [use(i, lambda: len(table)) for i in range(20)]], "store", progress="off"), [])))
"""
    assert command(tmp_path, text=text) == f"{40 * 2 * 1_000_000 + 2 * sum(range(20))}\n"
    assert 8_000_000 < sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) < 9_000_000


def test_what_workers_define_goes_on_to_others(tmp_path: Path) -> None:
    text = """
import jobsys, os

@jobsys.job
def define():
    global made, Made
    class Made:
        def get(self): return made
    Made.__qualname__ = "Made"
    made = os.getpid()
    return use.with_requirements(cores=2)(Made(), lambda: made, os.getpid())

@jobsys.job
def use(value, function, there): return [value.get() == function() == there, os.getpid() != there, type(value).__name__]

print(jobsys.run(define(), "store", progress="off", isolation="process"))
"""
    assert command(tmp_path, text=text) == "[True, True, 'Made']\n"


def test_a_promise_in_a_global_is_refused(tmp_path: Path) -> None:
    text = "import jobsys\nf = jobsys.job(lambda x: x)\np = f(1)\n@jobsys.job\ndef g(): return p\n\njobsys.run(g(), 'store')\n"
    assert "a job uses a global of this session that holds the promise of" in command(tmp_path, text=text)
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_notebook_runs_beside_a_loop_and_off_the_main_thread(kernel: Kernel) -> None:
    assert kernel.run("import jobsys, threading, asyncio\n@jobsys.job\ndef double(x): return 2 * x") == ""
    said = kernel.run("asyncio.get_running_loop(); print('is', jobsys.run(double(1), 'one'))")
    assert said.endswith("is 2\n")
    assert not {"\x1b", "\r"} & set(said), "lines, no terminal's tricks"
    assert kernel.run("print(await asyncio.to_thread(jobsys.run, double(2), 'two', progress='off'))") == "4\n"
    assert kernel.run("def double(x): return 'another'\nfirst = jobsys.job(double)") == ""
    assert kernel.run("print(jobsys.run(first(2), 'three', progress='off'))") == "another\n", "what was defined last"


@pytest.mark.slow
def test_interrupting_a_cell_ends_its_run(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("import jobsys, time\n@jobsys.job\ndef slow():\n    open('started', 'w').close()\n    time.sleep(60)")
    cell = kernel.client.execute("jobsys.run(slow(), 'store', progress='off')")
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kernel.manager.interrupt_kernel()
    said = kernel.wait_for(cell)
    assert "CanceledError" in said
    assert "call jobsys.run again with restart=True" in said
    assert kernel.run("print('goes on')") == "goes on\n"


PROGRAM = {
    "__main__.py": """
        import jobsys, os, sys
        from package.deep import read

        class Box:
            def __init__(self, x): self.x = x

        @jobsys.job
        def inner(box):
            assert type(box) is Box
            text, file = read()
            main = sys.modules["__main__"].__file__
            assert file.startswith(os.environ["JTRES_ROOT"]) and main.startswith(os.environ["JTRES_ROOT"]), "what was shipped"
            return Box((box.x, text, os.path.basename(main)))

        @jobsys.job
        def outer(box, function): return inner(Box(function(box.x)))

        if __name__ == "__main__":
            step = 5
            def stepped(x): return x + step
            back = jobsys.run(outer(Box(2), stepped), sys.argv[1], progress="off", retries=0, restart="--restart" in sys.argv)
            print(type(back) is Box, back.x)
        """,
    "package/__init__.py": "",
    "package/deep.py": """
        import importlib.resources
        def read(): return importlib.resources.files("package").joinpath("data.txt").read_text(), __file__
        """,
    "package/data.txt": "data",
}


@pytest.mark.parametrize("shape", ["app.pyz", "app", "no-suffix", "linked", "-m app", "-m zipped"])
def test_archives_and_directories_that_are_run(tmp_path: Path, shape: str) -> None:
    root = tmp_path / "app"
    for name, text in PROGRAM.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    words = [shape]
    if shape == "linked":
        (root / "__main__.py").rename(tmp_path / "elsewhere.py")
        (root / "__main__.py").symlink_to(tmp_path / "elsewhere.py")
        words = ["app"]
    elif shape == "-m app":
        (root / "package").rename(tmp_path / "package")
        words = ["-m", "app"]
    elif shape == "-m zipped":
        (root / "package").rename(tmp_path / "package")
        (tmp_path / "all").mkdir()
        for part in ("app", "package"):
            (tmp_path / part).rename(tmp_path / "all" / part)
        (tmp_path / "all" / "__main__.py").touch()
        zipapp.create_archive(tmp_path / "all", tmp_path / "all.zip")
        words = ["-c", "import sys, runpy; sys.path[0] = 'all.zip'; runpy.run_module('app', run_name='__main__', alter_sys=True)"]
    elif shape != "app":
        zipapp.create_archive(root, tmp_path / shape, interpreter="/usr/bin/env python3")
    assert command(tmp_path, *words, "store") == "True (7, 'data', '__main__.py')\n"
    if words[0] != "-c":
        said = command(tmp_path, "-m", "jobsys", "restart", "store")
        assert said.startswith("True (7, 'data', '__main__.py')\n"), "the recorded command starts it, and its value can be read"


def test_an_archive_s_tracebacks_show_its_lines(tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "__main__.py").write_text(
        "import jobsys\n@jobsys.job\ndef bad(): raise ValueError('oh')\n"
        "if __name__ == '__main__':\n    jobsys.run(bad(), 'store', retries=0, progress='off')\n"
    )
    zipapp.create_archive(root, tmp_path / "app.pyz")
    said = command(tmp_path, "app.pyz")
    assert f'File "{tmp_path}/app.pyz/__main__.py", line 3, in bad' in said
    assert "def bad(): raise ValueError('oh')" in said


def module(**facts: Any) -> types.ModuleType:
    made = types.ModuleType("__main__")
    vars(made).update(facts)
    return made


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, True),
        ({"__file__": "<stdin>"}, True),
        ({"__file__": "/anywhere/<stdin>"}, True),
        ({"__file__": "/gone/script.py"}, False),
        ({"__file__": "/some/app.pyz/__main__.py", "__spec__": "of an archive"}, False),
        ({"__spec__": "of a module"}, False),
    ],
)
def test_what_a_session_is(facts: dict[str, Any], expected: bool) -> None:
    assert session.is_session(module(**facts)) is expected
    assert not session.is_session(None)


def mention() -> Any:
    import email

    def inside() -> Any:
        return table, email.mime.nothing  # type: ignore[name-defined, attr-defined]  # noqa: F821

    class Held:
        made = here  # type: ignore[name-defined]  # noqa: F821

    return xml.etree.cElementTree.data, inside, Held, missing  # type: ignore[name-defined]  # noqa: F821


def test_only_what_a_function_reads_comes_along() -> None:
    import xml.etree.ElementTree

    space = {"table": 1, "here": 2, "data": "gigabytes", "email": "a local of the function", "xml": xml, "__name__": "__main__"}
    values, reached = session.mentioned(mention.__code__, space)
    assert values == {"table": 1, "here": 2, "xml": xml}
    assert reached == ("xml.etree",)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return session.start_session()


def test_what_was_shipped_is_found_by_name_on_a_worker(worker: types.ModuleType) -> None:
    assert session.is_started()
    assert session.current() is worker
    session.complete({"a": 1})
    session.bring({"b": 2})
    assert (session.found("a"), session.found("b")) == (1, 2)
    assert session.travels_by_name("a.part")
    assert not session.travels_by_name("b")
    assert session.to_bring({"a": 1, "b": 2}, "f") == {"b": 2}


def test_what_jobs_use_is_noted_on_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", module(a="mine"))
    session.bring({"a": "theirs", "b": "theirs"})
    assert (session.found("a"), session.found("b"), session.found("a.b.c")) == ("mine", "theirs", None)
    assert session.travels_by_name("unnoted")
    with session.noting() as names:
        assert session.travels_by_name("Outer.Inner")
        assert session.to_bring({"x": 1, "Outer": 2}, "<lambda>") == {}
        with session.by_value():
            assert not session.travels_by_name("f")
            assert session.to_bring({"y": 1}, "f") == {"y": 1}
        assert names == session.noted() == {"Outer": "", "x": "<lambda>", "f": "", "y": "f"}
    assert session.noted() == {}
