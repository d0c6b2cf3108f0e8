"""One JSON-RPC message as bytes: what it is, and how to change an id in it without touching anything else.

Owns the reading of the few fields that routing needs and the splicing of bytes. Pure.
Must not know transports, sessions or members.
Every other byte of a message (unknown fields, number formats, order of keys, white space) stays what it was: ADR 0007.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from mcpwatch.gateway.protocol import json_edit

MODERN = "2026-07-28"
"""The first protocol version without `initialize` and without sessions."""
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions that begin with `initialize`, oldest first."""

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
MEMBER_DOWN = -32000
"""JSON-RPC code of every error that the gateway makes because a member is away; `data.member` names it."""


class Malformed(ValueError):
    """Bytes that are no JSON-RPC message; the text says why and quotes none of them. `code` is that of the error to answer."""

    code = PARSE_ERROR


class InvalidMessage(Malformed):
    """JSON that is no message: two readers may read it differently, or it breaks a rule of the protocol."""

    code = INVALID_REQUEST


class Meta(Struct, gc=False):
    """`params._meta`: the token that ties progress to its request, the id that ties a change to its subscription, the version."""

    progress_token: Raw | UnsetType = field(default=UNSET, name="progressToken")
    subscription: Raw | UnsetType = field(default=UNSET, name=SUBSCRIPTION)
    version: Raw | UnsetType = field(default=UNSET, name=VERSION_KEY)


class Params(Struct, gc=False):
    """The parameters that routing looks at, as raw JSON."""

    meta: Meta | UnsetType | None = field(default=UNSET, name="_meta")
    progress_token: Raw | UnsetType = field(default=UNSET, name="progressToken")
    request_id: Raw | UnsetType = field(default=UNSET, name="requestId")


NO_PARAMS = Params()
"""Parameters in which routing has nothing to look at."""


class Envelope(Struct, gc=False):
    """The top of a message. A request has `id` and `method`, a notification `method`, a response `id`."""

    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Params | UnsetType | None = UNSET


class _Loose(Struct, gc=False):
    """The top of a message whose parameters have an odd shape."""

    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET


class _WithParams(Struct, gc=False):
    """The parameters of a message, as they were written."""

    params: Raw = Raw()


_strict = msgspec.json.Decoder(Envelope)
_with_params = msgspec.json.Decoder(_WithParams)
_loose = msgspec.json.Decoder(_Loose)


def peek(data: bytes) -> Envelope:
    """The routing fields of one message that was read already, or is our own; `reading.py` reads those from outside.

    Raises `Malformed` for anything that is no JSON object or no JSON at all.
    """
    try:
        return _strict.decode(data)
    except msgspec.ValidationError:
        return _peek_loosely(data)
    except (msgspec.DecodeError, RecursionError) as error:
        return _peek_lenient(data, str(error))


def _peek_loosely(data: bytes) -> Envelope:
    try:
        top = _loose.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    return Envelope(id=top.id, method=top.method)


