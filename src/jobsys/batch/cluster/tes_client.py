"""A small client of GA4GH TES 1.1: one request a method, and what each answer that is no success means. Knows nothing of asks."""

import importlib
import json
import logging
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from jobsys.batch.cluster.scheduler import AskRefusedError, PassingError
from jobsys.errors import BatchSystemError, UsageError
from jobsys.storage.sessions import Sessions

logger = logging.getLogger(__name__)

SECONDS: Final = 60.0
PAGE: Final = 1000
"""Tasks in one answer; the specification allows up to 2047, and fewer may come."""
BASE: Final = "/ga4gh/tes/v1"
PASSING: Final = frozenset({401, 403, 408, 425, 429})
"""Beside 500 and above: credentials, too, may be renewed."""
LONGEST: Final = 500


class TesClient:
    """One endpoint, for one user."""

    def __init__(self, url: str, token_file: str = "") -> None:
        """Send nothing yet; credentials come from the file or from the environment (JOBSYS_TES_TOKEN, or _USER and _PASSWORD).

        Raises:
            UsageError: it is no URL of a server.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise UsageError(f"{parts.scheme}://{parts.hostname or ''}: a TES endpoint is https://HOST, or https://HOST/ga4gh/tes/v1")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or BASE}"
        self._token_file = token_file
        self._answered = False
        self._sessions = Sessions(self.url, {"Accept": "application/json"})
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            logger.warning("what %s is sent, secrets included, can be read on the way: use https", self.url)

    def create(self, task: Mapping[str, Any]) -> str:
        """Create a task and return its id; it is sent once, for nobody knows whether one without an answer was taken.

        Raises:
            PassingError: nobody knows whether it was taken.
            AskRefusedError: it was not, and never will be.
        """
        status, answer = self._request("POST", "/tasks", body=task)
        if status in (401, 403):
            way = "set JOBSYS_TES_TOKEN, JOBSYS_TES_USER and JOBSYS_TES_PASSWORD, or --batch-option token-file="
            raise AskRefusedError(f"{self.url} wants other credentials ({status}: {words(answer)}): {way}")
        self._check(status, answer)
        if status >= 300 or not isinstance(answer, dict) or not answer.get("id"):
            way = "see what the message wants changed, or whether this is the URL of a TES endpoint"
            raise AskRefusedError(f"{self.url} does not take the task ({status}: {words(answer)}): {way}")
        return str(answer["id"])

    def tasks(self, tags: Mapping[str, str], prefix: str, view: str) -> Iterator[dict[str, Any]]:
        """Give the tasks that have these tags and a name with this prefix, page by page.

        Raises:
            PassingError: the server does not tell now.
            BatchSystemError: there is no such server at this URL.
        """
        query = {"name_prefix": prefix, "view": view, "page_size": str(PAGE), "tag_key": list(tags), "tag_value": list(tags.values())}
        token = ""
        while True:
            status, answer = self._request("GET", "/tasks", query={**query, **({"page_token": token} if token else {})})
            if status != 200 or not isinstance(answer, dict):
                self._check(status, answer)
                # what has answered before is there: a proxy in front of it may say otherwise for a while
                kind = PassingError if self._answered else BatchSystemError
                raise kind(f"{self.url} lists no tasks ({status}: {words(answer)}): is that the URL of a TES endpoint?")
            self._answered = True
            yield from answer.get("tasks") or ()
            seen, token = token, answer.get("next_page_token") or ""
            if not token or token == seen:
                return

    def task(self, id: str) -> dict[str, Any] | None:
        """Give all that is known of a task; None if nothing is.

        Raises:
            PassingError: the server does not tell now.
        """
        status, answer = self._request("GET", f"/tasks/{quote(id, safe='')}", query={"view": "FULL"})
        self._check(status, answer)
        return answer if status == 200 and isinstance(answer, dict) else None

    def cancel(self, id: str) -> None:
        """Cancel a task; one that has ended, or is not there, is no error, however the server puts that.

        Raises:
            PassingError: it can't now.
        """
        self._check(*self._request("POST", f"/tasks/{quote(id, safe='')}:cancel", body={}))

    def close(self) -> None:
        """Close the connections."""
        self._sessions.close()

    def _check(self, status: int, answer: Any) -> None:
        if status in PASSING or status >= 500:
            raise PassingError(f"{self.url} can't do it now ({status}: {words(answer)})")

    def _request(self, method: str, path: str, query: Any = None, body: Any = None) -> tuple[int, Any]:
        requests = importlib.import_module("requests")
        try:
            with self._sessions.borrow() as session:
                response = session.request(
                    method, self.url + path, params=query, json=body, headers=self._credentials(), timeout=SECONDS, allow_redirects=False
                )
                return response.status_code, answer_of(response.text)
        except requests.RequestException as error:
            cause = getattr(error.args[0] if error.args else None, "reason", error)  # without the tale of tries around it
            raise PassingError(f"{self.url} does not answer: {cause}") from error

    def _credentials(self) -> dict[str, str]:
        """Give the header that says who asks, read anew each time: tokens are replaced before they expire."""
        try:
            token = Path(self._token_file).read_text().strip() if self._token_file else os.environ.get("JOBSYS_TES_TOKEN", "")
        except OSError as error:
            raise PassingError(f"the token can't be read from {self._token_file}: {error.strerror}") from error
        user = os.environ.get("JOBSYS_TES_USER", "")
        if token:
            return {"Authorization": f"Bearer {token}"}
        if user:
            pair = f"{user}:{os.environ.get('JOBSYS_TES_PASSWORD', '')}"
            return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        return {}


def answer_of(text: str) -> Any:
    """Read an answer: JSON, else text, which a proxy may send."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def words(answer: Any) -> str:
    """Find what an answer says is wrong; each server has its own word for that."""
    if isinstance(answer, dict):
        for key in ("message", "msg", "detail", "error", "title"):
            if isinstance(answer.get(key), str):
                return str(answer[key])[:LONGEST]
    return (answer if isinstance(answer, str) else json.dumps(answer))[:LONGEST]
