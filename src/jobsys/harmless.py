"""Text from jobs, and from whoever can write to a job store, on its way to a terminal: it may show things, and do nothing."""

import re
from typing import IO, Final

_COLOUR: Final = r"\x1b\[[0-9;:]*m"
_CONTROL: Final = rf"({_COLOUR}|\r\n)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_ANY: Final = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"


def harmless(text: str) -> str:
    """Let no character move the cursor, change the terminal or answer for the person at it; line ends, tabs and colours stay."""
    return re.sub(_CONTROL, lambda match: match[1] or _picture(match[0]), text)


def colourless(text: str) -> str:
    """Let no control character but line ends and tabs through."""
    return re.sub(_ANY, lambda match: _picture(match[0]), text)


def for_stream(text: str, stream: IO[str]) -> str:
    """Give a text as it is, unless a terminal shows it."""
    return harmless(text) if stream.isatty() else text


def _picture(character: str) -> str:
    if character == "\r":
        return "\n"
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
