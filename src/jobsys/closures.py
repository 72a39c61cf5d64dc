"""Functions that no import finds travel as their code: lambdas, closures, nested functions. What an import finds travels by its name.

A function's globals are those of its module on the other side, as it was shipped. Only what the script binds under
``if __name__ == "__main__":``, which workers skip, comes along by value, and what workers lack of a session.
"""

import ast
import builtins
import importlib
import marshal
import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from typing import Any
from zipimport import ZipImportError, zipimporter

from jobsys import session


def reduced(value: Any) -> Any:
    """Say how a function, a closure's cell or a module travels; NotImplemented leaves everything else to pickle."""
    kind = type(value)
    if kind is types.FunctionType:
        return NotImplemented if importable(value) else _reduced_function(value)
    if kind is types.CellType:
        return _cell, (), _content(value), None, None, _fill
    if kind is types.ModuleType:
        return importlib.import_module, (value.__name__,)
    return NotImplemented


def importable(value: Any) -> bool:
    """Tell whether a function or class is found under its module and qualified name, here and by a worker."""
    name: str = value.__module__
    found: Any = sys.modules.get(name)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value and not is_guarded(name, value.__qualname__)


def is_guarded(module: str, qualname: str) -> bool:
    """Tell whether a name of ``__main__`` is there only where that runs: no worker has it."""
    if module != "__main__":
        return False
    main = sys.modules[module]
    if session.is_session(main):
        return not session.travels_by_name(qualname)
    return qualname.partition(".")[0] in guarded(getattr(main, "__file__", None))


@cache
def guarded(path: str | None) -> frozenset[str]:
    """Name what a script binds only under ``if __name__ == "__main__":``."""
    try:
        body = ast.parse(_source(path or "")).body
    except (OSError, ZipImportError, SyntaxError, ValueError):
        return frozenset()  # no script, or one that has changed since it was started
    inside = {name for node in body if _is_guard(node) for name in _bound(node)}
    return frozenset(inside - {name for node in body if not _is_guard(node) for name in _bound(node)})


def referenced(code: types.CodeType) -> Iterator[str]:
    """Name the globals and attributes that a function and those inside it mention."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from referenced(constant)


def _source(path: str) -> bytes:
    """Read a script, also one in an archive."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except NotADirectoryError:
        return zipimporter(os.path.dirname(path)).get_data(path)


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"__name__ == '__main__'", "'__main__' == __name__"}


def _bound(node: ast.AST) -> Iterator[str]:
    """Name what a statement binds in its own scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _reduced_function(function: types.FunctionType) -> Any:
    space = function.__globals__
    main = session.current()
    if main is not None and main.__dict__ is space:
        return _reduced_session_function(function)
    name = space.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and module.__dict__ is space:
        names = guarded(getattr(module, "__file__", None)) if name == "__main__" else frozenset[str]()
        brought = {key: space[key] for key in referenced(function.__code__) if key in names and key in space}
    else:
        module = None  # the namespace of exec, or of a session: there is no such module to be imported
        brought = {key: space[key] for key in referenced(function.__code__) if key in space}
    start = (marshal.dumps(function.__code__), module and name, function.__name__, function.__closure__)
    return _function, start, (_facts(function), function.__dict__, brought), None, None, _complete


def _facts(function: types.FunctionType) -> dict[str, Any]:
    return {
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
        "__doc__": function.__doc__,
    }


def _function(code: bytes, module: str | None, name: str, closure: tuple[types.CellType, ...] | None) -> types.FunctionType:
    space = importlib.import_module(module).__dict__ if module else {"__builtins__": builtins, "__name__": "jobsys.closures"}
    return types.FunctionType(marshal.loads(code), space, name, None, closure)  # as safe as the pickle that holds it


def _complete(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> None:
    facts, attributes, brought = state
    _describe(function, facts, attributes)
    function.__globals__.update(brought)


def _describe(function: types.FunctionType, facts: dict[str, Any], attributes: dict[str, Any]) -> None:
    for name, fact in facts.items():
        setattr(function, name, fact)
    function.__dict__.update(attributes)


def _reduced_session_function(function: types.FunctionType) -> Any:
    name = session.name_of(function)
    values, submodules = session.mentioned(function.__code__, function.__globals__)
    brought = session.to_bring(values, function.__qualname__)
    start = (marshal.dumps(function.__code__), function.__name__, function.__closure__)
    state = (_facts(function), function.__dict__, brought, submodules, name)
    return _session_function, start, state, None, None, _complete_session_function


def _session_function(code: bytes, name: str, closure: tuple[types.CellType, ...] | None) -> types.FunctionType:
    return types.FunctionType(marshal.loads(code), session.namespace(), name, None, closure)  # as safe as the pickle that holds it


def _complete_session_function(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    facts, attributes, brought, submodules, name = state
    _describe(function, facts, attributes)
    for module in submodules:
        importlib.import_module(module)
    session.bring(brought if name is None or "." in name else {name: function, **brought})


def _cell() -> types.CellType:
    return types.CellType()


def _content(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # a variable that has no value yet
        return ()


def _fill(cell: types.CellType, content: tuple[Any, ...]) -> None:
    if content:
        cell.cell_contents = content[0]
