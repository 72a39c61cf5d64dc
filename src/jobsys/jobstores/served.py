"""Job stores behind a server: for workers on hosts that do not share a directory with the leader."""

import os
from urllib.parse import urlsplit

from jobsys.errors import LocatorError
from jobsys.jobstores import keys
from jobsys.storage import wire
from jobsys.storage.served import ServedStorage


def parse(locator: str) -> str:
    """Read a URL as ``http://host:port``, the form that leads back to itself."""
    wrong = f"{locator!r} names no job store behind a server; write http://host:port"
    try:
        parts = urlsplit(locator)
        parts.port  # noqa: B018 - checks it
    except ValueError as error:
        raise LocatorError(f"{wrong} ({error})") from None
    if parts.username is not None or parts.password is not None:
        raise LocatorError(f"a locator can't hold a password: give the token in the environment variable {wire.TOKEN_VARIABLE}")
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise LocatorError(wrong)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def storage(url: str) -> ServedStorage:
    """Give the storage behind a URL, with the token from the environment."""
    token = os.environ.get(wire.TOKEN_VARIABLE, "")
    if not wire.is_token(token):
        state = "holds what can't be a token" if token else "is not set"
        way = "set it to the token that its server was started with"
        raise LocatorError(f"{url} needs a token, and the environment variable {wire.TOKEN_VARIABLE} {state}: {way}")
    return ServedStorage(url, token, immutable=keys.immutable)
