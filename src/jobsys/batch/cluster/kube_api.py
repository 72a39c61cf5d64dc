"""The way to an API server of Kubernetes: who we are by the official package, requests as plain JSON over its pool of connections.

Its models and the signatures of its calls change from version to version; what is used of it here has not since version 12.
"""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jobsys.batch.cluster.scheduler import PassingError
from jobsys.errors import BatchSystemError, UsageError

Json = dict[str, Any]

PAGE: Final = 500
METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 60.0
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_IN_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class AnswerError(BatchSystemError):
    """The API server said no; ``status`` is that of HTTP, ``reason`` one of its own words, such as ``AlreadyExists``."""

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        """Tell what it said."""
        super().__init__(message)
        self.status = status
        self.reason = reason


class Api:
    """Requests to one API server, in one namespace."""

    def __init__(self, kubeconfig: str = "", context: str = "", namespace: str = "") -> None:
        """Log nobody in yet; empty: what KUBECONFIG or ``~/.kube/config`` say, or else the pod in which this process runs."""
        self._from = (kubeconfig, context)
        self._namespace = namespace
        self._login: tuple[Any, Any] | None = None  # the package's configuration, and a pool of connections
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
        more = ""
        while True:
            told = self.request("GET", self.path(kind), None, accept, **query, limit=str(PAGE), **({"continue": more} if more else {}))
            yield from told.get("items") or ()
            more = (told.get("metadata") or {}).get("continue") or ""
            if not more:
                return

    def request(self, method: str, path: str, body: Json | None = None, accept: str = "", /, **query: str) -> Json:
        """Send a request; give the answer.

        Raises:
            PassingError: there was no answer, or one that says that the server is out of order or too busy.
            AnswerError: the server says no.
        """
        target = path + (f"?{urlencode(query)}" if query else "")
        status, text = self._send(method, target, body, accept)
        if status == 401:  # a token may have been replaced since
            self._login = None
            status, text = self._send(method, target, body, accept)
        if 200 <= status < 300:
            return _object(text)
        said = _object(text)
        message = f"{said.get('message') or text.decode(errors='replace')[:500]} (HTTP {status})"
        if status in _PASSING or said.get("reason") == "Expired":  # a list that took too long begins anew
            raise PassingError(f"Kubernetes: {message}")
        raise AnswerError(f"Kubernetes: {message}", status, str(said.get("reason", "")))

    def _send(self, method: str, target: str, body: Json | None, accept: str) -> tuple[int, bytes]:
        configuration, pool = self._log_in()
        urllib3 = importlib.import_module("urllib3")
        headers = {"Accept": accept or "application/json", "Accept-Encoding": "gzip", "User-Agent": "jobsys"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for setting in configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        try:
            answer = pool.request(
                method,
                configuration.host.rstrip("/") + target,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise PassingError(f"Kubernetes at {configuration.host} does not answer: {error}") from error
        return int(answer.status), bytes(answer.data)

    def _log_in(self) -> tuple[Any, Any]:
        """Read who we are, once."""
        if self._login is None:
            client, config = _package()
            configuration = client.Configuration()
            namespace = self._configure(config, configuration)
            self._namespace = self._namespace or namespace or "default"
            self._login = configuration, importlib.import_module("kubernetes.client.rest").RESTClientObject(configuration).pool_manager
        return self._login

    def _configure(self, config: Any, configuration: Any) -> str:
        kubeconfig, context = (text or None for text in self._from)
        try:
            config.load_kube_config(kubeconfig, context, configuration, persist_config=False)
            contexts, current = config.list_kube_config_contexts(kubeconfig)
            chosen = next((one for one in contexts if one["name"] == context), current)
            return str(chosen["context"].get("namespace") or "")
        except config.ConfigException as error:
            if kubeconfig is not None or context is not None or not _IN_POD.exists():
                way = "give --batch-option kubeconfig=FILE, or set KUBECONFIG; `kubectl get pods` tells whether that works"
                raise UsageError(f"Kubernetes can't be reached: {error}: {way}") from error
        config.load_incluster_config(client_configuration=configuration)
        return _IN_POD.read_text().strip()


def _package() -> tuple[Any, Any]:
    """Load the official package, which takes its time."""
    try:
        return importlib.import_module("kubernetes.client"), importlib.import_module("kubernetes.config")
    except ModuleNotFoundError as error:
        raise UsageError("--batch-system kubernetes needs a package more: pip install 'jobsys[kubernetes]'") from error


def _object(text: bytes) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
