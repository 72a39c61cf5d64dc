"""Where own code may lie beside, below and away from the script."""

from typing import Final

from shipping.shape import HELPER, START, TWICE, Shape, module, script  # type: ignore[import-not-found]

TWO_ROOTS: Final = {
    "utils/__init__.py": "",
    "utils/text.py": "def loud(text):\n    return text.upper() + '!'\n",
    "workflow/__init__.py": "",
    "workflow/steps.py": module("""
        import jobsys
        from utils.text import loud

        @jobsys.job(memory="50M")
        def shout(text):
            return loud(text)
    """),
    "workflow/main.py": script(
        """
        @jobsys.job(memory="50M")
        def collect(words):
            return " ".join(words), seen(utils.text, workflow.steps)

        @jobsys.job(memory="50M")
        def main():
            return collect([shout("two"), shout("roots")])
        """,
        "import utils.text\nimport workflow.steps\nfrom workflow.steps import shout\n",
    ),
}

NAMESPACE: Final = {
    "one/space/left.py": "def value():\n    return 'left'\n",
    "two/space/right.py": "from space import left\n\ndef value():\n    return left.value() + ' and right'\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            return right.value(), seen(left, right)
        """,
        "from space import left, right\n",
    ),
}

LAZY: Final = {
    "away/lazy_one.py": "NUMBER = 1\n",
    "away/lazy_two.py": "import lazy_four\nNUMBER = 2 + lazy_four.NUMBER\n",
    "away/lazy_four.py": "NUMBER = 4\n",
    "away/lazy/__init__.py": "",
    "away/lazy/deep/__init__.py": "",
    "away/lazy/deep/eight.py": "from . import sixteen\nNUMBER = 8 + sixteen.NUMBER\n",
    "away/lazy/deep/sixteen.py": "NUMBER = 16\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            import lazy_one
            two = importlib.import_module("lazy_two")
            from lazy.deep import eight
            return lazy_one.NUMBER + two.NUMBER + eight.NUMBER, seen(lazy_one, two, eight)
        """,
        "import importlib\n",
    ),
}

DATA: Final = {
    "stock/__init__.py": "",
    "stock/table.txt": "regular",
    "stock/part/__init__.py": "",
    "stock/part/lists/deep.bin": b"\x00deep",
    "loose/inner/table.txt": "namespace",
    "loose/inner/code.py": "X = 1\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            texts = [files("stock") / "table.txt", files("loose.inner") / "table.txt", files("stock.part") / "lists" / "deep.bin"]
            return [text.read_bytes() for text in texts], seen(stock, loose.inner.code)
        """,
        "from importlib.resources import files\nimport loose.inner.code\nimport stock\n",
    ),
}

IGNORED: Final = {
    ".jobsysignore": "*.dat\n/private/\n!keep.dat\n",
    "huge.dat": "x",
    "keep.dat": "kept",
    "private/key.txt": "hush",
    "helper.py": HELPER,
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            here = Path(helper.__file__).parent
            names = ["huge.dat", "keep.dat", "private/key.txt"]
            return [name for name in names if (here / name).exists()], seen(helper)
        """,
        "from pathlib import Path\nimport helper\n",
    ),
}

NEVER: Final = {
    ".git/HEAD": "ref: refs/heads/main\n",
    "env/pyvenv.cfg": "home = nowhere\n",
    "env/lib/thing.py": "",
    "__pycache__/old.cpython-311.pyc": b"old",
    "notes.txt": "kept",
    "helper.py": HELPER,
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            here = Path(helper.__file__).parent
            names = [".git/HEAD", "env/lib/thing.py", "__pycache__/old.cpython-311.pyc", "notes.txt"]
            return [name for name in names if (here / name).exists()], seen(helper)
        """,
        "from pathlib import Path\nimport helper\n",
    ),
}

AROUND: Final = {
    "bin/helper.py": HELPER,
    "conf/p.yaml": "found around it",
    "bin/flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            return (Path(__file__).resolve().parents[1] / "conf" / "p.yaml").read_text(), seen(helper)
        """,
        "from pathlib import Path\nimport helper\n",
    ),
}

