"""Functions and classes without a name, pickled in one process and used in another that has only imported the script."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jobsys import closures

CHILD = """
import importlib, sys
sys.path.insert(0, ".")
from jobsys import pickling
module = importlib.import_module("script")
sys.modules["__main__"] = module
function, *args = pickling.load(open("there", "rb").read(), None)
open("back", "wb").write(pickling.dump(function(*args), "the answer")[0])
"""

HEAD = """
import abc, dataclasses, enum, functools, subprocess, sys, typing
from jobsys import pickling

LIMIT = 10
Item = typing.TypeVar("Item")

def helper(): return LIMIT

def elsewhere(function, *args):
    with open("there", "wb") as stream:
        stream.write(pickling.dump((function, *args), "the call")[0])
    subprocess.run([sys.executable, "child.py"], check=True)
    sys.modules["script"] = sys.modules["__main__"]  # as shipment does
    assert "dill" not in sys.modules, "slow to import, and not needed"
    return pickling.load(open("back", "rb").read(), None)
"""


def run(folder: Path, script: str) -> None:
    (folder / "script.py").write_text(HEAD + textwrap.dedent(script))
    (folder / "child.py").write_text(CHILD)
    result = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_functions(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def counter():
            count = 0
            def up():
                nonlocal count
                count += 1
                return count
            def now(): return count
            return up, now

        def factorial():
            def f(n, *, stop=1): return stop if n < 2 else n * f(n - 1)
            return f

        def even_odd():
            def even(n): return n == 0 or odd(n - 1)
            def odd(n): return n != 0 and even(n - 1)
            return even

        def later():
            def use(): return value
            value = 8
            return use

        def both(up, now): return up(), up(), now()

        class Outer:
            class Inner:
                def __init__(self, x): self.x = x
                def get(self): return self.x + helper()
            scale = staticmethod(lambda x: x * 3)

        def renamed(): return "first"
        first = renamed
        def renamed(): return "second"

        if __name__ == "__main__":
            assert elsewhere(lambda x, y=2: x + y + LIMIT, 1) == 13
            assert elsewhere(factorial(), 5) == 120
            assert elsewhere(even_odd(), 6) is True
            assert elsewhere(later()) == 8
            assert elsewhere(both, *counter()) == (1, 2, 2), "two functions share a variable"
            assert elsewhere(Outer.Inner(5).get) == 15
            assert elsewhere(Outer.scale, 2) == 6
            assert elsewhere(functools.partial(lambda a, b: a - b, 5), 3) == 2
            assert (elsewhere(first), elsewhere(renamed)) == ("first", "second")
            space = {}
            exec("A = 4\\ndef f(n): return A if n == 0 else f(n - 1)", space)
            assert elsewhere(space["f"], 3) == 4, "no module: what it mentions comes along"
            got = elsewhere(lambda f: f, Outer.Inner(1))
            assert type(got) is Outer.Inner
        """,
    )


def test_what_the_guard_binds_comes_along(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        if __name__ == "__main__":
            factor = 17
            def times(x): return x * factor
            class Kept:
                def get(self): return times(2) + helper()
            for index in range(3):
                pass
            assert elsewhere(times, 2) == 34
            assert elsewhere(lambda kept: kept.get() + index, Kept()) == 46
            factor = 1
            assert elsewhere(times, 2) == 2, "as it is when it is pickled"
            assert type(elsewhere(lambda kept: kept, Kept())) is Kept
        """,
    )


def test_classes(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def classes():
            class Base(abc.ABC):
                @abc.abstractmethod
                def hi(self): ...
            class A(Base):
                made = 0
                def __init__(self, x):
                    super().__init__()
                    self.x = x
                def hi(self): return f"A{self.x}"
                @classmethod
                def make(cls): return cls(9)
                @staticmethod
                def fixed(): return 5
                @property
                def double(self): return self.x * 2
                @functools.cached_property
                def cached(self): return self.x * 3
                def next(self): return A(self.x + 1)
            @dataclasses.dataclass
            class D:
                x: int
                y: list = dataclasses.field(default_factory=list)
                z: int = 3
            @dataclasses.dataclass(frozen=True, slots=True)
            class Frozen:
                x: int
            class Color(enum.Enum):
                RED = 1
                GREEN = 2
                def plus(self): return self.value + 1
            class Row(typing.NamedTuple):
                a: int
                b: str = "z"
            class Slotted:
                __slots__ = ("q", "__dict__")
            class Oops(Exception):
                pass
            class Box(typing.Generic[Item]):
                pass
            return Base, A, D, Frozen, Color, Row, Slotted, Oops, Box

        def look(Base, A, D, Frozen, Color, Row, Slotted, Oops, Box, a, d, frozen, color, row, slotted, oops):
            assert (a.hi(), a.next().hi(), A.make().x, a.fixed(), a.double, a.cached) == ("A4", "A5", 9, 5, 8, 12)
            assert type(a) is A and isinstance(a.next(), A) and A.__name__ == "A"
            try: Base()
            except TypeError: pass
            else: raise AssertionError("abstract")
            assert d == D(1) and dataclasses.replace(d, z=5).z == 5 and D(2).y is not D(2).y
            assert [f.name for f in dataclasses.fields(D)] == ["x", "y", "z"]
            assert hash(frozen) == hash(Frozen(1))
            try: frozen.x = 2
            except dataclasses.FrozenInstanceError: pass
            else: raise AssertionError("frozen")
            assert color is Color.GREEN and Color(1).plus() == 2 and list(Color)[0].name == "RED"
            assert row._replace(a=4) == (4, "z") and Row(1).b == "z"
            assert slotted.q == 1
            try: raise oops
            except Oops as caught: assert caught.args == (3,)
            return [a.next(), D(7), Frozen(1), Color.RED, Row(5), slotted, Oops(1), A]

        if __name__ == "__main__":
            Base, A, D, Frozen, Color, Row, Slotted, Oops, Box = kinds = classes()
            slotted = Slotted(); slotted.q = 1
            back = elsewhere(look, *kinds, A(4), D(1), Frozen(1), Color.GREEN, Row(3), slotted, Oops(3))
            assert [type(each) for each in back[:7]] == [A, D, Frozen, Color, Row, Slotted, Oops], "the very classes that were sent"
            assert back[3] is Color.RED and back[7] is A
        """,
    )


def test_the_guard_is_found(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import os\nboth = 1\n"
        "if '__main__' == __name__:\n"
        "    import a.b, c as d\n    both = 2\n    with open(x) as e, y as (f, g): pass\n"
        "    h: int = [i for i in ()]\n    def j(): k = 1\n    class L: m = 1\n    if (n := 1): o = 1\n"
        "    try: pass\n    except OSError as p: pass\n    q = lambda r: r\n"
    )
    assert closures.guarded(str(path)) >= {"a", "d", "e", "f", "g", "h", "j", "L", "n", "o", "p", "q"}
    assert not closures.guarded(str(path)) & {"os", "both", "k", "m", "r", "c"}


@pytest.mark.parametrize("content", [b"", b"if __name__ ==", b"\xff\xfe\0", b"x = 1\nif __name__ == 'other':\n    y = 1\n"])
def test_no_guard(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "script.py"
    path.write_bytes(content)
    assert closures.guarded(str(path)) == frozenset()
    assert closures.guarded(str(tmp_path / "gone.py")) == closures.guarded(None) == frozenset()
