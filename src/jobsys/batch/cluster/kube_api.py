"""Requests to an API server of Kubernetes, as plain JSON over the official package's pool of connections."""

import importlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

from jobsys.batch.cluster.kube_login import Login, log_in
from jobsys.batch.cluster.kube_stream import Stream
from jobsys.batch.cluster.scheduler import PassingError
from jobsys.errors import BatchSystemError

Json = dict[str, Any]

PAGE: Final = 500
METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 60.0
WATCH_SECONDS: Final = 60
"""How long one watch lasts: a connection that was cut unnoticed is not waited for much longer."""
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)


class AnswerError(BatchSystemError):
    """The API server said no; ``status`` is that of HTTP, ``reason`` one of its own words, such as ``AlreadyExists``."""

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        """Tell what it said."""
        super().__init__(message)
        self.status = status
        self.reason = reason


class ExpiredError(PassingError):
    """What was asked for is too long ago: a list, or a watch, begins anew."""


class Api:
    """Requests to one API server, in one namespace."""

    def __init__(self, kubeconfig: str = "", context: str = "", namespace: str = "") -> None:
        """Log nobody in yet; empty: what KUBECONFIG or ``~/.kube/config`` say, or else the pod in which this process runs."""
        self.ahead = 0.0
        """Seconds by which the server's clock is ahead of this machine's, by its last answer."""
        self._from = (kubeconfig, context)
        self._namespace = namespace
        self._login: Login | None = None
        self._version: tuple[int, int] | None = None

    @property
    def namespace(self) -> str:
        """Give the namespace in which everything happens."""
        if not self._namespace:
            self._log_in()
        return self._namespace

    def version(self) -> tuple[int, int]:
        """Give the server's version, such as ``(1, 31)``; asked for once."""
        if self._version is None:
            told = self.request("GET", "/version")
            digits = [re.match(r"\d*", str(told.get(part, "")))[0] for part in ("major", "minor")]  # type: ignore[index]
            self._version = (int(digits[0] or 1), int(digits[1] or 0))
        return self._version

    def path(self, kind: str, name: str = "") -> str:
        """Give the path of objects of this kind in the namespace, or of one of them."""
        group = "apis/batch/v1" if kind == "jobs" else "api/v1"
        return f"/{group}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def get(self, kind: str, name: str) -> Json | None:
        """Give an object; None if there is none of that name."""
        try:
            return self.request("GET", self.path(kind, name))
        except AnswerError as error:
            if error.status == 404:
                return None
            raise

    def create(self, kind: str, what: Json, **query: str) -> Json | None:
        """Make an object; None if there is one of that name."""
        try:
            return self.request("POST", self.path(kind), what, **query)
        except AnswerError as error:
            if error.reason == "AlreadyExists":
                return None
            raise

    def patch(self, kind: str, name: str, change: Json) -> None:
        """Change an object by a merge patch; one that is gone needs no change."""
        try:
            self.request("PATCH", self.path(kind, name), change)
        except AnswerError as error:
            if error.status != 404:
                raise

    def delete(self, kind: str, *, grace: int | None = None, **query: str) -> None:
        """Delete the objects that a query names; ``grace`` in seconds."""
        options: Json = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self.request("DELETE", self.path(kind), options, **query)

    def list(self, kind: str, *, accept: str = "", **query: str) -> Iterator[Json]:
        """Give the objects that a query names, page by page; ``accept`` as `METADATA`: no more than what they are called."""
        for page in self.pages(kind, accept=accept, **query):
            yield from page.get("items") or ()

    def pages(self, kind: str, *, accept: str = "", **query: str) -> Iterator[Json]:
        """Give lists of the objects that a query names, a page each; all pages tell of the same moment."""
        more = ""
        while True:
            page = self.request("GET", self.path(kind), None, accept, **query, limit=str(PAGE), **({"continue": more} if more else {}))
            yield page
            more = (page.get("metadata") or {}).get("continue") or ""
            if not more:
                return

    def watch(self, kind: str, version: str, **query: str) -> Stream:
        """Give what happens to the objects that a query names, from a version on, for `WATCH_SECONDS`.

        Raises:
            ExpiredError: the server does not know any more what has happened since then.
            PassingError: as for `request`.
            AnswerError: as for `request`.
        """
        more = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        answer = self._answer("GET", f"{self.path(kind)}?{urlencode({**query, **more})}", None, "", WATCH_SECONDS + CONNECT_SECONDS)
        if answer.status == 200:
            return Stream(answer)
        raise _refusal(answer.status, _text(answer))

    def request(self, method: str, path: str, body: Json | None = None, accept: str = "", /, **query: str) -> Json:
        """Send a request; give the answer.

        Raises:
            PassingError: there was no answer, or one that says that the server is out of order or too busy.
            AnswerError: the server says no.
        """
        answer = self._answer(method, path + (f"?{urlencode(query)}" if query else ""), body, accept, READ_SECONDS)
        text = _text(answer)
        if 200 <= answer.status < 300:
            return _object(text)
        raise _refusal(answer.status, text)

    def _answer(self, method: str, target: str, body: Json | None, accept: str, seconds: float) -> Any:
        """Send a request; give the answer of urllib3, its body still to be read."""
        answer = self._send(method, target, body, accept, seconds)
        if answer.status == 401:  # a token may have been replaced since
            _text(answer)
            self._login = None
            answer = self._send(method, target, body, accept, seconds)
        with suppress(TypeError, ValueError):  # a proxy may say no date, or none that is one
            self.ahead = parsedate_to_datetime(answer.headers.get("Date")).timestamp() - time.time()
        return answer

    def _send(self, method: str, target: str, body: Json | None, accept: str, seconds: float) -> Any:
        configuration, pool, _ = self._log_in()
        urllib3 = importlib.import_module("urllib3")
        headers = {"Accept": accept or "application/json", "Accept-Encoding": "gzip", "User-Agent": "jobsys"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for setting in configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        try:
            return pool.request(
                method,
                configuration.host.rstrip("/") + target,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise PassingError(f"Kubernetes at {configuration.host} does not answer: {error}") from error

    def _log_in(self) -> Login:
        """Read who we are, once."""
        if self._login is None:
            self._login = log_in(*self._from)
            self._namespace = self._namespace or self._login.namespace or "default"
        return self._login


def _text(answer: Any) -> bytes:
    try:
        return bytes(answer.data)
    except importlib.import_module("urllib3").exceptions.HTTPError as error:
        raise PassingError(f"Kubernetes broke off in the middle of an answer: {error}") from error


def _refusal(status: int, text: bytes) -> BatchSystemError:
    said = _object(text)
    message = f"Kubernetes: {said.get('message') or text.decode(errors='replace')[:500]} (HTTP {status})"
    if status == 410 or said.get("reason") == "Expired":
        return ExpiredError(message)
    return PassingError(message) if status in _PASSING else AnswerError(message, status, str(said.get("reason", "")))


def _object(text: bytes) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
