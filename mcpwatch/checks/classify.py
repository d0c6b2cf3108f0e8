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
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

from mcpwatch.checks import rpc
from mcpwatch.checks.failure import MESSAGE_LIMIT, REASON_MAX, TEXT_MAX, ProbeFailure, one_line, without_query
from mcpwatch.checks.session_words import SESSION, lost_session, passed_on
from mcpwatch.checks.wire import MODERN_VERSION
from mcpwatch.http_client.dial import OUT_OF_RESOURCES
from mcpwatch.model.probe import NO_TOKEN, ServerInfo, Stage, Symptom, Vantage

_MISSING_SESSION = re.compile(r"missing (?:mcp-)?session|session id (?:is )?required|no session id", re.IGNORECASE)
_LOST = (
    r"not connected|transport (?:error|closed|is closed)|connection (?:closed|refused|reset|error|lost|attempts? failed)"
    r"|(?:failed|unable|could not|cannot) (?:to )?(?:connect|reach)|upstream|backend|gateway time-?out|broken pipe|\beof\b"
    r"|server disconnected|no such host|dial tcp|process (?:exited|terminated)|closedresourceerror|stream (?:is )?closed"
)
"""Words of one who lost what is behind it."""
_UPSTREAM = re.compile(
    rf"{_LOST}|bad gateway|is (?:down|unavailable|restarting|not running)|service unavailable",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    rf"{_LOST}|(?:failed|unable|could not|cannot) (?:to )?(?:start|spawn)|\bchild\b|disconnected|process (?:died|is gone)"
    r"|no (?:available|healthy) |no server is available|(?:not running|exited)\b"
    r"|(?:member|client|target)s?\b.{0,60}\b(?:down|gone|lost|unavailable|restarting|not running|not ready)",
    re.IGNORECASE,
)
"""Words of a 503 that speak of somebody behind who speaks; all others are its own, that it takes nothing now."""
_STARTS = re.compile(
    r"\bstart(?:s|ing)\b|\bload(?:s|ing)\b|warm(?:s|ing)|maintenance|shutting down|not (?:yet )?ready", re.IGNORECASE
)
_INITIALIZATION = re.compile(
    r"before initiali[sz]|not (?:yet )?initiali[sz]ed|initiali[sz]ation (?:was|is) (?:not )?complete", re.IGNORECASE
)
_NAMED = re.compile(r"\bmember '[^'\n]{1,100}'")
_LOAD = re.compile(r"too many|overload|rate.?limit|busy|throttl|try again later|retry later", re.IGNORECASE)
_LIMIT = re.compile(r"\blimit(?:s|ed)?\b|exceeded|capacity", re.IGNORECASE)
_LICENCE = re.compile(r"licen[cs]e|subscription|entitlement|billing|payment|quota|credits?\b", re.IGNORECASE)
_SIGN_IN = re.compile(r"\bsso\b|\b(?:log|sign)[ -]?in\b|authenti|credential|\btoken\b", re.IGNORECASE)
_HOST = re.compile(r"invalid (?:host|origin)|(?:host|origin)[^.]{0,20}not allowed|forbidden origin|misdirected", re.IGNORECASE)

_GATEWAY = re.compile(
    r"client failed to connect|^not connected$|transport (?:error|closed|is closed)|closedresourceerror|upstream (?:mcp )?server"
    r"|mcp error -32000|^connection closed$",
    re.IGNORECASE,
)
GATEWAY_WORDS_MAX = 400
"""Characters of a failed call's text beyond which it is taken for the tool's own words."""
SERVICE_UNAVAILABLE = 503

RETRY_MAX = 604_800.0
"""Seconds of a `Retry-After` beyond which nothing is told: a week."""
ERA_CODES = frozenset({-32020, -32021, -32022})
"""Codes that only a 2026-07-28 server says: header mismatch, missing capability, unsupported version."""

_TELLING = frozenset({
    Symptom.AUTH, Symptom.HOST_GUARD, Symptom.OVERLOADED, Symptom.UPSTREAM_DOWN, Symptom.TOO_LARGE, Symptom.REJECTED,
    Symptom.UNREACHABLE, Symptom.NOT_MOUNTED,
})  # fmt: skip
"""Refusals of which the server's own words say more than the status."""

