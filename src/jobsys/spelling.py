"""Says which known word a misspelt one was meant to be."""

import importlib
from collections.abc import Iterable


def do_you_mean(word: str, known: Iterable[str]) -> str:
    """Give the end of a message, ``; do you mean 'retries'?``, or nothing where no known word is near."""
    lowered = {each.lower(): each for each in known}
    near = importlib.import_module("difflib").get_close_matches(word.lower(), lowered, n=2, cutoff=0.7)  # loaded on use
    return f"; do you mean {' or '.join(repr(lowered[each]) for each in near)}?" if near else ""
