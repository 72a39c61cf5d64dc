"""Which modules a source imports, read from its text, or the functions of a session, from their code; nothing is run.

Imports inside functions count like all others, and so do calls such as ``importlib.import_module("name")`` with the name written out.
"""

import ast
import dis
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Final

_CALLS: Final = frozenset(("import_module", "__import__", "run_module", "resolve_name", "find_spec"))
_KEYWORDS: Final = frozenset(("name", "mod_name", "fullname"))  # of their first arguments
_CONDITIONS: Final = frozenset(("TYPE_CHECKING", "version_info", "platform", "find_spec"))
OPTIONAL: Final = "?"
"""Stands before a name that a source can do without: in a ``try``, for type checkers, for another Python or system."""


def imported(source: bytes) -> tuple[str, ...]:
    """Name the top-level modules that a source imports, sorted; what is no Python imports nothing. Relative imports stay inside."""
    return tuple(sorted(name.removeprefix(OPTIONAL) for name in marked(source)))


def marked(source: bytes) -> tuple[str, ...]:
    """Name the same, those that it can do without with a mark."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code, which says so itself when it runs
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    firm: dict[str, bool] = {}
    todo: list[tuple[ast.AST, bool]] = [(tree, True)]
    while todo:
        node, needed = todo.pop()
        for name in _names(node):
            top = name.partition(".")[0]
            firm[top] = firm.get(top, False) or needed
        needed = needed and not _is_conditional(node)
        todo += [(each, needed) for each in ast.iter_child_nodes(node)]
    return tuple(sorted(name if needed else OPTIONAL + name for name, needed in firm.items()))


def _is_conditional(node: ast.AST) -> bool:
    """Tell whether what is inside may never run where nothing is wrong."""
    if isinstance(node, ast.Try | ast.TryStar):
        return True
    if not isinstance(node, ast.If):
        return False
    return any(_called(each) in _CONDITIONS for each in ast.walk(node.test) if isinstance(each, ast.expr))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level == 0 and node.module:
            yield node.module
    elif isinstance(node, ast.Call) and _called(node.func) in _CALLS:
        given = [*node.args[:1], *(each.value for each in node.keywords if each.arg in _KEYWORDS)]
        for first in given:
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value[:1] not in {"", "."}:
                yield first.value.partition(":")[0]


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def session_names(values: Iterable[object]) -> Iterator[str]:
    """Name the top-level modules that the functions and classes of a session import when they run; other values are not asked."""
    todo = list(values)
    while todo:
        value = todo.pop()
        kind = type(value)  # not isinstance, which asks the value
        if kind is FunctionType:
            yield from _code_names(value.__code__)  # type: ignore[attr-defined]  # see kind
        elif kind in (staticmethod, classmethod):
            todo.append(value.__func__)  # type: ignore[attr-defined]  # see kind
        elif kind is property:
            todo += [value.fget, value.fset, value.fdel]  # type: ignore[attr-defined]  # see kind
        elif issubclass(kind, type) and vars(value).get("__module__") == "__main__":
            todo += [each for each in vars(value).values() if not issubclass(type(each), type)]
        todo += _wrapped(value)


def _wrapped(value: object) -> list[object]:
    """Give the function inside a job function, or one that functools.wraps was used for."""
    try:
        facts = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return []
    return [facts["__wrapped__"]] if "__wrapped__" in facts else []


def _code_names(code: CodeType) -> Iterator[str]:
    names = [each.argval for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME"]
    if not _CALLS.isdisjoint(code.co_names):
        names += [each for each in code.co_consts if isinstance(each, str) and each.replace(".", "").isidentifier()]
    yield from (name.partition(".")[0] for name in names if name[:1] not in {"", "."})
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _code_names(each)
