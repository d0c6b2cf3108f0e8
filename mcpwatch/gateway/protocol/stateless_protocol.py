"""The rules of the stateless wire (2026-07-28): which requests belong to it, what they must carry, which HTTP status an error has.

Pure. Must not know sessions, members or sockets.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from msgspec import UNSET

from mcpwatch import __version__
from mcpwatch.gateway.protocol import message

VERSION_KEY = message.VERSION_KEY
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"
LEVEL_KEY = "io.modelcontextprotocol/logLevel"
ENVELOPE = frozenset({VERSION_KEY, CAPABILITIES_KEY, CLIENT_KEY, LEVEL_KEY})
"""What a request of this wire says in `params._meta` that older wires say in `initialize` or `logging/setLevel`."""

HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods whose `Mcp-Name` header repeats a parameter."""
GONE = frozenset({"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Methods that this wire no longer has."""
_BAD_REQUEST = frozenset(
    {message.PARSE_ERROR, message.INVALID_REQUEST, message.INVALID_PARAMS, HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION}
)
_SENTINEL = re.compile(r"=\?base64\?([A-Za-z0-9+/=]*)\?=")
_DECIMAL = re.compile(r"-?[0-9]+(\.0+)?")


CLIENT = {"name": "mcpwatch-gateway", "version": __version__}
QUESTION: dict[str, Any] = {"_meta": {VERSION_KEY: message.MODERN, CAPABILITIES_KEY: {}, CLIENT_KEY: CLIENT}}
"""Parameters of the gateway's own `server/discover`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused before a member sees it."""

    code: int
    text: str
    data: dict[str, Any] | None = None

    def error(self, raw_id: bytes | None) -> bytes:
        """As a JSON-RPC error."""
        return message.error(raw_id, self.code, self.text, self.data)


def status(code: int | None) -> int:
    """The HTTP status of an answer with this JSON-RPC error code, `None` for a result."""
    if code is None:
        return 200
    return 404 if code == message.METHOD_NOT_FOUND else 400 if code in _BAD_REQUEST else 200


def wanted(headers: Mapping[bytes, bytes], envelope: message.Envelope) -> bool:
    """Whether a POST to a dual endpoint belongs to this wire, by its headers and its body together.

    A session id or a version with handshakes settles it. `initialize` belongs here only if it comes in the envelope of this wire,
    where it is gone; `Mcp-Method` beside it says nothing: clients with handshakes send that too (mcp-remote).
    """
    if b"mcp-session-id" in headers:
        return False
    version = headers.get(b"mcp-protocol-version")
    if version is not None and version.decode("latin-1") in message.HANDSHAKE:
        return False
    method = envelope.method
    if method == "server/discover":
        return True
    if method != "initialize" and (version is not None or b"mcp-method" in headers):
        return True
    params = envelope.params
    return isinstance(params, message.Params) and isinstance(params.meta, message.Meta) and params.meta.version is not UNSET


def unsupported(version: object) -> Refusal | None:
    """The refusal of a version that is not served."""
    if version == message.MODERN:
        return None
    return Refusal(UNSUPPORTED_VERSION, "Unsupported protocol version", {"supported": [message.MODERN], "requested": version})


def judge(headers: Sequence[tuple[bytes, bytes]], body: dict[str, Any]) -> Refusal | None:
    """The first rule that a request breaks: its envelope, its headers, its version."""
    doubled = [name for name in _ROUTING if sum(key == name for key, _ in headers) > 1]
    if doubled:
        return Refusal(HEADER_MISMATCH, f"{doubled[0].decode()} header appears more than once")
    params: object = body.get("params")
    meta: object = cast("dict[str, Any]", params).get("_meta") if isinstance(params, dict) else None
    if not isinstance(meta, dict):
        return Refusal(message.INVALID_PARAMS, f"params._meta must hold {VERSION_KEY} and {CAPABILITIES_KEY}")
    missing = [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]
    if missing:
        return Refusal(message.INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}")
    version = cast("dict[str, Any]", meta)[VERSION_KEY]
    lines = {name: value.decode("latin-1").strip() for name, value in headers}
    if lines.get(b"mcp-protocol-version") != version:
        return Refusal(HEADER_MISMATCH, "MCP-Protocol-Version header and params._meta name different versions")
    method = body.get("method")
    if lines.get(b"mcp-method") != method:
        return Refusal(HEADER_MISMATCH, "Mcp-Method header and body name different methods")
    key = NAMED.get(str(method))
    named: object = cast("dict[str, Any]", params).get(key) if key is not None else None
    if named is not None and decoded(lines.get(b"mcp-name")) != named:
        return Refusal(HEADER_MISMATCH, f"Mcp-Name header and parameter {key!r} differ")
    return unsupported(version)


_ROUTING = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")


def decoded(value: str | None) -> str | None:
    """A header value, out of its base64 wrapping if it has one; `None` when that is broken."""
    match = _SENTINEL.fullmatch(value) if value is not None else None
    if match is None:
        return value
    try:
        raw = base64.b64decode(match.group(1), validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == match.group(1) else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def encoded(value: str) -> str:
    """A header value, wrapped in base64 when it would not survive as it is."""
    if value.isascii() and value.isprintable() and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def mirrored(schema: object, arguments: dict[str, Any], headers: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
    """Whether `Mcp-Param-*` headers repeat the arguments that the tool's schema marks with `x-mcp-header`."""
    for path, token, kind in _marked(schema, ()):
        name = f"mcp-param-{token}".lower().encode("latin-1", "replace")
        given = [value.decode("latin-1").strip() for key, value in headers if key == name]
        value = _at(arguments, path)
        expected = _rendered(value)
        shown = ".".join(path)
        if len(given) > 1:
            return Refusal(HEADER_MISMATCH, f"Mcp-Param-{token} header appears more than once")
        if expected is None and given:
            return Refusal(HEADER_MISMATCH, f"Mcp-Param-{token} header has no argument {shown!r} to repeat")
        if expected is not None and not given:
            return Refusal(HEADER_MISMATCH, f"Mcp-Param-{token} header is missing for argument {shown!r}")
        if expected is not None and not _agrees(kind, value, expected, decoded(given[0])):
            return Refusal(HEADER_MISMATCH, f"Mcp-Param-{token} header and argument {shown!r} differ")
    return None


def mirror(schema: object, arguments: object) -> Iterator[tuple[str, str]]:
    """The `Mcp-Param-*` headers that repeat the arguments which the tool's schema marks."""
    for path, token, _ in _marked(schema, ()):
        value = _rendered(_at(arguments, path))
        if value is not None:
            yield f"Mcp-Param-{token}", encoded(value)


def _marked(schema: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, object]]:
    """Path, header token and type of every marked property that can be reached by `properties` alone."""
    if not isinstance(schema, dict):
        return
    properties: object = cast("dict[str, Any]", schema).get("properties")
    if not isinstance(properties, dict):
        return
    for name, item in cast("dict[str, Any]", properties).items():
        if isinstance(item, dict):
            field = cast("dict[str, Any]", item)
            token: object = field.get("x-mcp-header")
            if isinstance(token, str) and field.get("type") in {"string", "integer", "boolean"}:
                yield (*path, name), token, field.get("type")
            yield from _marked(field, (*path, name))


def _at(arguments: object, path: tuple[str, ...]) -> Any:
    node: Any = arguments
    for key in path:
        if not isinstance(node, dict):
            return None
        node = cast("dict[str, Any]", node).get(key)
    return node


def _rendered(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None


def _agrees(kind: object, value: object, expected: str, given: str | None) -> bool:
    if given is None:
        return False
    if kind == "integer" and isinstance(value, (int, float)) and not isinstance(value, bool) and _DECIMAL.fullmatch(given):
        return int(given.partition(".")[0]) == value
    return given == expected
