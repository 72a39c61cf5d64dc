"""What all servers' applications have in common: one shape of errors for everything, limits, and headers."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    503: "unavailable",
}


_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def envelope(status: int, message: str, error: str = "", details: Any = None) -> dict[str, Any]:
    """Give the body of every answer that is no success: what WES fixes (``msg``, ``status_code``) and what the TES names fix."""
    code = error or CODES.get(status, "internal_error")
    return {"msg": message, "status_code": status, "error": code, "message": message, "details": details}


def answer(status: int, message: str, error: str = "", details: Any = None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Answer with an error."""
    return JSONResponse(envelope(status, message, error, details), status, dict(headers or {}))


def problems(errors: Iterable[Any]) -> list[dict[str, str]]:
    """List what is wrong with a request: each ``field``, as a path such as ``executors[0].image``, and its ``problem``."""
    return [{"field": _path(each["loc"]), "problem": _problem(each)} for each in errors]


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path.removeprefix("body.").removeprefix("query.").removeprefix("path.").removeprefix("header.") or path


def _problem(error: Mapping[str, Any]) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "json_invalid":
        return f"is no JSON: {error.get('ctx', {}).get('error', text)}"
    return text


def add_error_handlers(app: FastAPI) -> None:
    """Give all errors the same shape, those of the framework included."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = problems(error.errors())
    text = "; ".join(f"{each['field']}: {each['problem']}" for each in found[:10])
    return answer(400, f"the request makes no sense: {text}" + (" …" if len(found) > 10 else ""), details=found)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    text = str(error.detail)
    if text == HTTPStatus(error.status_code).phrase:  # the framework's own
        text = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not possible at {request.url.path}"}.get(
            error.status_code, text
        )
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return answer(error.status_code, text, headers=headers)


def _methods(request: Request) -> list[str]:
    """Tell which methods are possible where one is not: the framework names those of the first route that fits."""
    possible = []
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            possible.append(method)
    return possible


class Limits:
    """Refuses bodies that are too large, before and while they come, and has nobody keep answers."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        """Stand in front of an application."""
        self._app = app
        self._most = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._most:
            error = _too_large(self._most)
            await answer(error.status_code, error.detail)(scope, receive, _without_cache(send))
            return
        await self._app(scope, _counted(receive, self._most), _without_cache(send))


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the request is larger than {most} bytes, which is the limit here")


def _counted(receive: Receive, most: int) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(most)  # which the framework lets through where it reads a body
        return message

    return counting


def _without_cache(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and not any(name == b"cache-control" for name, _ in message["headers"]):
            message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
        await send(message)

    return sending
