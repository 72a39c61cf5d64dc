"""OpenID Connect, with a provider in this process that can be made to do anything."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from jobsys.errors import UsageError
from jobsys.server.auth.base import NotRecognisedError
from jobsys.server.auth.oidc import ASK_AGAIN, KEYS_FOR, LEEWAY, REMEMBERED, OpenIdConnect, Provider
from jobsys.server.tes.exceptions import UnauthorizedException
from jobsys.server.tes.security import get_oidc_introspect_url, get_oidc_jwks_uri, validate_bearer_token

RSA = rsa.generate_private_key(65537, 2048)
KINDS = {
    "RSAPrivateKey": jwt.algorithms.RSAAlgorithm,
    "ECPrivateKey": jwt.algorithms.ECAlgorithm,
    "Ed25519PrivateKey": jwt.algorithms.OKPAlgorithm,
}
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


class Site:
    """The provider."""

    def __init__(self):
        self.asked: list[str] = []
        self.keys = dict(KEYS)
        self.opaque: dict[str, Any] = {}
        self.broken = False
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                self.answer({"/jwks": site.jwks, "/.well-known/openid-configuration": site.document}.get(self.path, dict)())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                site.asked.append("introspect")
                self.answer(site.opaque.get(body.partition("=")[2], {"active": False}))

            def answer(self, told):
                self.send_response(500 if site.broken else 200)
                self.end_headers()
                self.wfile.write(json.dumps(told).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"

    def document(self):
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", "introspection_endpoint": f"{self.issuer}/introspect"}

    def jwks(self):
        found = []
        for name, key in self.keys.items():
            kind: Any = KINDS[type(key).__name__.lstrip("_")]
            found.append({**json.loads(kind.to_jwk(key.public_key())), "kid": name})
        return {"keys": [*found, {"kty": "strange", "kid": "?"}]}

    def token(self, algorithm="RS256", key=None, kid=None, **more):
        claims = {"iss": self.issuer, "sub": "alice", "aud": "jobs", "exp": time.time() + 600, "scope": "jobs:read jobs:write", **more}
        claims = {name: value() if callable(value) else value for name, value in claims.items() if value is not None}
        secret: Any = None if algorithm == "none" else key or KEYS[algorithm]
        return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": kid or algorithm})


@pytest.fixture
def site():
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Clock:
    def __init__(self):
        self.passed = 0.0

    def __call__(self):
        return time.time() + self.passed


def knowing(site, clock=time.time, **more):
    return OpenIdConnect(Provider(site.issuer, audience="jobs", **more), clock)


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_good_tokens(site, algorithm):
    assert knowing(site).recognise(f"Bearer {site.token(algorithm)}").name == "alice"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"aud": "other"}, "not good"),
        ({"aud": None}, "not good"),
        ({"iss": "http://other"}, "not good"),
        ({"exp": lambda: time.time() - LEEWAY - 60}, "not good"),
        ({"exp": None}, "not good"),
        ({"nbf": lambda: time.time() + LEEWAY + 600}, "not good"),
        ({"scope": "jobs:write"}, "lacks the scope jobs:read"),
        ({"scope": None}, "lacks the scope"),
        ({"sub": None}, "whose it is"),
        ({"key": rsa.generate_private_key(65537, 2048)}, "not good"),
        ({"kid": "unknown"}, "key that the provider does not have"),
        ({"kid": "?"}, "key that the provider does not have"),
        ({"algorithm": "HS256", "key": "x" * 64, "kid": "RS256"}, "signed by HS256"),
        ({"algorithm": "none", "key": "", "kid": "RS256"}, "signed by none"),
    ],
)
def test_bad_tokens(site, change, says):
    with pytest.raises(NotRecognisedError, match=says):
        knowing(site, scope="jobs:read").recognise(f"Bearer {site.token(**change)}")


@pytest.mark.parametrize("token", ["a.b.c", "..", "é.é.é", "eyJhbGciOiJSUzI1NiJ9.e30."])
def test_what_only_looks_like_one(site, token):
    with pytest.raises(NotRecognisedError):
        knowing(site).recognise(f"Bearer {token}")


def test_clocks_may_differ_a_little(site):
    assert knowing(site).recognise(f"Bearer {site.token(exp=time.time() - LEEWAY / 2)}").name == "alice"


def test_keys_are_asked_for_seldom(site):
    clock = Clock()
    oidc = knowing(site, clock)
    for _ in range(5):
        oidc.recognise(f"Bearer {site.token()}")
    assert site.asked.count("/jwks") == 1
    for _ in range(5):
        with pytest.raises(NotRecognisedError):
            oidc.recognise(f"Bearer {site.token(kid='new')}")
    assert site.asked.count("/jwks") == 1
    site.keys["new"] = KEYS["RS256"]
    clock.passed += ASK_AGAIN
    assert oidc.recognise(f"Bearer {site.token(kid='new')}").name == "alice"
    assert site.asked.count("/jwks") == 2
    clock.passed += KEYS_FOR + 1
    oidc.recognise(f"Bearer {site.token(exp=clock() + 60)}")
    assert site.asked.count("/jwks") == 3


def test_opaque_tokens_are_asked_about_and_remembered_for_a_while(site):
    clock = Clock()
    oidc = knowing(site, clock, client_id="me", client_secret="s")
    site.opaque["t1"] = {"active": True, "sub": "bob", "aud": ["jobs"], "groups": ["users"]}
    assert oidc.recognise("Bearer t1").name == "bob"
    site.opaque["t1"] = {"active": False}
    assert oidc.recognise("Bearer t1").name == "bob"
    clock.passed += REMEMBERED + 1
    with pytest.raises(NotRecognisedError, match="any more"):
        oidc.recognise("Bearer t1")
    assert site.asked.count("introspect") == 2
    site.opaque["t2"] = {"active": True, "sub": "bob", "aud": "other"}
    with pytest.raises(NotRecognisedError, match="another service"):
        oidc.recognise("Bearer t2")
    with pytest.raises(NotRecognisedError, match="no client id"):
        knowing(site).recognise("Bearer t1")


def test_admins(site):
    oidc = knowing(site, admins=("root", "group:admins"))
    assert not oidc.recognise(f"Bearer {site.token()}").admin
    assert oidc.recognise(f"Bearer {site.token(sub='root')}").admin
    assert oidc.recognise(f"Bearer {site.token(groups=['users', 'admins'])}").admin


def test_a_provider_that_is_out_of_order(site):
    site.broken = True
    with pytest.raises(NotRecognisedError, match="can't be asked"):
        knowing(site).recognise(f"Bearer {site.token()}")
    with pytest.raises(UsageError, match="does not answer"):
        knowing(site).endpoint("jwks_uri")
    site.broken = False
    assert knowing(site).recognise(f"Bearer {site.token()}").name == "alice"


def test_a_provider_that_is_another_one(site):
    with pytest.raises(UsageError, match="calls itself"):
        OpenIdConnect(Provider(site.issuer + "/")).endpoint("jwks_uri")


def test_by_the_names_of_the_specification(site, monkeypatch):
    monkeypatch.setenv("JOBSYS_SERVER_AUTH", "oidc")
    monkeypatch.setenv("OIDC_ISSUER", site.issuer)
    monkeypatch.setenv("OIDC_AUDIENCE", "jobs")
    assert get_oidc_jwks_uri() == f"{site.issuer}/jwks"
    assert get_oidc_introspect_url() == f"{site.issuer}/introspect"
    assert validate_bearer_token(site.token())["sub"] == "alice"
    with pytest.raises(UnauthorizedException):
        validate_bearer_token("x")
