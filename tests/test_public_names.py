"""Every name that docs/specification.md calls present is there, takes the arguments it lists, and is what it says."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "specification.md"
ROW = re.compile(r"^\| `(?P<name>[\w.]+)(?P<signature>\(.*?\))?` \| `(?P<place>[\w.]+)` \| (?P<when>present|issue \d+) \|$", re.MULTILINE)


class Row(NamedTuple):
    """A name of the specification and where it lives here."""

    name: str
    signature: str
    place: str
    when: str


ROWS = [Row(**match.groupdict(default="")) for match in ROW.finditer(PAGE.read_text())]
PRESENT = [row for row in ROWS if row.when == "present"]


def find(place: str) -> Any:
    """Import the longest part of a dotted name that is a module, and look the rest up."""
    parts = place.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for attribute in parts[length:]:
            fields = getattr(found, "model_fields", {})  # a model of pydantic has no attributes for them
            found = fields[attribute] if attribute in fields else getattr(found, attribute)
        return found
    raise ModuleNotFoundError(place)


def argument_names(signature: str) -> list[str]:
    function = ast.parse(f"def f{signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    return [argument.arg for argument in function.args.args]


def test_the_page_can_be_read() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(ROWS) == len(rows) > 0, "a row of the table is not written like the others"
    assert PRESENT
    assert len({row.name for row in ROWS}) == len(ROWS), "a name is listed twice"


@pytest.mark.parametrize("row", PRESENT, ids=lambda row: row.name)
def test_a_present_name_is_there(row: Row) -> None:
    found = find(row.place)
    if row.signature:
        expected = argument_names(row.signature)
        names = [name for name in inspect.signature(found).parameters if name != "self"]
        assert names[: len(expected)] == expected, "an argument has another name or place"
        extra = list(inspect.signature(found).parameters.values())[len(expected) + ("self" in inspect.signature(found).parameters) :]
        assert all(one.default is not one.empty or one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD} for one in extra)


@pytest.mark.parametrize("row", [row for row in ROWS if row.when != "present"], ids=lambda row: row.name)
def test_a_name_that_comes_later_is_not_there_yet(row: Row) -> None:
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        find(row.place)
