"""Which modules a source imports, read from its text; nothing is run.

Imports inside functions count like all others, and so do calls such as ``importlib.import_module("name")`` with the name written out.
"""

import ast
import warnings
from collections.abc import Iterator
from typing import Final

_CALLS: Final = frozenset(("import_module", "__import__", "run_module", "resolve_name", "find_spec"))


def imported(source: bytes) -> tuple[str, ...]:
    """Name the top-level modules that a source imports, sorted; what is no Python imports nothing. Relative imports stay inside."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code, which says so itself when it runs
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(sorted({name.partition(".")[0] for node in ast.walk(tree) for name in _names(node)}))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level == 0 and node.module:
            yield node.module
    elif isinstance(node, ast.Call) and node.args and _called(node.func) in _CALLS:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value[:1] not in {"", "."}:
            yield first.value.partition(":")[0]


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
