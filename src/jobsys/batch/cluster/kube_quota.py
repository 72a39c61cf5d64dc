"""What a quota says when it refuses something: whether that can be waited for. Pure."""

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {suffix: Decimal(1000) ** power for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)} | {
    f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)
}
_SAID: Final = re.compile(r"exceeded quota: [^,]*, requested: (.*?), used: (.*?), limited: ([^\s:]*)")


def is_used_up(text: str) -> bool:
    """Tell whether an answer says that a quota leaves no room now, but would if nothing else ran there."""
    return "exceeded quota" in text and not is_too_small(text)


def is_too_small(text: str) -> bool:
    """Tell whether an answer says that a quota is smaller than what was asked for."""
    said = _SAID.search(text)
    if said is None:
        return False
    requested, limited = _amounts(said[1]), _amounts(said[3])
    return any(amount > limited[name] for name, amount in requested.items() if name in limited)


def _amounts(text: str) -> dict[str, Decimal]:
    """Read ``pods=1,requests.memory=64Mi``."""
    found = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        if (parts := re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)", amount)) and parts[2] in _UNITS:
            found[name] = Decimal(parts[1]) * _UNITS[parts[2]]
    return found
