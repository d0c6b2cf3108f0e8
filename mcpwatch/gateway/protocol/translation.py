"""A message of one era in the words of the other: handshake versions and the stateless one (2026-07-28). ADR 0013.

Owns the splicing of the envelope and of what results say of themselves. Pure. Must not know sessions, members or sockets.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from mcpwatch.gateway.protocol import json_edit, message, stateless_protocol
from mcpwatch.gateway.protocol.message import Envelope

_UNKNOWN = {b"-32002": b"%d" % message.INVALID_PARAMS}
"""The code of the handshake era for a resource that is not there, and what it became."""


def enveloped(data: bytes, client: dict[str, Any], capabilities: dict[str, Any], level: str | None = None) -> bytes:
    """A handshake-era request with what the stateless wire wants in `params._meta`; every other byte stays."""
    meta: dict[str, Any] = {
        stateless_protocol.VERSION_KEY: message.MODERN,
        stateless_protocol.CLIENT_KEY: client,
        stateless_protocol.CAPABILITIES_KEY: capabilities,
    }
    if level is not None:
        meta[stateless_protocol.LEVEL_KEY] = level
    fresh = json.dumps(meta, separators=(",", ":")).encode()[1:-1]
    return json_edit.with_members(data, ("params", "_meta"), fresh, stateless_protocol.ENVELOPE.__contains__)


def bare(data: bytes) -> bytes:
    """A request of the stateless wire without its envelope, for a member that would refuse it; every other byte stays."""
    if json_edit.locate(data, ("params", "_meta")) is None:
        return data
    return json_edit.with_members(data, ("params", "_meta"), b"", stateless_protocol.ENVELOPE.__contains__)


def discovery(server: bytes) -> bytes:
    """The answer to `server/discover` for a member that only knows `initialize`, from its answer to that."""
    known = json.loads(server)
    body = {
        "resultType": "complete", "supportedVersions": [message.MODERN], "capabilities": known.get("capabilities", {}),
        "ttlMs": 0, "cacheScope": "private", "_meta": {stateless_protocol.SERVER_KEY: known.get("serverInfo", {})},
    }  # fmt: skip
    if "instructions" in known:
        body["instructions"] = known["instructions"]
    return json.dumps(body).encode()


def greeting(discovered: bytes, version: str) -> bytes:
    """The answer to `initialize` in `version` for a member that only knows `server/discover`, from its answer to that."""
    known = json.loads(discovered)
    meta = known.get("_meta")
    named = meta.get(stateless_protocol.SERVER_KEY) if isinstance(meta, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    body: dict[str, Any] = {
        "protocolVersion": version, "capabilities": known.get("capabilities", {}),
        "serverInfo": named or {"name": "unnamed", "version": "0"},
    }  # fmt: skip
    if "instructions" in known:
        body["instructions"] = known["instructions"]
    return json.dumps(body).encode()


def completed(data: bytes, method: str) -> bytes:
    """A handshake-era answer as the stateless wire wants it: fields that every result has, and its code for an unknown resource."""
    if method == "resources/read" and (code := json_edit.locate(data, ("error", "code"))) is not None:
        return data[: code[0]] + _UNKNOWN.get(data[code[0] : code[1]], data[code[0] : code[1]]) + data[code[1] :]
    span = json_edit.locate(data, ("result",))
    if span is None or json_edit.locate(data, ("result", "resultType")) is not None:
        return data
    extra = b'"resultType":"complete"'
    if method.endswith("/list") or method == "resources/read":
        extra += b',"ttlMs":0,"cacheScope":"private"'
    inside = data[span[0] + 1 :].lstrip()
    return data[: span[0] + 1] + extra + (b"" if inside.startswith(b"}") else b",") + inside


def input_required(answer: bytes) -> tuple[dict[str, bytes], bytes | None] | None:
    """What a stateless member asks for instead of answering: its questions as raw JSON by key, and its state as raw JSON.

    `None` when the answer is one.
    """
    if b"input_required" not in answer:
        return None
    span = json_edit.locate(answer, ("result",))
    body: Any = json.loads(answer[span[0] : span[1]]) if span is not None else None
    if not isinstance(body, dict) or body.get("resultType") != "input_required":  # pyright: ignore[reportUnknownMemberType]
        return None
    asks = json_edit.locate(answer, ("result", "inputRequests"))
    state = json_edit.locate(answer, ("result", "requestState"))
    found = {key: answer[start:end] for key, _, start, end in json_edit.members(answer, asks[0])} if asks is not None else {}
    return found, answer[state[0] : state[1]] if state is not None else None


def with_input(request: bytes, answers: dict[str, bytes], state: bytes | None) -> bytes:
    """A request once more, with the results (raw JSON) that were asked for and the member's own state."""
    parts: list[bytes] = []
    if answers:
        inside = b",".join(json.dumps(key).encode() + b":" + answer for key, answer in answers.items())
        parts.append(b'"inputResponses":{' + inside + b"}")
    if state is not None:
        parts.append(b'"requestState":' + state)
    return json_edit.with_members(request, ("params",), b",".join(parts), {"inputResponses", "requestState"}.__contains__)


def without_subscription(change: bytes) -> bytes:
    """A change as a handshake session knows it: without the id of the listening stream that it came on."""
    return json_edit.with_members(change, ("params", "_meta"), b"", message.SUBSCRIPTION.__eq__)


def as_input(question: bytes) -> bytes:
    """A handshake-era question as raw JSON, the way the stateless wire puts it into a result."""
    span = json_edit.locate(question, ("params",))
    method = json.dumps(message.peek(question).method).encode()
    return b'{"method":%b,"params":%b}' % (method, question[span[0] : span[1]] if span is not None else b"{}")


def requiring(asks: dict[str, bytes], state: str) -> bytes:
    """The result that asks for input: questions (raw JSON) by key, and the state to come back with."""
    inside = b",".join(json.dumps(key).encode() + b":" + ask for key, ask in asks.items())
    return b'{"resultType":"input_required","inputRequests":{%b},"requestState":%b}' % (inside, json.dumps(state).encode())


def inputs(request: bytes) -> dict[str, bytes]:
    """The answers that a request comes back with: results as raw JSON by key."""
    span = json_edit.locate(request, ("params", "inputResponses"))
    return {key: request[start:end] for key, _, start, end in json_edit.members(request, span[0])} if span is not None else {}


def progress_token(envelope: Envelope) -> bytes | None:
    """The progress token of a request as it was written."""
    meta = envelope.params.meta if isinstance(envelope.params, message.Params) else None
    token = meta.progress_token if isinstance(meta, message.Meta) else None
    return bytes(token) if isinstance(token, Raw) else None
