"""What is installed where the script runs: editable installs of every make, ``.pth`` files, native libraries, console scripts."""

from typing import Final

from shipping.shape import HELPER, START, TWICE, Shape, module, script  # type: ignore[import-not-found]

APP: Final = {"app/flow.py": script(TWICE, "import helper\n")}
PACKAGE: Final = "from helper.more import twice\n"


def _project(backend: str, more: str = "") -> str:
    requires, name = {
        "setuptools": ("setuptools", "setuptools.build_meta"),
        "hatchling": ("hatchling", "hatchling.build"),
    }[backend]
    head = f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{name}"\n'
    return f'{head}[project]\nname = "helper-of-{backend}"\nversion = "1.0"\n{module(more)}'


def _pip(*words: str) -> tuple[str, ...]:
    return ("{python}", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", *words)


def _editable(name: str, files: dict[str, str], *install: tuple[str, ...]) -> Shape:
    return Shape(
        name,
        {**APP, **{f"lib/{path}": text for path, text in files.items()}},
        "42",
        ("{python}", "app/flow.py", *START),
        install or (_pip("--editable", "lib"),),
        venv="own",
    )


HOOK: Final = {
    "pyproject.toml": _project("setuptools", '[tool.setuptools]\npackages = ["helper"]\npackage-dir = {helper = "code"}\n'),
    "code/__init__.py": PACKAGE,
    "code/more.py": HELPER,
}
SRC: Final = {
    "pyproject.toml": _project("setuptools", '[tool.setuptools.packages.find]\nwhere = ["src"]\n'),
    "src/helper/__init__.py": PACKAGE,
    "src/helper/more.py": HELPER,
}
FLAT: Final = {
    "pyproject.toml": _project("setuptools", '[tool.setuptools]\npackages = ["helper"]\n'),
    "helper/__init__.py": PACKAGE,
    "helper/more.py": HELPER,
}
HATCH: Final = {
    "pyproject.toml": _project("hatchling", '[tool.hatch.build.targets.wheel]\npackages = ["src/helper"]\n'),
    "src/helper/__init__.py": PACKAGE,
    "src/helper/more.py": HELPER,
}

PLUG: Final = {
    "lib/pyproject.toml": _project(
        "setuptools",
        '[project.entry-points."flow.plugins"]\nlate = "plug_late:value"\n\n[tool.setuptools]\npy-modules = ["plug_late"]\n',
    ),
    "lib/plug_late.py": "def value():\n    return 'plugged in'\n",
    "app/flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            (late,) = entry_points(group="flow.plugins")
            return late.load()(), seen(sys.modules["plug_late"])
        """,
        "import sys\nfrom importlib.metadata import entry_points\n",
    ),
}

GREETER: Final = {
    "greeter/pyproject.toml": _project("setuptools", '[project.scripts]\ngreet-twice = "greeter:main"\n').replace(
        "helper-of-setuptools", "greeter"
    ),
    "greeter/greeter/__init__.py": "import sys\n\ndef main():\n    print('Hello', *sys.argv[1:], sys.prefix != sys.base_prefix)\n",
}
SCIENCE: Final = {
    **GREETER,
    "helper.py": "import numpy\n\ndef solve():\n    return numpy.linalg.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 8.0])\n",
    "flow.py": script(
        """
        @jobsys.job(memory="200M")
        def native():
            return helper.solve(), numpy.__version__

        @jobsys.job(memory="100M")
        def command():
            return subprocess.run(["greet-twice", "you"], check=True, capture_output=True, text=True).stdout.strip()

        @jobsys.job(memory="100M")
        def collect(solved, said):
            (array, version), metadata = solved, importlib.metadata.version("greeter")
            return (array.tolist(), version == numpy.__version__, said, metadata), seen(helper)

        @jobsys.job(memory="50M")
        def main():
            return collect(native(), command())
        """,
        "import helper\nimport importlib.metadata\nimport numpy\nimport subprocess\n",
    ),
}

COMMAND: Final = {
    "pyproject.toml": _project(
        "setuptools", '[project.scripts]\nrun-flow = "helper.flow:start"\n[tool.setuptools]\npackages = ["helper"]\n'
    ),
    "helper/__init__.py": "",
    "helper/more.py": HELPER,
    "helper/flow.py": script(
        """
        @jobsys.job(memory="50M")
        def double(x):
            return more.twice(x)

        @jobsys.job(memory="50M")
        def main():
            return show(double(21))

        @jobsys.job(memory="50M")
        def show(x):
            return x, seen(*MODULES)
        """,
        "from helper import more\nMODULES = []\n",
    ).replace('if __name__ == "__main__":', "def start():")
    + '\nif __name__ == "__main__":\n    start()\n',
}
OWN_COMMAND: Final = {**COMMAND, "helper/flow.py": str(COMMAND["helper/flow.py"]).replace("MODULES = []", "MODULES = [more]")}
COMMAND_LINE: Final = ("{venv}/bin/run-flow", *START)

SHAPES: Final = [
    Shape("console script, installed", COMMAND, "42", COMMAND_LINE, (_pip("."),), venv="own", cwd="..", places=0),
    Shape("console script, editable", OWN_COMMAND, "42", COMMAND_LINE, (_pip("--editable", "."),), venv="own", cwd=".."),
    Shape(
        "installed module with -m",
        COMMAND,
        "42",
        ("{python}", "-m", "helper.flow", *START),
        (_pip("."),),
        venv="own",
        cwd="..",
        places=0,
    ),
    Shape(
        "package by a .pth file",
        {**APP, "away/helper/__init__.py": PACKAGE, "away/helper/more.py": HELPER},
        "42",
        ("{python}", "app/flow.py", *START),
        setup=(
            (
                "{python}",
                "-c",
                "import pathlib, site; pathlib.Path(site.getsitepackages()[0], 'away.pth').write_text('{project}/away\\n')",
            ),
        ),
        venv="own",
    ),
    _editable("editable, setuptools' finder", HOOK),
    _editable("editable, setuptools' .pth", SRC),
    _editable("editable, setuptools' compat", FLAT, _pip("--config-settings", "editable_mode=compat", "--editable", "lib")),
    _editable("editable, setuptools' strict", FLAT, _pip("--config-settings", "editable_mode=strict", "--editable", "lib")),
    _editable("editable, hatchling", HATCH),
    _editable(
        "editable, uv",
        HATCH,
        (
            "{tools}/bin/uv",
            "pip",
            "install",
            "--quiet",
            "--offline",
            "--no-cache",
            "--no-config",
            "--python",
            "{python}",
            "--no-deps",
            "--no-build-isolation",
            "--editable",
            "lib",
        ),
    ),
    Shape(
        "jobsys itself editable",
        {"helper.py": HELPER, "flow.py": script(TWICE.replace("seen(helper)", "seen(helper, jobsys)"), "import helper\n")},
        "42",
        setup=(_pip("--editable", "{checkout}"),),
        venv="own",
        places=2,
        local=False,  # here workers have the leader's own jobsys
    ),
    Shape(
        "entry point of an editable install",
        PLUG,
        "plugged in",
        ("{python}", "app/flow.py", *START),
        (_pip("--editable", "lib"),),
        venv="own",
    ),
    Shape(
        "environment left behind",
        {"helper.py": HELPER, "flow.py": APP["app/flow.py"]},
        "42",
        options=("--ship-env", "never"),
    ),
    Shape(
        "native library and console script",
        SCIENCE,
        "([1.0, 2.0], True, 'Hello you True', '1.0')",
        setup=(_pip("{project}/greeter"),),
        venv="science",
        environment={"PATH": "{venv}/bin:/usr/bin:/bin"},  # an activated environment
        options=("--ship-env", "always"),
        local=False,  # here nothing ships an environment, and the option is refused
    ),
]
