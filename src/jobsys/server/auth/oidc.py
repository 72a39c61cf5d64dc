"""Callers by OpenID Connect: tokens that are JWTs are checked with the provider's keys, all others are asked about.

Sources: OpenID Connect Discovery 1.0; RFC 7519 (JWT), RFC 9068 (access tokens as JWTs), RFC 7662 (introspection).
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jwt
import requests

from jobsys.errors import UsageError
from jobsys.server.auth.base import Authenticator, Caller, NotRecognisedError
from jobsys.server.auth.simple import bearer

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""All of them sign with a key that the provider alone has; none, and those with a shared secret, are not among them."""
LEEWAY: Final = 60.0
"""Seconds by which the provider's clock may differ from this one."""
KEYS_FOR: Final = 3600.0
"""Seconds for which the provider's keys are taken to be the same, unless a token names one that is not known."""
ASK_AGAIN: Final = 10.0
"""Seconds between two looks for keys: whoever sends tokens with unknown ones must not make us a nuisance to the provider."""
REMEMBERED: Final = 30.0
"""Seconds for which it is remembered what the provider says of a token."""
_TIMEOUT: Final = 10.0
_MOST: Final = 10_000


class Provider(NamedTuple):
    """Who says who callers are, and what their tokens must say."""

    issuer: str
    audience: str = ""  # one of the token's; empty: any
    scope: str = ""  # words that the token's must hold
    client_id: str = ""  # by which the provider is asked about tokens
    client_secret: str = ""
    introspect_endpoint: str = ""  # empty: what the provider says of itself
    admins: tuple[str, ...] = ()  # by name, or ``group:NAME``


class OpenIdConnect(Authenticator):
    """Knows callers by the tokens of a provider. Used by several threads."""

    def __init__(self, provider: Provider, clock: Callable[[], float] = time.time) -> None:
        """Trust a provider; nothing is asked yet."""
        self._provider = provider
        self._clock = clock
        self._lock = threading.Lock()
        self._document: Mapping[str, Any] = {}
        self._keys: dict[str, Any] = {}
        self._keys_at = -ASK_AGAIN
        self._known: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def recognise(self, authorization: str) -> Caller:
        """Tell who a token was given to."""
        claims = self.claims(bearer(authorization))
        name = str(claims.get("sub") or claims.get("client_id") or "")
        if not name:
            raise NotRecognisedError("the token does not say whose it is")
        groups = claims.get("groups")
        roles = {f"group:{each}" for each in groups} if isinstance(groups, list) else set()
        return Caller(name, not roles.union({name}).isdisjoint(self._provider.admins), claims)

    def claims(self, token: str) -> Mapping[str, Any]:
        """Give what a token says, if it is good.

        Raises:
            NotRecognisedError: it is not, or nobody can tell.
        """
        claims = self._signed(token) if token.count(".") == 2 else self._asked(token)
        missing = set(self._provider.scope.split()) - _words(claims.get("scope") or claims.get("scp"))
        if missing:
            raise NotRecognisedError(f"the token lacks the scope {' '.join(sorted(missing))}")
        return claims

    def endpoint(self, name: str) -> str:
        """Give a URL out of what the provider says of itself.

        Raises:
            UsageError: it can't be reached, or does not say.
        """
        with self._lock:
            if not self._document:
                self._document = self._get(f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration")
        found = self._document.get(name)
        if self._document.get("issuer") != self._provider.issuer or not isinstance(found, str):
            itself = self._document.get("issuer")
            raise UsageError(f"{self._provider.issuer} is not the OpenID provider that it should be: it calls itself {itself!r}")
        return found

    # ── signed tokens ────────────────────────────────────────────────────────────────────────────────────────────────

    def _signed(self, token: str) -> Mapping[str, Any]:
        provider = self._provider
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise NotRecognisedError(f"tokens signed by {header.get('alg')} are not taken")
            key = self._key(str(header.get("kid", "")))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                issuer=provider.issuer,
                audience=provider.audience or None,
                leeway=LEEWAY,
                options={"require": ["exp"], "verify_aud": bool(provider.audience)},
            )
        except jwt.PyJWTError as error:
            raise NotRecognisedError(f"the token is not good: {error}") from error
        return claims

    def _key(self, name: str) -> Any:
        """Find a key; asks the provider for its keys where there is none of that name."""
        with self._lock:
            age = self._clock() - self._keys_at
            fresh = age > KEYS_FOR or (name not in self._keys and age >= ASK_AGAIN)
        if fresh:
            self._fetch_keys()
        found = self._keys.get(name) if name else next(iter(self._keys.values()), None)
        if found is None:
            raise NotRecognisedError("the token was signed by a key that the provider does not have")
        return found

    def _fetch_keys(self) -> None:
        try:
            told = self._get(self.endpoint("jwks_uri"))
        except UsageError as error:
            raise NotRecognisedError("nobody can tell whether the token is good: the OpenID provider can't be asked") from error
        keys = {}
        for each in told.get("keys", []):
            try:
                keys[str(each.get("kid", ""))] = jwt.PyJWK(each).key
            except jwt.PyJWTError:  # of a kind that we don't know: whoever signs by it is not recognised
                continue
        with self._lock:
            self._keys, self._keys_at = keys, self._clock()

    # ── tokens that say nothing ──────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, token: str) -> Mapping[str, Any]:
        digest, now = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        with self._lock:
            until, claims = self._known.get(digest, (0.0, {}))
        if until < now:
            claims = self._introspect(token)
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[digest] = (now + REMEMBERED, claims)
        if not claims.get("active"):
            raise NotRecognisedError("the token is not good (any more)")
        if isinstance(claims.get("exp"), int | float) and claims["exp"] + LEEWAY < now:
            raise NotRecognisedError("the token has run out")
        audience = claims.get("aud")
        wanted = self._provider.audience
        if wanted and wanted != audience and not (isinstance(audience, list) and wanted in audience):
            raise NotRecognisedError("the token is meant for another service")
        return claims

    def _introspect(self, token: str) -> Mapping[str, Any]:
        provider = self._provider
        if not provider.client_id:
            raise NotRecognisedError("the token is no JWT, and the provider can't be asked about it: no client id is configured")
        try:
            url = provider.introspect_endpoint or self.endpoint("introspection_endpoint")
            answer = requests.post(url, data={"token": token}, auth=(provider.client_id, provider.client_secret), timeout=_TIMEOUT)
            answer.raise_for_status()
            told = answer.json()
        except (UsageError, requests.RequestException) as error:
            raise NotRecognisedError("nobody can tell whether the token is good: the OpenID provider can't be asked") from error
        return told if isinstance(told, dict) else {}

    def _get(self, url: str) -> dict[str, Any]:
        try:
            answer = requests.get(url, timeout=_TIMEOUT)
            answer.raise_for_status()
            told = answer.json()
        except requests.RequestException as error:
            raise UsageError(f"the OpenID provider does not answer at {url}: {type(error).__name__}") from error
        if not isinstance(told, dict):
            raise UsageError(f"{url} holds no JSON object")
        return told


def _words(scope: Any) -> set[str]:
    return set(scope) if isinstance(scope, list) else set(str(scope or "").split())
