"""Makes what a shape is started from: virtual environments, project directories, command lines. Starts nothing but set-up steps."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from shipping.shape import Shape  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src")
CONSTRAINTS: Final = ("--constraint", str(REPOSITORY / "constraints.txt"))
TOOLS: Final = ("setuptools==84.2.1", "hatchling==1.33.0", "editables==0.6", "uv==0.13.9")
SCIENCE: Final = ("numpy", "ipykernel==7.4.0", "jupyter-client==8.10.0")
SETUP_TIME: Final = 100.0


@dataclass(frozen=True)
class Start:
    """One start of a shape: what to run, where, and with which environment and standard input."""

    argv: list[str]
    cwd: Path
    environment: dict[str, str]
    stdin: str


@dataclass
class Workshop:
    """The leader's part of a machine: everything that a leader uses lies below ``base``, and nothing that a worker may use does."""

    base: Path
    prepared: dict[str, Path] = field(default_factory=dict)
    starts: int = 0

    @cached_property
    def checkout(self) -> Path:
        """A copy of jobsys' sources: what is built here leaves nothing in the checkout."""
        target = self.base / "checkout"
        target.mkdir()
        for name in SOURCES:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, target / name)
        return target

    @cached_property
    def shared(self) -> Path:
        """The environment that shapes share: jobsys as a user installs it."""
        venv = self.base / "venv"
        _call([sys.executable, "-m", "venv", str(venv)])
        _call([*_pip(venv), *CONSTRAINTS, str(self.checkout)])
        return venv

    @cached_property
    def science(self) -> Path:
        """The environment with a native library and a notebook's kernel; no shape leaves anything in it but its own distribution."""
        venv = self.copy("science")
        _call([*_pip(venv), *CONSTRAINTS, *SCIENCE])
        return venv

    @cached_property
    def tools(self) -> Path:
        """Build tools, for PYTHONPATH: an environment that ships should not hold them."""
        target = self.base / "tools"
        _call([*_pip(self.shared), "--target", str(target), *TOOLS])
        return target

    def copy(self, name: str) -> Path:
        """Copy the shared environment: hard links, but for the scripts, which name where they lie."""
        target = self.base / "venvs" / name
        shutil.copytree(self.shared, target, copy_function=os.link, symlinks=True)
        for path in (target / "bin").iterdir():
            if path.is_file() and not path.is_symlink():
                text = path.read_text().replace(str(self.shared), str(target))
                mode = path.stat().st_mode
                path.unlink()
                path.write_text(text)
                path.chmod(mode)
        return target

    def prepare(self, shape: Shape) -> Path:
        """Write the shape's files and take its set-up steps, once a session; give the project's directory."""
        if shape.name not in self.prepared:
            project = self.base / "projects" / str(len(self.prepared))
            self.write(project, shape.files)
            words = self._words(shape, project)
            for step in shape.setup:
                _call([word.format_map(words) for word in step], cwd=project, PYTHONPATH=str(self.tools))
            self.prepared[shape.name] = project
        project = self.prepared[shape.name]
        self.write(project, shape.files)  # a restart may have edited them
        return project

    @staticmethod
    def write(project: Path, files: Mapping[str, str | bytes]) -> None:
        """Put files where they belong."""
        for name, content in files.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def new_store(self) -> str:
        """Name a job store that is not there yet."""
        self.starts += 1
        return f"file:{self.base}/stores/{self.starts}"

    def start(self, shape: Shape, store: str, options: Sequence[str]) -> Start:
        """Fill in the placeholders of a prepared shape."""
        project = self.prepared[shape.name]
        words = self._words(shape, project)
        given = [option.format_map(words) for option in options]
        words |= {"store": store, "argv": repr([store, *given])}
        argv: list[str] = []
        for word in shape.argv:
            argv += given if word == "{options}" else [_filled(word, words)]
        home = self.base / "home"
        (self.base / "stores").mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        environment |= {name: value.format_map(words) for name, value in shape.environment.items()}
        return Start(argv, project / shape.cwd, environment, _filled(shape.stdin, words))

    def _words(self, shape: Shape, project: Path) -> dict[str, str]:
        venv = self._venv(shape)
        words = {"python": f"{venv}/bin/python", "venv": str(venv), "project": str(project), "checkout": "", "tools": ""}
        if shape.setup:
            words |= {"checkout": str(self.checkout), "tools": str(self.tools)}
        return words

    def _venv(self, shape: Shape) -> Path:
        if shape.venv == "own":
            place = self.base / "venvs" / str(shape.name).replace(" ", "-").replace(",", "").replace("'", "")
            return place if place.exists() else self.copy(place.name)
        return {"shared": lambda: self.shared, "science": lambda: self.science}[shape.venv]()


def _filled(text: str, words: Mapping[str, str]) -> str:
    """Fill in placeholders and leave all other braces of a program text alone."""
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    return text


def _pip(venv: Path) -> list[str]:
    return [f"{venv}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _call(argv: Sequence[str], cwd: Path | None = None, **environment: str) -> None:
    """Take a set-up step, with the user's own settings and cache of pip; what it says is part of the failure."""
    environment = {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir, **environment}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SETUP_TIME)
    assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