def _peek_lenient(data: bytes, reason: str) -> Envelope:
    """Python servers may print `NaN`, which is no JSON but which SDK clients read."""
    try:
        value: Any = json.loads(data.decode())
        return _strict.decode(json.dumps(_finite(value)).encode())
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise Malformed(reason) from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_finite(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def params_of(data: bytes) -> bytes:
    """The parameters of a message that was read already, as raw JSON; empty when it has none."""
    try:
        return bytes(_with_params.decode(data).params)
    except (msgspec.DecodeError, RecursionError):  # `NaN`, which not every reader takes
        span = json_edit.locate(data, ("params",))
        return data[span[0] : span[1]] if span is not None else b""


# --- splicing ------------------------------------------------------------------------------------------------------------------

_BEGIN = b'{"jsonrpc":"2.0","id":'
_BEGIN_LENGTH = len(_BEGIN)
_HEAD = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?(?:"method"\s*:\s*"[^"\\]*"\s*,\s*)?"id"\s*:\s*')
_TAIL = re.compile(rb'[,{]\s*"id"\s*:\s*("[^"\\]*"|-?[0-9.eE+-]+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')
_TAIL_SPAN = 96
_AFTER = b",} \t\r\n"
_ID = re.compile(rb'("[^"\\]*"|-?[0-9.eE+-]+)')


def with_id(data: bytes, old: bytes, new: bytes) -> bytes:
    """`data` with its top-level id, known to be `old`, replaced by `new`. `data` is a message that `peek` accepted.

    Writers put the id first or last; in valid JSON neither pattern can match inside a nested value or a string,
    because the first is anchored at the opening and the second at the closing brace. Anything else is walked.
    """
    end = _BEGIN_LENGTH + len(old)
    if data.startswith(_BEGIN) and data.startswith(old, _BEGIN_LENGTH) and data[end : end + 1] in _AFTER:
        return b"%b%b%b" % (_BEGIN, new, data[end:])
    head = _HEAD.match(data)
    if head is not None:
        start = head.end()
        end = start + len(old)
        if data.startswith(old, start) and data[end : end + 1] in _AFTER:
            return data[:start] + new + data[end:]
    base = max(0, len(data) - _TAIL_SPAN - len(old))
    tail = _TAIL.search(data, base)
    if tail is not None and tail.group(1) == old:
        return data[: tail.start(1)] + new + data[tail.end(1) :]
    return json_edit.with_value(data, ("id",), new)


def id_at_an_end(head: bytes, tail: bytes) -> bytes | None:
    """The top-level id of a message of which only the first and the last bytes are known, where writers put it first or last."""
    first = _HEAD.match(head)
    last = _TAIL.search(tail) if first is None else _ID.match(head, first.end())
    return last.group(1) if last is not None else None


def with_known(data: bytes, path: tuple[str, ...], old: bytes, new: bytes) -> bytes:
    """`data` with the value at `path`, known to be `old`, replaced by `new`.

    Where no byte is escaped, a key that is written but once is that of the path; anything else is walked.
    """
    key = b'"%b":' % path[-1].encode()
    start = data.find(key) + len(key)
    if start >= len(key) and b"\\" not in data and data.count(key[:-1]) == 1 and data.startswith(old, start):
        end = start + len(old)
        if data[end : end + 1] in _AFTER:
            return data[:start] + new + data[end:]
    return json_edit.with_value(data, path, new)


def raw_id(envelope: Envelope) -> bytes | None:
    """The id of a message as it was written."""
    return bytes(envelope.id) if isinstance(envelope.id, Raw) else None


# --- making --------------------------------------------------------------------------------------------------------------------


def error(raw_id: bytes | None, code: int, text: str, data: dict[str, Any] | None = None) -> bytes:
    """A JSON-RPC error as bytes. `raw_id` is the id as it was written, `None` when the message had none."""
    body: dict[str, Any] = {"code": code, "message": text}
    if data:
        body["data"] = data
    return b'{"jsonrpc":"2.0","id":' + (raw_id or b"null") + b',"error":' + msgspec.json.encode(body) + b"}"


def result(raw_id: bytes, value: bytes) -> bytes:
    """A JSON-RPC result as bytes, around a value that is JSON already."""
    return b'{"jsonrpc":"2.0","id":' + raw_id + b',"result":' + value + b"}"


def request(number: int, method: str, params: dict[str, Any] | None = None) -> bytes:
    """A JSON-RPC request of the gateway's own."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
    return msgspec.json.encode(body if params is None else body | {"params": params})


def notification(method: str, params: dict[str, Any] | None = None) -> bytes:
    """A JSON-RPC notification of the gateway's own."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return msgspec.json.encode(body if params is None else body | {"params": params})


def one_line(data: bytes) -> bytes:
    """`data` without raw line ends, which in valid JSON stand between values only; for stdio and for SSE."""
    data = data.strip()
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data
