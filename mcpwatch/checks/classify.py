"""What the words and codes of a server mean: HTTP statuses and JSON-RPC errors and exceptions of libraries to symptoms.

The patterns are what real gateways and SDKs say (references/gateways.md §2, §4); an answer that fits none keeps its general class.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

from mcpwatch.checks import rpc
from mcpwatch.checks.failure import MESSAGE_LIMIT, REASON_MAX, TEXT_MAX, ProbeFailure, one_line, without_query
from mcpwatch.checks.wire import MODERN_VERSION
from mcpwatch.http_client.dial import OUT_OF_RESOURCES
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Vantage

_SESSION = re.compile(
    r"could not find session|session (?:not found|terminated|expired|id (?:is )?(?:invalid|unknown|not found))"
    r"|(?:invalid|unknown|no valid|unrecognized|expired) (?:mcp-)?session|no active session|re-?initialize",
    re.IGNORECASE,
)
_MISSING_SESSION = re.compile(r"missing (?:mcp-)?session|session id (?:is )?required|no session id", re.IGNORECASE)
_UPSTREAM = re.compile(
    r"not connected|transport (?:error|closed|is closed)|connection (?:closed|refused|reset|error|lost|attempts? failed)"
    r"|(?:failed|unable|could not|cannot) (?:to )?(?:connect|reach)|upstream|backend|bad gateway|gateway time-?out|broken pipe"
    r"|\beof\b|server disconnected|no such host|dial tcp|process (?:exited|terminated)"
    r"|is (?:down|unavailable|restarting|not running)"
    r"|service unavailable|closedresourceerror|stream (?:is )?closed",
    re.IGNORECASE,
)
_INITIALIZATION = re.compile(
    r"before initiali[sz]|not (?:yet )?initiali[sz]ed|initiali[sz]ation (?:was|is) (?:not )?complete", re.IGNORECASE
)
_LOAD = re.compile(r"too many|overload|rate limit|busy", re.IGNORECASE)
_HOST = re.compile(r"invalid (?:host|origin)|(?:host|origin)[^.]{0,20}not allowed|forbidden origin|misdirected", re.IGNORECASE)

_GATEWAY = re.compile(
    r"client failed to connect|^not connected$|transport (?:error|closed|is closed)|closedresourceerror|upstream (?:mcp )?server"
    r"|mcp error -32000|^connection closed$",
    re.IGNORECASE,
)
GATEWAY_WORDS_MAX = 400
SERVICE_UNAVAILABLE = 503
"""Characters of a failed call's text beyond which it is taken for the tool's own classify."""

RETRY_MAX = 604_800.0
"""Seconds of a `Retry-After` beyond which nothing is told: a week."""
ERA_CODES = frozenset({-32020, -32021, -32022})
"""Codes that only a 2026-07-28 server says: header mismatch, missing capability, unsupported version."""

_TELLING = frozenset({Symptom.AUTH, Symptom.HOST_GUARD, Symptom.OVERLOADED, Symptom.UPSTREAM_DOWN, Symptom.TOO_LARGE})
"""Refusals of which the server's own words say more than the status."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refine(failure: ProbeFailure, vantage: Vantage) -> ProbeFailure:
    """Give a plain JSON-RPC error its class by its code and classify."""
    if failure.symptom is not Symptom.RPC_ERROR:
        return failure
    said = failure.said
    if _SESSION.search(said):
        # said inside a JSON-RPC error on a living session of our own: it is the proxy's session that is gone
        failure.symptom = Symptom.STALE_SESSION if vantage == "route" and failure.status is None else Symptom.SESSION_LOST
    elif _INITIALIZATION.search(said):
        failure.symptom = Symptom.NOT_INITIALIZED
    elif failure.code in ERA_CODES or failure.versions:
        failure.symptom = Symptom.ERA_MISMATCH
    elif (failure.code == 0 and not said) or _UPSTREAM.search(said):
        failure.symptom = Symptom.UPSTREAM_DOWN
    elif _LOAD.search(said):
        failure.symptom = Symptom.OVERLOADED
    return failure


def cache_evidence(url: str, server: ServerInfo) -> str:
    """By what a server shows that it answers lists from a cache; the empty string when it does not show it.

    TBXark/mcp-proxy names each of its servers by the route: a server called `time` at `/time/sse` is taken for one of its routes.
    A native server may be called so too; a safe call more is all that comes of it.
    """
    *before, last = [step for step in urlsplit(url).path.split("/") if step] or [""]
    route = before[-1] if last in ("sse", "mcp") and before else last
    if server.name and server.name == route and server.protocol != MODERN_VERSION:
        return f"it calls itself {server.name!r}, as its route is called: TBXark/mcp-proxy does so"
    return ""


def gateway_error(said: str, vantage: Vantage) -> Symptom | None:
    """The symptom when a failed tool call speaks of a gateway's lost upstream, not of the tool; `None` when the tool failed.

    A tool may well fail with "connection refused" of its own database: only words that gateways alone use count.
    """
    if not said.strip():
        return Symptom.UPSTREAM_DOWN
    if len(said) < GATEWAY_WORDS_MAX and _SESSION.search(said):
        return Symptom.STALE_SESSION if vantage == "route" else Symptom.SESSION_LOST
    return Symptom.UPSTREAM_DOWN if len(said) < GATEWAY_WORDS_MAX and _GATEWAY.search(said) else None


