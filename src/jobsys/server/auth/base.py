"""Who calls, and whose tasks they may see and cancel."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Caller(NamedTuple):
    """Somebody who was recognised."""

    name: str
    admin: bool = False
    claims: Mapping[str, Any] = {}  # what their token says


class Access(StrEnum):
    """Whose tasks a caller has to do with."""

    ALL = "all"
    OWNER = "owner"
    OWNER_OR_ADMIN = "owner-or-admin"


class NotRecognisedError(Exception):
    """Credentials are missing or wrong; the text says which, and nothing that helps to guess them."""


class Authenticator(ABC):
    """Tells callers by the value of the header ``Authorization``."""

    scheme: str = "Bearer"
    """What the server asks for in ``WWW-Authenticate``."""

    @abstractmethod
    def recognise(self, authorization: str) -> Caller:
        """Tell who calls.

        Args:
            authorization: the header's value; empty without one.

        Raises:
            NotRecognisedError: nobody knows.
        """


def owner_filter(access: Access, caller: Caller) -> str | None:
    """Give the owner whose tasks a caller may see and cancel; None for everybody's."""
    if access is Access.ALL or (access is Access.OWNER_OR_ADMIN and caller.admin):
        return None
    return caller.name
