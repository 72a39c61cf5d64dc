"""Each claim of docs/security.md has its test, and each test there is a claim."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text()


def claims() -> list[tuple[str, list[str]]]:
    """Read the table of claims: what is claimed, and the tests."""
    rows = [line.split("|")[1:-1] for line in PAGE.partition("## Claims and tests")[2].splitlines() if line.startswith("|")]
    return [(claim.strip(), re.findall(r"`([\w/.]+::\w+)`", tests)) for claim, tests in rows[2:]]


def test_each_claim_has_its_tests() -> None:
    found = claims()
    assert len(found) > 15
    for claim, named in found:
        assert named, f"nothing tests that {claim}"
        for place in named:
            file, name = place.split("::")
            assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), f"{place} is gone: what tests that {claim}?"


def test_each_test_of_security_is_named_there() -> None:
    named = {place for _, places in claims() for place in places}
    for path in sorted((TESTS / "security").glob("test_*.py")):
        for each in ast.parse(path.read_text()).body if path.name != "test_claims.py" else ():
            if isinstance(each, ast.FunctionDef) and each.name.startswith("test_"):
                place = f"security/{path.name}::{each.name}"
                assert place in named, f"what does {place} prove? Name it in docs/security.md"
