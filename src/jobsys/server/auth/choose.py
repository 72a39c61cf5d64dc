"""Which authenticator a server has."""

import os
from collections.abc import Mapping
from typing import Final

from jobsys.errors import UsageError
from jobsys.server.auth.base import Authenticator
from jobsys.server.auth.oidc import OpenIdConnect, Provider
from jobsys.server.auth.simple import Dummy, Nobody, Passwords, Tokens

KINDS: Final = ("none", "dummy", "basic", "tokens", "oidc")


def make(kind: str, file: str = "", environment: Mapping[str, str] = os.environ) -> Authenticator:
    """Make an authenticator.

    Args:
        kind: one of ``KINDS``.
        file: of names and passwords, or of tokens.
        environment: says what the OpenID provider is: ``OIDC_ISSUER`` and, where they are needed, ``OIDC_AUDIENCE``, ``OIDC_SCOPE``,
            ``OIDC_CLIENT_ID``, ``OIDC_CLIENT_SECRET``, ``OIDC_INTROSPECT_ENDPOINT``, ``OIDC_ADMINS`` (with commas between them).

    Raises:
        UsageError: something is missing or makes no sense.
    """
    if kind in {"basic", "tokens"} and not file:
        raise UsageError(f"--auth {kind} needs the file of those who may call: --auth-file")
    match kind:
        case "none":
            return Nobody()
        case "dummy":
            return Dummy()
        case "basic":
            return Passwords(file)
        case "tokens":
            return Tokens(file)
        case "oidc":
            return OpenIdConnect(_provider(environment))
    raise UsageError(f"there is no --auth {kind!r}: there are {', '.join(KINDS)}")


def _provider(environment: Mapping[str, str]) -> Provider:
    def told(name: str) -> str:
        return environment.get(f"OIDC_{name}", "").strip()

    if not told("ISSUER"):
        raise UsageError("--auth oidc needs to know the provider: set OIDC_ISSUER to its URL")
    admins = tuple(each for each in told("ADMINS").split(",") if each)
    how = (told("CLIENT_ID"), told("CLIENT_SECRET"), told("INTROSPECT_ENDPOINT"))
    return Provider(told("ISSUER"), told("AUDIENCE"), told("SCOPE"), *how, admins)
