"""One download over HTTP into a file, going on where an earlier one broke off. Knows neither archives nor places, and does not try again.

URLs below the value of JOBSYS_STORE_URL are asked for with the token in JOBSYS_STORE_TOKEN; nobody else sees it. That server may send us
on to where the bytes lie; if that place does not do, it is asked for the bytes themselves.
"""

import http.client
import os
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLCertVerificationError
from typing import IO, Final
from urllib.parse import unquote, urlsplit

from jobsys.errors import NotFoundError, StorageError, TransferError
from jobsys.manifest import shown

PIECE: Final = 1 << 18
_TIMEOUT: Final = 60
_ELSEWHERE_TIMEOUT: Final = 20  # behind it is another way
_PASSING: Final = frozenset((408, 416, 425, 429))
_MAY_SEND_ON: Final = "Jobsys-elsewhere"  # as urllib writes it; jobsys.storage.wire.ELSEWHERE


def fetch(url: str, target: str) -> None:
    """Download into a file; one that is there is taken for the beginning.

    Raises:
        TransferError: the server was out of order or the connection broke.
        NotFoundError: the server refuses the URL.
    """
    have = os.path.getsize(target) if os.path.exists(target) else 0
    with _naming(url):
        try:
            answer = _begin(url, have)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and have and error.headers.get("Content-Range") == f"bytes */{have}":
                    return  # it is all there
            if error.code == 416 and have:
                os.truncate(target, 0)
            raise _refusal(url, error.code, error.reason) from error
    with answer:
        if answer.status not in {200, 206}:
            raise _refusal(url, answer.status, answer.reason)
        if answer.status == 206 and not re.match(rf"bytes {have}-", answer.headers.get("Content-Range", f"bytes {have}-")):
            os.truncate(target, 0)
            raise TransferError(f"{shown(url)}: the server sent another part than was asked for")
        with open(target, "ab" if answer.status == 206 else "wb", buffering=0) as stream:
            for piece in _pieces(url, answer):
                stream.write(piece)


def _begin(url: str, have: int) -> http.client.HTTPResponse:
    redirects = _Redirects()
    try:
        return _open(url, have, redirects)
    except (OSError, http.client.HTTPException) as error:
        if not redirects.left_the_store:
            raise
        if isinstance(error, urllib.error.HTTPError):
            error.close()
    return _open(url, have, redirects)


def _refusal(url: str, status: int, reason: str) -> StorageError:
    kind = TransferError if status in _PASSING or status >= 500 else NotFoundError
    return kind(f"{shown(url)}: the server answered {status} {reason}")


def _pieces(url: str, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        with _naming(url):
            piece = answer.read(PIECE)
        if not piece:
            break
        yield piece
    if answer.length:
        raise TransferError(f"{shown(url)}: the transfer broke off: {answer.length} bytes are missing")


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Say of which URL the transfer broke off."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, SSLCertVerificationError):
            problem = f"{shown(url)}: this host does not trust the server's certificate: {cause}; SSL_CERT_FILE may name its authority"
            raise StorageError(problem) from error
        raise TransferError(f"{shown(url)}: the transfer broke off: {cause or type(cause).__name__}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to servers only, and takes credentials nowhere."""

    left_the_store = False

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Make the request for the new place."""
        if urlsplit(newurl).scheme not in {"http", "https"}:
            raise NotFoundError(f"{shown(req.full_url)}: the server sends us to {shown(newurl)}, which is no server")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            _authorize(request)
            if req.has_header(_MAY_SEND_ON) and not request.has_header("Authorization"):
                self.left_the_store = True
                request.remove_header(_MAY_SEND_ON)
                req.timeout = _ELSEWHERE_TIMEOUT
        return request


def _open(url: str, have: int, redirects: _Redirects) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=server, fragment="").geturl(), headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    if user:
        request.add_unredirected_header("Authorization", "Basic " + b64encode(unquote(user).encode()).decode())
    if _authorize(request) and not redirects.left_the_store:
        request.add_header(_MAY_SEND_ON, "1")
    answer: http.client.HTTPResponse = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT)
    return answer


def _authorize(request: urllib.request.Request) -> bool:
    """Add the job store's token, where the request goes to the job store; tell whether it does."""
    base, token = os.environ.get("JOBSYS_STORE_URL", "").rstrip("/"), os.environ.get("JOBSYS_STORE_TOKEN")
    if base and token and (request.full_url == base or request.full_url.startswith(f"{base}/")):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
        return True
    return False
