"""Authenticators that need nobody else: nobody is asked, everybody is one, passwords in a file, tokens in a file."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from jobsys.errors import UsageError
from jobsys.server.auth.base import Authenticator, Caller, NotRecognisedError

_ROUNDS: Final = {"n": 2**14, "r": 8, "p": 1}
_NOBODY: Final = "scrypt$" + "00" * 16 + "$" + "00" * 32


class Nobody(Authenticator):
    """Asks nobody: all callers are the same one."""

    def recognise(self, authorization: str) -> Caller:  # noqa: ARG002 - nobody is asked
        """Tell nothing."""
        return Caller("", admin=True)


class Dummy(Authenticator):
    """Takes any bearer token, and each for another caller: for trying things out."""

    def recognise(self, authorization: str) -> Caller:
        """Tell callers by their tokens."""
        token = bearer(authorization)
        return Caller("dummy-" + hashlib.sha256(token.encode()).hexdigest()[:16], claims={"sub": "dummy"})


class Passwords(Authenticator):
    """Asks for a name and a password (RFC 7617)."""

    scheme = 'Basic realm="jobsys", charset="UTF-8"'

    def __init__(self, path: str) -> None:
        """Read a JSON file: name -> {"password": what ``hashed`` gives, "admin": true}.

        Raises:
            UsageError: the file can't be read, or is none.
        """
        self._users = _entries(path, "password")

    def recognise(self, authorization: str) -> Caller:
        """Tell callers by name and password; it takes as long for a name that there is not."""
        scheme, _, coded = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise NotRecognisedError("a name and a password are needed")
        try:
            name, _, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
        except ValueError as error:
            raise NotRecognisedError("the credentials can't be read") from error
        user = self._users.get(name)
        if not matches(password, user["password"] if user else _NOBODY) or user is None:
            raise NotRecognisedError("the name or the password is wrong")
        return Caller(name, bool(user.get("admin")))


class Tokens(Authenticator):
    """Knows tokens, by their digests."""

    def __init__(self, path: str) -> None:
        """Read a JSON file: name -> {"token": the SHA-256 of one, "admin": true}.

        Raises:
            UsageError: the file can't be read, or is none.
        """
        self._names = {str(entry["token"]): (name, bool(entry.get("admin"))) for name, entry in _entries(path, "token").items()}

    def recognise(self, authorization: str) -> Caller:
        """Tell callers by their tokens."""
        digest = hashlib.sha256(bearer(authorization).encode()).hexdigest()
        found = self._names.get(digest)
        if found is None:
            raise NotRecognisedError("the token is not known here")
        return Caller(*found)


def bearer(authorization: str) -> str:
    """Give the token of a header (RFC 6750).

    Raises:
        NotRecognisedError: there is none.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotRecognisedError("a bearer token is needed")
    return token.strip()


def hashed(password: str, salt: bytes | None = None) -> str:
    """Give what is kept of a password: scrypt (RFC 7914) with a salt of its own."""
    salt = os.urandom(16) if salt is None else salt
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, dklen=32, **_ROUNDS).hex()}"


def matches(password: str, kept: str) -> bool:
    """Tell whether a password is the one of which this was kept."""
    return hmac.compare_digest(hashed(password, bytes.fromhex(kept.split("$")[1])), kept)


def _entries(path: str, needed: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        with open(path, encoding="utf-8") as stream:
            mode, read = os.fstat(stream.fileno()).st_mode, json.load(stream)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as JSON: {error}") from error
    if mode & 0o077:
        raise UsageError(f"{path} can be read by others: chmod 600 it")
    if not isinstance(read, dict) or not all(isinstance(each, dict) and isinstance(each.get(needed), str) for each in read.values()):
        raise UsageError(f'{path} must hold an object: {{"name": {{"{needed}": "..."}}, ...}}')
    return read
