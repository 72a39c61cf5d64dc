"""Show what code would travel with a script, how large it is and why each part is in it. The script is read, not run.

Examples:
  jobsys ship --dry-run flow.py
  jobsys ship --dry-run -m package.flow --ship data/table.csv
  jobsys ship --dry-run app.pyz --json

What the script imports by name is found, also inside functions; --ship adds what nothing names. A .jobsysignore leaves things out, with
patterns as in a .gitignore. Code is sent when a run starts, and only what the job store does not have. Exit status 1 if a run would be
refused: its own code is larger than --ship-limit, or a module that it needs is left out.
"""

import argparse
import importlib.util
import os
import sys
import warnings
from typing import Any, Final

from jobsys.cli.output import print_json, view
from jobsys.cli.parser import add_json
from jobsys.config import LIMIT
from jobsys.errors import UsageError
from jobsys.files import working_directory
from jobsys.requirements import format_bytes, parse_bytes
from jobsys.shipping.closure import Root, Start
from jobsys.shipping.plan import SHOWN, Options, Plan, facts_directory, make_plan

_MAINS: Final = ("__main__.py", "__main__.pyc")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("script", metavar="SCRIPT", nargs="?", help="a script, a directory with a __main__.py, or an archive (.pyz)")
    parser.add_argument("-m", dest="module", metavar="MODULE", help="a module, as for python -m")
    parser.add_argument("--dry-run", action="store_true", required=True, help="show it, send nothing")
    parser.add_argument("--ship", metavar="PATH", action="append", default=[], help="a file or directory that travels, too")
    parser.add_argument("--ship-env", choices=("auto", "always", "never"), default="auto", help="as for a run (default: auto)")
    parser.add_argument("--ship-limit", metavar="SIZE", type=parse_bytes, default=LIMIT, help="as for a run (default: 250M)")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Find out and print."""
    working_directory()  # before anything else asks for it, and is told less
    if (arguments.script is None) == (arguments.module is None):
        raise UsageError("name a script, or a module with -m: jobsys ship --dry-run SCRIPT")
    start = _of_module(arguments.module) if arguments.module else _of_script(arguments.script)
    options = Options(arguments.ship, arguments.ship_env, sys.maxsize, remote=True, facts=facts_directory(), strict=False)
    plan = make_plan(start, options, loaded=False)
    described = describe(plan)
    plan.save()
    if arguments.json:
        print_json(described)
    else:
        view("ship").show(described)
    for each in plan.withheld:
        print(f"jobsys: {'a run would be refused: ' if each.certain else ''}{each}", file=sys.stderr)
    if described["bytes"] > arguments.ship_limit:
        limit, size = format_bytes(arguments.ship_limit), format_bytes(described["bytes"])
        print(f"jobsys: a run would be refused: {size} of own code are more than the {limit} of --ship-limit", file=sys.stderr)
        return 1
    return int(any(each.certain for each in plan.withheld))


def _of_script(path: str) -> Start:
    if not os.path.exists(path):
        raise UsageError(f"there is no script {path}: name one, or a module of the import path with -m")
    real = os.path.realpath(path)
    if os.path.isdir(path) or _is_archive(path):
        home = os.path.abspath(path)
        _import_from(home)
        mains = [os.path.join(home, name) for name in _MAINS if os.path.isfile(os.path.join(home, name))]
        if os.path.isdir(path) and not mains:
            raise UsageError(f"{path} is a directory without a __main__.py: name the script in it")
        return Start(home, mains[0] if mains else "", True)
    _check_syntax(path)
    _import_from(os.path.dirname(real))
    return Start(os.path.dirname(real), real, True)


def _check_syntax(path: str) -> None:
    """Refuse what Python would: nobody can tell what it imports."""
    with open(path, "rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(stream.read(), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            raise UsageError(f"{path} is no Python script{line}: {getattr(error, 'msg', error)}; mend it first") from error


def _import_from(directory: str) -> None:
    """Look modules up as the script would, whose directory comes first where that of this program stands."""
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, directory)


def _is_archive(path: str) -> bool:
    with open(path, "rb") as stream:
        return b"PK\3\4" in stream.read(4096) and not path.endswith(".py")


def _of_module(name: str) -> Start:
    _import_from(working_directory())
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise UsageError(f"there is no module {name}: {error}") from error
    if spec is None:
        raise UsageError(f"there is no module {name} on the import path, which begins with {sys.path[0]}")
    return Start("", spec.origin or "", False, (name.partition(".")[0],))


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def describe(plan: Plan) -> dict[str, Any]:
    """Put a plan into plain words and numbers."""
    files: list[dict[str, Any]] = [
        {"path": os.path.join(root.directory, item.entry.path), "bytes": item.entry.size, "why": _why(root, item.entry.path)}
        for root, tree in zip(plan.roots, plan.trees, strict=True)
        for item in tree.items
        if item.entry.kind == "file"
    ]
    summaries = [(layer.name, layer.summary) for layer in plan.layers]
    layers: list[dict[str, Any]] = [{"name": name, "bytes": each.size, "files": each.count} for name, each in summaries]
    return {
        "bytes": plan.size,
        "files": len(files),
        "roots": [_root(root, len(tree.items), tree.size, tree.sha256) for root, tree in zip(plan.roots, plan.trees, strict=True)],
        "largest": sorted(files, key=lambda each: (-each["bytes"], each["path"]))[:SHOWN],
        "distributions": sorted(layers, key=lambda each: (-each["bytes"], each["name"])),
        "distributions_bytes": sum(each["bytes"] for each in layers),
        "whole_environment": not plan.system_site,
        "not_found": [{"module": name, "why": why} for name, why in plan.closure.not_found().items()],
        "left_out": [{"path": each.path, "why": each.reason} for root in plan.roots for each in root.left_out],
    }


def _root(root: Root, entries: int, size: int, sha256: str) -> dict[str, Any]:
    what = "all of it" if root.whole or root.archive else ", ".join(sorted({*root.names, *root.grafts}))
    return {"directory": root.directory, "what": what, "entries": entries, "bytes": size, "sha256": sha256}


def _why(root: Root, path: str) -> str:
    graft = next((name for name in root.grafts if path == name or path.startswith(name + "/")), None)
    if graft is not None:
        return root.reasons.get(graft, "asked for with --ship")
    if root.archive:
        return "the archive that is run, or imported from"
    if root.asked:
        return f"in {root.directory}, asked for with --ship"
    if root.whole:
        return "in the script's directory"
    top, inside, _ = path.partition("/")
    why = root.names.get(top, "")
    return f"in the package {top}, {why}" if inside else why
