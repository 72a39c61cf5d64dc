"""Ship a site-packages directory: create and download of our VirtualEnvResource against Toil's, in time and peak memory.

    python contrib/bench/shipping.py --toil-python /path/to/venv/bin/python [SITE_PACKAGES]

Each round runs each side once, in a process of its own, in alternating order; what counts are the medians. Without SITE_PACKAGES a
virtual environment is built from a few large scientific packages. A third line, ``again``, is what a restart with the same code costs:
create where the store has it already, download where the host has it already. The answer is one JSON object; exit status 1 if a ratio
is above its limit.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LIMITS = {"time": 0.5, "memory": 0.2}
PACKAGES = ("scipy", "pandas", "matplotlib", "scikit-learn", "pyarrow")
SOURCE = Path(__file__).resolve().parents[2] / "src"


class Store:
    """The smallest job store for both: files in a directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name.replace("/", "_"))

    @contextmanager
    def write_shared_file(self, name: str) -> Iterator[BinaryIO]:
        with open(self._path(name), "wb") as stream:
            yield stream

    def shared_file_exists(self, name: str) -> bool:
        return os.path.exists(self._path(name))

    def shared_file_url(self, name: str) -> str:
        return f"file://{self._path(name)}"

    def write_shared_file_stream(self, shared_file_name: str, encrypted: bool | None = None) -> Any:
        return self.write_shared_file(shared_file_name)

    def getSharedPublicUrl(self, sharedFileName: str) -> str:  # noqa: N802, N803  Toil's name
        return self.shared_file_url(sharedFileName)

    get_shared_public_url = getSharedPublicUrl


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def measure(side: str, site: str, root: str) -> dict[str, float]:
    """Ship once, in this process."""
    if side == "toil":
        from toil.resource import Resource, VirtualEnvResource
    else:
        from jobsys.resource import Resource, VirtualEnvResource
    store: Any = Store(root)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    create, made = timed(lambda: VirtualEnvResource.create(store, site))
    Resource.prepareSystem()
    download, _ = timed(made.download)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    again = timed(lambda: VirtualEnvResource.create(store, site))[0] + timed(made.download)[0]
    stored = sum(entry.stat().st_size for entry in os.scandir(root))
    Resource.cleanSystem()
    return {
        "time": create + download, "create": create, "download": download, "again": again,
        "memory": peak * 1024, "growth": (peak - before) * 1024, "stored": stored,
    }  # fmt: skip


def build(directory: str) -> str:
    venv.create(directory, with_pip=True)
    subprocess.run([os.path.join(directory, "bin", "python"), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return str(next(Path(directory).glob("lib/python*/site-packages")))


def one_round(side: str, python: str, site: str) -> dict[str, float]:
    root = tempfile.mkdtemp(prefix="jobsys-bench-")
    try:
        command = [python, __file__, "--measure", side, "--store", root, site]
        answer = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False)
        if answer.returncode:
            sys.exit(f"{side} failed:\n{answer.stderr}")
        return json.loads(answer.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", nargs="?", help="a site-packages directory of 300 MB or more")
    parser.add_argument("--toil-python", help="a Python that can import toil")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=["jobsys", "toil"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.site, options.store)))
        return
    with tempfile.TemporaryDirectory(prefix="jobsys-bench-site-") as built:
        site = os.path.abspath(options.site) if options.site else build(built)
        pythons = {"jobsys": sys.executable} | ({"toil": options.toil_python} if options.toil_python else {})
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
        for number in range(options.rounds + 1):
            for side in sorted(pythons, reverse=bool(number % 2)):
                figures = one_round(side, pythons[side], site)
                if number:  # the first round warms the page cache
                    runs[side].append(figures)
    medians = {side: {key: statistics.median(run[key] for run in each) for key in each[0]} for side, each in runs.items()}
    answer: dict[str, Any] = {"site": site, "rounds": options.rounds, "medians": medians}
    if "toil" in medians:
        answer["ratios"] = {key: round(medians["jobsys"][key] / medians["toil"][key], 3) for key in medians["toil"] if medians["toil"][key]}
    print(json.dumps(answer, indent=2))
    if any(answer.get("ratios", {}).get(key, 0) > limit for key, limit in LIMITS.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
