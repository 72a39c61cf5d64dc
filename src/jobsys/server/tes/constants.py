"""What is fixed about the TES API, and its settings where nobody sets them. Names and values are those of the specification."""

import os
from dataclasses import dataclass
from typing import Final, Literal

API_VERSION: Final = "1.1.0"
"""The version of the TES API, as service-info tells it."""


class PoiesisApiConstants:
    """Constants of the TES API."""

    SPEC_GIT_HASH: Final = "c4c17c9"
    TES_VERSION: Final = f"v{API_VERSION}"
    BASE_PATH: Final = "ga4gh/tes/v1"

    @dataclass(frozen=True)
    class Auth:
        """Who may call."""

        AUTH: Literal["none", "dummy", "basic", "tokens", "oidc"] = "dummy"

        class OIDC:
            """The OpenID Connect provider, from the environment."""

            ISSUER: Final = os.environ.get("OIDC_ISSUER")
            CLIENT_ID: Final = os.environ.get("OIDC_CLIENT_ID")
            INTROSPECT_ENDPOINT: Final = os.environ.get("OIDC_INTROSPECT_ENDPOINT")
            DISCOVERY_URL: Final = f"{os.environ.get('OIDC_ISSUER')}/.well-known/openid-configuration"

    class Gunicorn:
        """Where and how the server listens; it is uvicorn here, and the name stays that of the specification."""

        HOST: Final = "127.0.0.1"
        PORT: Final = "8000"
        TIMEOUT: Final = "120"
        WORKERS: Final[str | None] = None

    class Task:
        """What a task is like of which the client does not say."""

        NAME: Final = "jobsys-tes-task"


def get_poiesis_api_constants() -> PoiesisApiConstants:
    """Give the constants."""
    return PoiesisApiConstants()
