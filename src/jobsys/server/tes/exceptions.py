"""What the TES API answers with when it can't do what was asked for. The names are those of the specification."""

import logging
from typing import Any, ClassVar

from fastapi import Request
from fastapi.responses import JSONResponse

from jobsys.server.http import answer, envelope

logger = logging.getLogger(__name__)


class APIException(Exception):
    """The base of all errors of the API."""

    status_code: ClassVar[int] = 500
    error_code: ClassVar[str] = "internal_error"
    text: ClassVar[str] = "something went wrong here"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str | None = None, details: Any = None) -> None:
        """Say what is wrong, and list what there is to know about it."""
        self.message = message or self.text
        self.details = details
        super().__init__(self.message)

    def to_dict(self) -> dict[str, Any]:
        """Give the body of the answer."""
        return envelope(self.status_code, self.message, self.error_code, self.details)


class BadRequestException(APIException):
    """The request makes no sense."""

    status_code = 400
    error_code = "bad_request"
    text = "the request makes no sense"


class UnauthorizedException(APIException):
    """Nobody knows who asks."""

    status_code = 401
    error_code = "unauthorized"
    text = "credentials are needed"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class ForbiddenException(APIException):
    """The caller is known, and may not do that."""

    status_code = 403
    error_code = "forbidden"
    text = "you may not do that"


class NotFoundException(APIException):
    """There is no such thing, or it is somebody else's."""

    status_code = 404
    error_code = "not_found"
    text = "there is no such thing"


class ConflictException(APIException):
    """It contradicts what was asked for before."""

    status_code = 409
    error_code = "conflict"
    text = "that contradicts what was asked for before"


class UnsupportedMediaTypeException(APIException):
    """The body is in a format that is not understood."""

    status_code = 415
    error_code = "unsupported_media_type"
    text = "the body must be application/json"


class InternalServerException(APIException):
    """The server failed."""


class DBException(APIException):
    """The database failed."""

    error_code = "db_error"
    text = "the database failed"


async def handle_api_exception(request: Request, exc: Exception) -> JSONResponse:
    """Answer with one of ours."""
    assert isinstance(exc, APIException)
    if exc.status_code >= 500:
        logger.error("%s %s: %s", request.method, request.url.path, exc.message, exc_info=exc)
    return JSONResponse(exc.to_dict(), exc.status_code, exc.headers)


async def handle_unexpected_exception(request: Request, exc: Exception) -> JSONResponse:
    """Answer with nothing of an error that nobody has foreseen; the log has it all."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return answer(500, InternalServerException.text, "internal_error")