PLUGIN: Final = {
    "away/plug_late.py": "def value():\n    return 'found by --ship'\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            late = importlib.import_module("_".join(["plug", "late"]))
            return late.value(), seen(late)
        """,
        "import importlib\n",
    ),
}

SHADOWS: Final = {
    "statistics.py": "def mean(values):\n    return 'own mean'\n",
    "mdurl.py": "def parse(url):\n    return 'own parse'\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            return [statistics.mean([1]), mdurl.parse("x")], seen(statistics, mdurl)
        """,
        "import mdurl\nimport statistics\n",
    ),
}

BY_FILE: Final = {
    "flow.py": script(
        """
        HERE = Path(__file__).resolve().parent

        @jobsys.job(memory="50M")
        def main():
            return (HERE / "lists" / "words.txt").read_text(), seen(sys.modules[main.function.__module__])
        """,
        "import sys\nfrom pathlib import Path\n",
    ),
    "lists/words.txt": "beside",
}

ELSEWHERE: Final = {"flow.py": script(TWICE, "import helper\n")}

EXTENDED: Final = """import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import helper
"""

SHAPES: Final = [
    Shape("module beside", {"helper.py": HELPER, "flow.py": script(TWICE, "import helper\n")}, "42"),
    Shape(
        "two roots with -m",
        TWO_ROOTS,
        "TWO! ROOTS!",
        ("{python}", "-m", "workflow.main", *START),
        places=2,
    ),
    Shape(
        "two roots as a script",
        TWO_ROOTS,
        "TWO! ROOTS!",
        ("{python}", "workflow/main.py", *START),
        environment={"PYTHONPATH": "{project}"},
        places=2,
    ),
    Shape(
        "namespace beside",
        {name.partition("/")[2] if "/" in name else name: text for name, text in NAMESPACE.items()},
        "left and right",
        places=2,
    ),
    Shape(
        "namespace over two roots",
        NAMESPACE,
        "left and right",
        environment={"PYTHONPATH": "{project}/one:{project}/two"},
        places=2,
    ),
    Shape(
        "src layout",
        {"src/helper.py": HELPER, "scripts/flow.py": ELSEWHERE["flow.py"]},
        "42",
        ("{python}", "scripts/flow.py", *START),
        environment={"PYTHONPATH": "src"},
    ),
    Shape(
        "package on PYTHONPATH",
        {"away/helper/__init__.py": "from helper.more import twice\n", "away/helper/more.py": HELPER, **ELSEWHERE},
        "42",
        environment={"PYTHONPATH": "{project}/away"},
    ),
    Shape(
        "lazy imports",
        LAZY,
        "31",
        environment={"PYTHONPATH": "{project}/away"},
        places=3,
    ),
    Shape(
        "sys.path extended by the script",
        {"lib/helper.py": HELPER, "bin/flow.py": script(TWICE, EXTENDED)},
        "42",
        ("{python}", "bin/flow.py", *START),
    ),
    Shape("modules that shadow others", SHADOWS, "['own mean', 'own parse']", places=2),
    Shape("file beside the script", BY_FILE, "beside"),
    Shape("data files", DATA, "[b'regular', b'namespace', b'\\x00deep']", places=2),
    Shape(
        "data files away",
        {(name if name == "flow.py" else f"away/{name}"): text for name, text in DATA.items()},
        "[b'regular', b'namespace', b'\\x00deep']",
        environment={"PYTHONPATH": "{project}/away"},
        places=2,
    ),
    Shape("ignored files", IGNORED, "['keep.dat']"),
    Shape("never travels", NEVER, "['notes.txt']"),
    Shape(
        "reached by --ship",
        PLUGIN,
        "found by --ship",
        environment={"PYTHONPATH": "{project}/away"},
        options=("--ship", "{project}/away/plug_late.py"),
    ),
    Shape(
        "a directory around the script",
        AROUND,
        "found around it",
        ("{python}", "bin/flow.py", *START),
        options=("--ship", "{project}"),
    ),
]
