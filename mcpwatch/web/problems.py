"""Errors of the API as RFC 9457 problem documents. Owns their types; says nothing that is secret.

Beside the members of the RFC every document has `error` (the same text as `detail`) and, for a refused configuration, `faults`.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mcpwatch.model.errors import AlreadyRunning, ConfigError, McpwatchError, UsageError

_log = logging.getLogger("mcpwatch.web")

MEDIA = "application/problem+json"

TYPES: dict[int, tuple[str, str]] = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("unauthorized", "A token is needed"),
    403: ("forbidden", "This caller may not do that"),
    404: ("not-found", "No such thing"),
    405: ("method-not-allowed", "Not with this method"),
    406: ("not-acceptable", "Not in this form"),
    409: ("conflict", "It cannot be done now"),
    413: ("too-large", "The request is too large"),
    415: ("unsupported-type", "Not in this form"),
    421: ("wrong-host", "This host name is not served here"),
    422: ("bad-configuration", "The configuration was refused"),
    429: ("too-many", "Too many tries"),
    500: ("internal", "mcpwatch failed"),
    503: ("busy", "Too many at once"),
}
"""Type and title by status. `type` in a document is a URN, because mcpwatch serves no page for it."""


class RequestRefused(McpwatchError):
    """A request that is refused with a status of its own."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}
        super().__init__(detail)


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A problem document as a response."""
    kind, title = TYPES.get(status, ("error", HTTPStatus(status).phrase))
    body = {"type": f"urn:mcpwatch:problem:{kind}", "title": title, "status": status, "detail": detail, "error": detail, **more}
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA)


async def on_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """What mcpwatch raises on purpose, as a problem."""
    if isinstance(error, RequestRefused):
        return problem(error.status, str(error), headers=error.headers)
    if isinstance(error, ConfigError):
        return problem(422, str(error), faults=[str(fault) for fault in error.faults])
    status = 404 if isinstance(error, UsageError) else 409
    assert not isinstance(error, AlreadyRunning)
    return problem(status, str(error))


async def on_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """What Starlette refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=dict(error.headers or {}))


async def on_failure(request: Request, error: Exception) -> Response:
    """What nobody foresaw; the text stays in the log."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, f"{request.method} {request.url.path} failed: {type(error).__name__}; see the log of mcpwatch")
