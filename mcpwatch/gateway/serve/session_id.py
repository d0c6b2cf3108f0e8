"""Which session, or which request that waits for its client, an HTTP request names. Pure.

Owns where each wire writes it. Must not know whether there is such a session.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from mcpwatch.gateway.http.http_exchange import HttpExchange
from mcpwatch.gateway.protocol import json_edit, message, reading

SESSION = b"mcp-session-id"


def named_session(kind: str, turn: HttpExchange) -> str:
    """The session id in a request to a path of this kind; empty when it names none."""
    if kind == "mcp":
        return turn.headers.get(SESSION, b"").decode("latin-1")
    return session_of_query(turn.query) if kind == "messages" else ""


def session_of_query(query: bytes) -> str:
    """The session id of the legacy wire."""
    name, _, value = query.partition(b"=")
    if name == b"session_id" and b"&" not in value:
        return value.decode("latin-1")
    asked = parse_qs(query.decode("latin-1"))
    return (asked.get("session_id") or asked.get("sessionId") or [""])[0]


def waiting_state(kind: str, turn: HttpExchange) -> str:
    """The `requestState` in a request of the stateless wire; empty when it goes on with none."""
    if kind != "mcp" or b'"requestState"' not in turn.body:
        return ""
    try:
        reading.of_client(turn.body)
        span = json_edit.locate(turn.body, ("params", "requestState"))
        state: object = json.loads(turn.body[span[0] : span[1]]) if span is not None else ""
    except (message.Malformed, ValueError, RecursionError):
        return ""
    return state if isinstance(state, str) else ""