_REJECTING = (406, 411, 412, 414, 415, 416, 417, 418, 426, 428, 431, 451, 501, 505, 506, 508, 510)
"""Statuses that refuse what every MCP client sends: a restart changes nothing of it."""
_BY_STATUS: dict[int, Symptom] = {
    401: Symptom.AUTH,
    403: Symptom.AUTH,
    405: Symptom.ERA_MISMATCH,
    413: Symptom.TOO_LARGE,
    421: Symptom.HOST_GUARD,
    **dict.fromkeys(_REJECTING, Symptom.REJECTED),
    **dict.fromkeys((407, 511), Symptom.UNREACHABLE),
    **dict.fromkeys((420, 425, 429, 509, 529), Symptom.OVERLOADED),
    **dict.fromkeys((502, 503, 504, *range(520, 528), 530), Symptom.UPSTREAM_DOWN),
}
"""What a status means by itself, where no word beside it says more."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refine(failure: ProbeFailure, vantage: Vantage, *, listed: bool = False) -> ProbeFailure:
    """Give a plain JSON-RPC error its class by its code and words. `listed`: as `session_words.lost_session`."""
    if failure.symptom is not Symptom.RPC_ERROR:
        return failure
    said = _unnamed(failure.said)
    if SESSION.search(said):
        if not lost_session(failure, vantage, listed=listed):
            return failure  # on a living session of our own: it speaks of sessions that it, or its tool, keeps
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


def gateway_error(said: str, vantage: Vantage, *, listed: bool = False) -> Symptom | None:
    """The symptom when a failed tool call speaks of a gateway's lost upstream, not of the tool; `None` when the tool failed.

    A tool may well fail with "connection refused" of its own database: only words that gateways alone use count. `listed`: as
    `session_words.passed_on`.
    """
    if not said.strip():
        return Symptom.UPSTREAM_DOWN
    if len(said) >= GATEWAY_WORDS_MAX:
        return None
    if SESSION.search(said):
        lost = Symptom.STALE_SESSION if vantage == "route" else Symptom.SESSION_LOST
        return lost if passed_on(said, vantage, listed=listed) else None
    return Symptom.UPSTREAM_DOWN if _GATEWAY.search(said) else None


def status_failure(status: int, headers: Mapping[str, str], body: bytes, what: str, *, identified: bool = True) -> ProbeFailure:
    """An HTTP status that is no answer, as failure; `what` names what was asked, e.g. `GET /time/sse`.

    `identified`: a token, or another secret, was sent.
    """
    said = said_in(body)
    error = rpc_error_in(body)
    text = said or _phrase(status) or "nothing"
    wait = retry_after(headers.get("retry-after", ""))
    symptom = _symptom(status, said, error)
    if symptom is Symptom.UPSTREAM_DOWN and status == SERVICE_UNAVAILABLE and wait is not None and error is None:
        symptom = Symptom.OVERLOADED  # it says that it will be back; a gateway that lost a server says so in words of MCP
    location = one_line(without_query(headers.get("location", "")), TEXT_MAX) or "a place it does not name"
    known = {
        Symptom.AUTH: f"{what} was refused with HTTP {status}: {_REFUSED if identified else NO_TOKEN}",
        Symptom.REJECTED: f"{what} is not taken in the form that MCP clients send (HTTP {status} {_phrase(status)}".rstrip() + ")",
        Symptom.UNREACHABLE: f"{what} did not get through (HTTP {status}): {_ON_THE_WAY.get(status, '')}",
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


_REFUSED = "the token that was sent is wrong or expired"
_ON_THE_WAY = {
    407: "a forward proxy on the way asks for credentials of its own",
    511: "the network on the way asks for a sign-in of its own",
}


def _phrase(status: int) -> str:
    """What a status is called: `Unsupported Media Type`; empty for one without a name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


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


def _unnamed(said: str) -> str:
    """The words without the name of the member that the gateway puts before them: one may be called `busy`, or `license-server`."""
    return _NAMED.sub("member", said)


def _symptom(status: int, said: str, error: rpc.Message | None) -> Symptom:
    said = _unnamed(said)
    if status in REDIRECTS:
        return Symptom.REDIRECT
    if status in (400, 403) and _HOST.search(said):
        return Symptom.HOST_GUARD
    if SESSION.search(said) and (status in (400, 404, 410) or (status == 401 and not _SIGN_IN.search(said))):
        return Symptom.SESSION_LOST
    if (status in (401, 402, 403) or (status == SERVICE_UNAVAILABLE and not _BEHIND.search(said))) and _LICENCE.search(said):
        return Symptom.HTTP_STATUS  # its words name the cause
    if (status == 403 and (_LOAD.search(said) or _LIMIT.search(said))) or (
        status == SERVICE_UNAVAILABLE and _taken_up(said, error)
    ):
        return Symptom.OVERLOADED
    if error and error.get("code") in ERA_CODES and status not in (401, 403):
        return Symptom.ERA_MISMATCH
    if status in (404, 410):
        return Symptom.ERA_MISMATCH if error and error.get("code") == -32601 else Symptom.NOT_MOUNTED
    if status == 400 and _MISSING_SESSION.search(said):
        return Symptom.ERA_MISMATCH
    return _BY_STATUS.get(status, Symptom.HTTP_STATUS)


def _taken_up(said: str, error: rpc.Message | None) -> bool:
    """Whether a 503 is of a server that is there and takes nothing now; an error of JSON-RPC has to say so in words."""
    if _LOAD.search(said):
        return True
    return not _BEHIND.search(said) and (error is None or _STARTS.search(said) is not None)


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