def status_failure(status: int, headers: Mapping[str, str], body: bytes, what: str) -> ProbeFailure:
    """An HTTP status that is no answer, as failure; `what` names what was asked, e.g. `GET /time/sse`."""
    said = said_in(body)
    error = rpc_error_in(body)
    text = said or "nothing"
    wait = retry_after(headers.get("retry-after", ""))
    symptom = _symptom(status, said, error)
    if symptom is Symptom.UPSTREAM_DOWN and status == SERVICE_UNAVAILABLE and wait is not None and error is None:
        symptom = Symptom.OVERLOADED  # it says that it will be back; a gateway that lost a server says so in words of MCP
    location = one_line(without_query(headers.get("location", "")), TEXT_MAX) or "a place it does not name"
    known = {
        Symptom.AUTH: f"{what} was refused with HTTP {status}: the token is missing, wrong or expired",
        Symptom.HOST_GUARD: f"{what} was refused with HTTP {status}: the server does not accept this Host or Origin",
        Symptom.NOT_MOUNTED: f"{what} is not served (HTTP {status})",
        Symptom.SESSION_LOST: f"{what}: the server does not know the session any more (HTTP {status})",
        Symptom.REDIRECT: f"{what} is redirected (HTTP {status}) to {location}",
        Symptom.OVERLOADED: f"{what}: the server takes no requests for now (HTTP {status})",
        Symptom.UPSTREAM_DOWN: f"{what}: what is behind this server does not answer (HTTP {status})",
        Symptom.TOO_LARGE: f"{what}: the server finds the request too large (HTTP {status})",
        Symptom.ERA_MISMATCH: f"{what}: the server speaks another wire of MCP (HTTP {status})",
    }
    message = known.get(symptom, f"{what} was answered with HTTP {status}: {text}")
    if said and symptom in _TELLING:
        message += f': "{one_line(said, TEXT_MAX)}"'
    code = error.get("code") if error else None
    versions = rpc.told_versions(error) if error else ()
    if symptom is Symptom.ERA_MISMATCH and versions:
        message += f"; it supports protocol {', '.join(versions)}"
    if wait is not None:
        message += f"; it wants to be asked again in {wait:g} s"
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    return ProbeFailure(symptom, message, said=said, status=status, code=number, versions=versions, retry_after=wait)


def retry_after(value: str) -> float | None:
    """The seconds that a `Retry-After` header asks for, as a number or as a date; `None` when it says neither."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_MAX)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    left = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(max(0.0, float(round(left))), RETRY_MAX)


LIBRARIES = frozenset({"httptools", "ssl", "zlib", "encodings", "codecs", "urllib", "msgspec"})
"""Packages that read what a peer sends: what they raise says something about the peer."""


def library_failure(error: Exception, stage: Stage | None) -> ProbeFailure | None:
    """An exception that a library raised at what a peer sent, as a failure; `None` when mcpwatch itself broke."""
    if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
        return None
    frame, last = error.__traceback__, ""
    while frame is not None:
        last = frame.tb_frame.f_globals.get("__name__", "")
        frame = frame.tb_next
    package = last.partition(".")[0]
    raised = type(error).__module__.partition(".")[0]
    if not (isinstance(error, (OSError, UnicodeError)) or package in LIBRARIES or raised in LIBRARIES):
        return None
    connecting = {Stage.RESOLVE: Symptom.UNRESOLVED, Stage.CONNECT: Symptom.UNREACHABLE, Stage.TLS: Symptom.TLS}
    symptom = Symptom.CUT if isinstance(error, ConnectionError) else connecting.get(stage or Stage.CLOSE, Symptom.BAD_REPLY)
    reason = one_line(str(error), REASON_MAX) or type(error).__name__
    return ProbeFailure(symptom, f"what came cannot be read: {reason}" if symptom is Symptom.BAD_REPLY else reason)


def _symptom(status: int, said: str, error: rpc.Message | None) -> Symptom:  # noqa: PLR0911 - a table with conditions
    if status in REDIRECTS:
        return Symptom.REDIRECT
    if status == 421 or (status in (400, 403) and _HOST.search(said)):
        return Symptom.HOST_GUARD
    if _SESSION.search(said) and status in (400, 401, 404, 410):
        return Symptom.SESSION_LOST
    if status in (401, 403, 407):
        return Symptom.AUTH
    if error and error.get("code") in ERA_CODES:
        return Symptom.ERA_MISMATCH
    if status in (404, 410):
        return Symptom.ERA_MISMATCH if error and error.get("code") == -32601 else Symptom.NOT_MOUNTED
    if status == 405 or (status == 400 and _MISSING_SESSION.search(said)):
        return Symptom.ERA_MISMATCH
    if status == 413:
        return Symptom.TOO_LARGE
    if status == 429 or (status == 503 and _LOAD.search(said)):
        return Symptom.OVERLOADED
    if status in (502, 503, 504, 521, 522, 523, 524):
        return Symptom.UPSTREAM_DOWN
    return Symptom.HTTP_STATUS


def rpc_error_in(body: bytes) -> rpc.Message | None:
    """The JSON-RPC error object in an HTTP body, if there is one."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error: Any = cast("rpc.Message", value).get("error") if isinstance(value, dict) else None
    return cast("rpc.Message", error) if isinstance(error, dict) else None


def said_in(body: bytes) -> str:
    """What a body says, as one line: the message of a JSON-RPC error, else its text without tags."""
    error = rpc_error_in(body)
    if error is not None and isinstance(error.get("message"), str):
        return one_line(str(error["message"]), MESSAGE_LIMIT)
    text = body[:4000].decode("utf-8", "replace")
    if "<" in text and re.search(r"<(?:html|body|!doctype)", text, re.IGNORECASE):
        text = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", text)
    return one_line(text, MESSAGE_LIMIT)
