"""What forms of the pages do: log in and out, and operations of the API. Every form carries its session's word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError
from mcpwatch.web.api.app import Api
from mcpwatch.web.api.catalog import CATALOG, Operation
from mcpwatch.web.page.pages import Pages
from mcpwatch.web.problems import RequestRefused
from mcpwatch.web.sessions import COOKIE, LASTS, Caller, LoginSessions, caller_of, genuine

FORM_LIMIT = 16 * 1024
"""Bytes of a form."""

Login = Callable[[str], Caller | None]
Slow = Callable[[str], Awaitable[Response]]
_OPERATIONS: dict[str, tuple[str, str]] = {
    "restart": ("POST", "/members/{name}/{verb}"),
    "start": ("POST", "/members/{name}/{verb}"),
    "stop": ("POST", "/members/{name}/{verb}"),
    "probe": ("POST", "/probe"),
    "pin": ("POST", "/pin/{name}"),
    "ack": ("POST", "/alerts/ack"),
    "silence": ("POST", "/silences"),
    "expire": ("POST", "/silences/expire"),
    "maintenance": ("POST", "/maintenance"),
    "end": ("POST", "/maintenance/stop"),
    "sync": ("POST", "/clients/sync"),
    "undo": ("POST", "/clients/undo"),
}
_BY_KEY: dict[tuple[str, str], Operation] = {operation.key: operation for operation in CATALOG}


class Forms:
    """Forms of one site."""

    def __init__(self, api: Api, pages: Pages, sessions: LoginSessions, clock: Clock, login: Login, slow: Slow) -> None:
        self._api = api
        self._pages = pages
        self._sessions = sessions
        self._clock = clock
        self._login = login
        self._slow = slow

    def routes(self) -> list[BaseRoute]:
        """Path to form."""
        return [
            Route("/login", self.ask, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/do", self.do, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The page to log in."""
        return self._pages.html(request, "login.html", fault="")

    async def login(self, request: Request) -> Response:
        """Begin a session for a token."""
        fields = await _fields(request)
        caller = self._login(fields.get("token", "").strip())
        if caller is None:
            refused = await self._slow(request.client.host if request.client else "")
            words = {429: "Too many wrong tokens; try again later."}.get(refused.status_code, "This token is not known.")
            return self._pages.html(request, "login.html", status=refused.status_code, fault=words)
        cookie = self._sessions.begin(caller.role, caller.by, self._clock.now())
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, max_age=int(LASTS), httponly=True, samesite="strict", path="/", secure=secure)
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session."""
        fields = await _fields(request)
        _own(request, fields)
        self._sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    async def do(self, request: Request) -> Response:
        """One operation; then back to the page it was asked from."""
        fields = await _fields(request)
        caller, back = _own(request, fields), _back(fields.get("back", "/"))
        op = fields.get("op", "")
        if op not in _OPERATIONS:
            raise RequestRefused(400, "this form asks for nothing that there is")
        operation = _BY_KEY[_OPERATIONS[op]]
        try:
            await self._api.act(operation, _body(op, fields), caller)
        except McpwatchError as error:
            status = error.status if isinstance(error, RequestRefused) else 409
            return self._pages.html(request, "message.html", status=status, heading="Not done", text=str(error), back=back)
        return RedirectResponse(back, 303)


def _body(op: str, fields: dict[str, str]) -> dict[str, Any]:
    if op in ("restart", "start", "stop"):
        return {"name": fields.get("name", ""), "verb": op}
    if op in ("silence", "maintenance"):
        return {"targets": [fields.get("targets", "")], "for": fields.get("for") or "1h", "comment": fields.get("comment", "")}
    if op == "sync":
        return {"clients": [fields.get("client", "")]}
    return {
        key: fields.get(key, "")
        for key in {"probe": ["name"], "pin": ["name"], "ack": ["alert"], "undo": ["client"]}.get(op, ["id"])
    }


def _own(request: Request, fields: dict[str, str]) -> Caller:
    """The caller, when the form is one of its own session. Raises `RequestRefused`."""
    caller = caller_of(request.scope)
    if not genuine(caller, fields.get("csrf", "")):
        raise RequestRefused(403, "this form is not from your session; load the page again, or log in")
    return caller


def _back(path: str) -> str:
    """A path of this site, whatever the form says."""
    parts = urlsplit(path)
    good = (
        path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and "\n" not in path and "\r" not in path
    )
    return path if good else "/"


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form. Raises `RequestRefused`."""
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > FORM_LIMIT:
            raise RequestRefused(413, "the form is too large")
    try:
        pairs = parse_qsl(raw.decode("ascii", "replace"), max_num_fields=50, errors="replace")
    except ValueError:
        raise RequestRefused(400, "the form has too many fields") from None
    return dict(pairs)
