"""What one Python source file consists of, and what it imports. Plain functions: nothing here knows of jobs."""

import ast
import io
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)


@dataclass(frozen=True)
class Source:
    """A module's name, and the file it is in."""

    name: str
    path: str
    is_package: bool


@dataclass(frozen=True)
class Figures:
    """What was counted in one module."""

    name: str
    lines: int
    code: int
    comments: int
    blank: int
    tokens: Counter[str]
    functions: int = 0
    classes: int = 0
    branches: int = 0
    longest: int = 0  # lines of the longest function
    longest_name: str = ""
    imports: frozenset[str] = frozenset()  # when it is imported itself
    late_imports: frozenset[str] = frozenset()  # inside functions
    problem: str = field(default="", compare=False)


def find_sources() -> list[Source]:
    """List every module of the standard library that is a Python file, packages and all that is in them."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [root / f"{name}.py" for name in sys.stdlib_module_names]
    for name in sys.stdlib_module_names:
        files += (root / name).rglob("*.py")
    return sorted((_source(root, file) for file in files if file.is_file()), key=lambda source: source.name)


def _source(root: Path, file: Path) -> Source:
    parts = file.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return Source(".".join(parts[:-1] if is_package else parts), str(file), is_package)


def measure(source: Source) -> Figures:
    """Count what is in a file; where it is not valid for this version of Python, what can be counted without its syntax tree."""
    data = Path(source.path).read_bytes()
    counted = _count_lines(source.name, data)
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        return Figures(**counted, problem=f"{type(error).__name__}: {error}")
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    lengths = [(node.end_lineno - node.lineno + 1, node.name) for node in functions if node.end_lineno is not None]
    longest, longest_name = max(lengths, default=(0, ""))
    inside = {child for function in functions for child in ast.walk(function)}
    return Figures(
        **counted,
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        branches=sum(_branches(node) for node in nodes),
        longest=longest,
        longest_name=longest_name,
        imports=frozenset(name for node in nodes if node not in inside for name in _imported(node, source)),
        late_imports=frozenset(name for node in inside for name in _imported(node, source)),
    )


def _count_lines(name: str, data: bytes) -> dict:
    """Tell lines with code from lines with nothing but a comment, and count tokens by kind."""
    tokens: Counter[str] = Counter()
    code: set[int] = set()
    comments: set[int] = set()
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type in LAYOUT:
                comments.update([token.start[0]] if token.type == tokenize.COMMENT else [])
            else:
                code.update(range(token.start[0], token.end[0] + 1))
                tokens[tokenize.tok_name[token.type].lower()] += 1
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        tokens["error"] += 1  # the rest of the file counts as blank
    lines, only_comments = len(data.splitlines()), len(comments - code)
    blank = lines - len(code) - only_comments
    return {"name": name, "lines": lines, "code": len(code), "comments": only_comments, "blank": blank, "tokens": tokens}


def _branches(node: ast.AST) -> int:
    """Count where the flow can go two ways, as cyclomatic complexity does."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return isinstance(node, BRANCHES)


def _imported(node: ast.AST, source: Source) -> Iterator[str]:
    """Name what an import statement may import: of ``from a import b`` both ``a`` and ``a.b``, for ``b`` may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = source.name.split(".")[: None if source.is_package else -1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, base] if base else package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
