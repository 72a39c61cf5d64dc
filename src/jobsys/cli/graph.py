"""Draw the graph of a run's jobs: what comes after what, and how far it is. Graphviz is needed for .png and .pdf only.

Examples:
  jobsys graph file:my-store -o graph.svg
  jobsys graph file:my-store -o graph.html --by-function
  jobsys graph file:my-store | dot -Tpng > graph.png

Jobs of a function in the same place share a box; where there are still too many boxes, all jobs of a function do.
Without -o the graph is printed in graphviz' language, DOT.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json, add_locator
from jobsys.cli.picture.dot import to_dot
from jobsys.cli.picture.fold import fold
from jobsys.cli.picture.model import Picture, by_job
from jobsys.cli.picture.svg import to_html, to_svg
from jobsys.cli.standing import look
from jobsys.display.words import many
from jobsys.errors import StorageError, UsageError
from jobsys.harmless import for_stream
from jobsys.history import read_history
from jobsys.jobstores import open_store

_WRITERS: Final[dict[str, Callable[[Picture], str]]] = {".svg": to_svg, ".html": to_html, ".dot": to_dot, ".gv": to_dot}
_BY_GRAPHVIZ: Final = (".png", ".pdf")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to draw it: .svg, .html, .dot, and with graphviz .png and .pdf")
    parser.add_argument("--by-function", action="store_true", help="one box for all jobs of a function")
    parser.add_argument("--max-jobs", metavar="N", type=int, default=300, help="boxes from which on that happens by itself (default: 300)")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Draw it."""
    output = None if arguments.output is None else Path(arguments.output)
    if output is not None:
        _check(output)
    store = open_store(arguments.locator)
    running = {job.job for job in look(store).running}
    picture = fold(by_job(store.locator, read_history(store), running), arguments.max_jobs, arguments.by_function)
    if output is not None:
        _write(picture, output)
        print(f"{output}: {many(picture.jobs, 'job')} in {many(len(picture.boxes), 'box').replace('boxs', 'boxes')}", file=sys.stderr)
    if arguments.json:
        print_json({"jobs": picture.jobs, "boxes": list(picture.boxes.values()), "arrows": [arrow._asdict() for arrow in picture.arrows]})
    elif output is None:
        sys.stdout.write(for_stream(to_dot(picture), sys.stdout))
    return 0


def _check(output: Path) -> None:
    """Refuse a file that can't be drawn, before anything is read."""
    suffix = output.suffix.lower()
    if suffix in _BY_GRAPHVIZ and shutil.which("dot") is None:
        raise UsageError(f"{output}: to draw {suffix} graphviz must be installed (its program 'dot'); .svg and .html need nothing")
    if suffix not in _WRITERS and suffix not in _BY_GRAPHVIZ:
        raise UsageError(f"{output}: can't tell what to draw by its ending; there are {', '.join([*_WRITERS, *_BY_GRAPHVIZ])}")


def _write(picture: Picture, output: Path) -> None:
    suffix = output.suffix.lower()
    try:
        if suffix in _WRITERS:
            output.write_text(_WRITERS[suffix](picture), encoding="utf-8")
            return
        dot = shutil.which("dot") or "dot"
        drawn = subprocess.run([dot, f"-T{suffix[1:]}"], input=to_dot(picture).encode(), capture_output=True, check=False)
        if drawn.returncode:
            raise StorageError(f"graphviz could not draw {output}: {drawn.stderr.decode(errors='replace').strip()}")
        output.write_bytes(drawn.stdout)
    except OSError as error:
        raise StorageError(f"can't write {output}: {error.strerror}") from error
