"""The answer to every error (spec 5.1).

The middleware, the hot routes and FastAPI's error handlers call ``respond_to``. No other place
decides the status and headers of a refusal.

Used by `serve`, `serve/middleware` and `serve/routes`.
"""

import logging
from contextvars import ContextVar
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from rillflow.errors import (
    BodyTimeoutError,
    DefectError,
    DefinitionError,
    ExecutionError,
    OverloadedError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
    UnfinishedBodyError,
)
from serve.schemas.exchange import INTERNAL, UNSUPPORTED, error_body, error_response

log = logging.getLogger("rillflow.api")

BAD_DATA = 30109
INTERNAL_CODE = 30101
UNAVAILABLE = 503
NOT_REACHED = "a process of the server cannot be reached now; try again later"
_COME_AGAIN = (StoreError, UnavailableError, OverloadedError, BodyTimeoutError)


ANSWERED_ERROR: Final = ContextVar("ANSWERED_ERROR", default="")
"""The kind of the error that is answered, until ``middleware/entry.py`` counts it."""


def respond_to(error: Exception) -> Response:
    """Return the answer for an error; log those that are not the caller's fault."""
    ANSWERED_ERROR.set(type(error).__name__)
    if isinstance(error, _COME_AGAIN):
        return _come_again(error)
    if isinstance(error, DefectError):
        log.error("process_failed", extra={"reason": str(error)})
    if isinstance(error, RequestError | ExecutionError | DefinitionError):
        return error_response(error)
    if isinstance(error, RequestValidationError):
        return error_body(BAD_DATA, _validation_text(error), 422)
    if isinstance(error, HTTPException):
        return _framework_error(error)
    if isinstance(error, RillflowError):
        return error_response(error)
    if not isinstance(error, ClientDisconnect):  # nobody reads the answer any more
        log.error("request_failed", exc_info=error)
    return error_body(INTERNAL_CODE, INTERNAL, 500)


def _come_again(error: RillflowError) -> Response:
    status, message = error.http_status, str(error)
    if isinstance(error, StoreError):
        log.error("store_failed", extra={"reason": message})
        status = UNAVAILABLE
    if isinstance(error, UnavailableError):
        # The process and the cause are logged only, because anybody may have sent the request.
        log.error("process_unavailable", extra={"reason": message})
        message = NOT_REACHED
    response = error_body(error.wire_code, message, status, hint=error.hint)
    response.headers["Retry-After"] = "1"
    if isinstance(error, BodyTimeoutError | UnfinishedBodyError):
        response.headers["Connection"] = "close"  # the rest of the body is not read
    return response


def _framework_error(error: HTTPException) -> Response:
    if error.status_code == 405:
        return error_body(UNSUPPORTED, "Request method is not supported", 422)
    return error_body(INTERNAL_CODE, str(error.detail), error.status_code)


def _validation_text(error: RequestValidationError) -> str:
    parts = []
    for problem in error.errors():
        where = ".".join(str(step) for step in problem["loc"][1:])
        parts.append(f"{where}: {problem['msg']}")
    return "; ".join(parts)
