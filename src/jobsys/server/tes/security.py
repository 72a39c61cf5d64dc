"""Tells callers by their bearer tokens, outside of a request. The names are those of the specification."""

import os
from typing import Any

from jobsys.errors import UsageError
from jobsys.server.auth.base import NotRecognisedError
from jobsys.server.auth.choose import make
from jobsys.server.auth.oidc import OpenIdConnect
from jobsys.server.tes.constants import PoiesisApiConstants
from jobsys.server.tes.exceptions import InternalServerException, UnauthorizedException


def validate_bearer_token(token: str) -> dict[str, Any]:
    """Tell who a token was given to, by the authentication that the environment names (``JOBSYS_SERVER_AUTH``).

    Returns:
        What the token says; ``sub`` is the caller's name.

    Raises:
        UnauthorizedException: it is not good.
    """
    kind = os.environ.get("JOBSYS_SERVER_AUTH", PoiesisApiConstants.Auth().AUTH)
    try:
        caller = make(kind, os.environ.get("JOBSYS_SERVER_AUTH_FILE", "")).recognise(f"Bearer {token}")
    except NotRecognisedError as error:
        raise UnauthorizedException(str(error)) from error
    return {**caller.claims, "sub": caller.name}


def get_oidc_introspect_url() -> str:
    """Give the URL at which the OpenID provider is asked about tokens.

    Raises:
        InternalServerException: there is no provider, or it can't be asked.
    """
    return os.environ.get("OIDC_INTROSPECT_ENDPOINT") or _endpoint("introspection_endpoint")


def get_oidc_jwks_uri() -> str:
    """Give the URL of the OpenID provider's keys.

    Raises:
        InternalServerException: there is no provider, or it can't be asked.
    """
    return _endpoint("jwks_uri")


def _endpoint(name: str) -> str:
    try:
        provider = make("oidc")
        assert isinstance(provider, OpenIdConnect)
        return provider.endpoint(name)
    except UsageError as error:
        raise InternalServerException(str(error)) from error
