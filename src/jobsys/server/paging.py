"""Page tokens: opaque, signed, and good only for the question that they answer."""

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

_TAG: Final = 12


class PageTokenError(ValueError):
    """A token that was not made for this question; the text says what is wrong with it."""


def make_token(key: bytes, question: Any, last: int) -> str:
    """Make the token of the page behind the item of number ``last``.

    Args:
        key: the server's.
        question: what was asked for, as something of JSON; another page of another question would be wrong.
        last: the number of the last item that was given.
    """
    body = last.to_bytes(8, "big")
    return base64.urlsafe_b64encode(body + _tag(key, question, body)).decode().rstrip("=")


def read_token(key: bytes, question: Any, token: str) -> int:
    """Give the number of the last item before a page.

    Raises:
        PageTokenError: the token was damaged, or made for another question.
    """
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    body, tag = data[:8], data[8:]
    if len(data) != 8 + _TAG or not hmac.compare_digest(tag, _tag(key, question, body)):
        raise PageTokenError("the page_token is none of this list: begin again without it, or ask with the same filters as before")
    return int.from_bytes(body, "big")


def _tag(key: bytes, question: Any, body: bytes) -> bytes:
    asked = msgspec.json.encode(question, order="deterministic")
    return hmac.new(key, asked + body, hashlib.sha256).digest()[:_TAG]
