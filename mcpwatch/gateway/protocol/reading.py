"""The one reading of a message from outside: what this gateway reads in it, every other JSON reader reads too, or it is refused.

Owns what is refused at the door: bytes that are not UTF-8 JSON, and JSON that two readers may read differently: doubled keys, keys
that differ only in case (Go matches keys so), numbers and depths that end another reader. Pure; ADR 0078.
Must not know transports, sessions or members.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.message import Envelope, InvalidMessage, Malformed

DIGITS = 4300
"""The longest integer (digits) that Python reads; a longer one ends some servers."""
DEPTH = 500
"""Levels of arrays and objects; the readers of several languages stop between 500 and 1,000."""
KEYS = 64
"""Keys of a message's own objects."""

_TOP = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset(
    {"_meta", "name", "uri", "ref", "level", "requestId", "progressToken", "requestState", "inputResponses", "arguments"}
)
_META = frozenset({"progressToken", message.SUBSCRIPTION, message.VERSION_KEY})
_ORDINARY = _PARAMS | frozenset(
    {"protocolVersion", "capabilities", "clientInfo", "cursor", "argument", "context", "progress", "total", "message", "reason",
     "logger", "data", "task"}
)  # fmt: skip
"""Keys of parameters of which no two differ in case alone."""

_NOTHING = Raw()


class _Top(Struct, gc=False):
    """The top of a message in full. What is left out is empty."""

    jsonrpc: Raw = _NOTHING
    id: Raw = _NOTHING
    method: str = ""
    params: Raw = _NOTHING
    result: Raw = _NOTHING
    error: Raw = _NOTHING


_top = msgspec.json.Decoder(_Top)
_params = msgspec.json.Decoder(message.Params)
_object = msgspec.json.Decoder(dict[str, Raw])
_OPENING = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")
_KEY = re.compile(rb'("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_NEXT = re.compile(rb"[ \t\r\n]*[,}][ \t\r\n]*")
_LONG = re.compile(rb"[0-9]{%d}" % (DIGITS + 1))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ID_BEGINS = frozenset(b"%c" % byte for byte in b'"-0123456789') | {b""}
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def of_client(data: bytes) -> Envelope:
    """The routing fields of a client's message. Raises `Malformed`, and `InvalidMessage` when readers may differ about it."""
    check_text(data)
    if len(data) > DEPTH and data.count(b"[") + data.count(b"{") > DEPTH and _depth(data) > DEPTH:
        raise Malformed(f"nested more than {DEPTH} levels deep")
    return _brief(data) or _read(data, finite=True)


def of_member(data: bytes) -> Envelope:
    """The routing fields of a member's message: as a client's, but `NaN`, which Python servers print, is let through."""
    check_text(data)
    return _brief(data) or _read(data, finite=False)


def check_text(data: bytes) -> None:
    """Raises `Malformed` for bytes that are not UTF-8 or hold an integer that not every reader takes."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise Malformed("not UTF-8") from None
        if data.startswith(b"\xef\xbb\xbf"):
            raise Malformed("begins with a byte order mark")
    if len(data) > DIGITS and _has_long_run(data):
        try:
            json.loads(data.decode())
        except (ValueError, RecursionError):
            raise Malformed(f"holds an integer of more than {DIGITS} digits, or is no JSON") from None


def _brief(data: bytes) -> Envelope | None:
    """The routing fields of a message as most are: known keys alone, each once, no byte between them. `None`: of any other.

    The proof is its length: it is as long as its keys and values are, so there is nothing else in it. One in the spelling of Python
    (`json.dumps`), with a space behind each colon and comma, is proved by spelling it again.
    """
    try:
        top = _top.decode(data)
        id_, method, params, other = top.id, top.method, top.params, len(top.result) + len(top.error)
        size = 1 + len(id_) + len(method) + len(params) + other
        if id_:
            size += 6
        if method:
            size += 12
        if params:
            size += 10
        if top.jsonrpc:
            size += 11 + len(top.jsonrpc)
        if other:
            size += (10 if top.result else 0) + (9 if top.error else 0)
        if (size != len(data) and not _is_pythons(data, size)) or (method and (other or bytes(id_)[:1] not in _ID_BEGINS)):
            return None
        inner = _brief_params(params) if params else UNSET
    except (msgspec.DecodeError, RecursionError):
        return None
    return Envelope(id_ or UNSET, method or UNSET, inner) if inner is not None else None


def _brief_params(params: Raw) -> message.Params | None:
    """The same of an object of parameters. Raises `msgspec.DecodeError`, `RecursionError`."""
    if len(params) == len(b"{}"):
        return message.NO_PARAMS if _is_object(params) else None
    found = _object.decode(params)
    if not _is_brief(found, params) or "ref" in found:
        return None
    if not _ORDINARY.issuperset(found):
        _keys(found, _PARAMS)
    meta = found.get("_meta")
    if meta is None:
        return _params.decode(params) if "requestId" in found or "progressToken" in found else message.NO_PARAMS
    inner = _object.decode(meta)
    if not _is_brief(inner, meta):
        return None
    _keys(inner, _META)
    return _params.decode(params)


def _is_brief(found: dict[str, Raw], data: Raw) -> bool:
    """Whether an object is these keys and values and nothing else, as short as can be or in the spelling of Python."""
    size = 1 + 4 * len(found) + sum(map(len, found)) + sum(map(len, found.values()))
    return size == len(data) or (size + 2 * len(found) - 1 == len(data) and bytes(data) == _pythons(found))


def _is_pythons(data: bytes, size: int) -> bool:
    """Whether a message, `size` bytes in its shortest spelling, has known keys alone, in the spelling of Python."""
    if size >= len(data):
        return False
    found = _object.decode(data)
    return size + 2 * len(found) - 1 == len(data) and _TOP.issuperset(found) and data == _pythons(found)


def _pythons(found: dict[str, Raw]) -> bytes:
    """An object as Python spells it."""
    return b"{" + b", ".join([b'"%b": %b' % (key.encode(), value) for key, value in found.items()]) + b"}"


def _read(data: bytes, *, finite: bool) -> Envelope:
    try:
        top = _members(data)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        data = _plain(data, str(error), finite=finite)
        top = _members(data)
    _keys(top, _TOP)
    params = top.get("params")
    if params is not None and _is_object(params):
        inner = _members(params)
        _keys(inner, _PARAMS)
        for name in ("_meta", "ref"):
            nested = inner.get(name)
            if nested is not None and _is_object(nested):
                _keys(_members(nested), _META if name == "_meta" else _PARAMS)
    envelope = message.peek(data)
    _kind(top, envelope)
    return envelope


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"


def _kind(top: dict[str, Raw], envelope: Envelope) -> None:
    """Refuse what is a request to one reader and something else to another."""
    if envelope.method is UNSET:
        return
    if "result" in top or "error" in top:
        raise InvalidMessage("a message is either a request or an answer")
    if isinstance(envelope.id, Raw) and bytes(envelope.id)[:1] not in b'"-0123456789':
        raise InvalidMessage("the id of a request must be a string or a number")


def _members(data: bytes | Raw) -> dict[str, Raw]:
    """The members of an object, each key once. Raises `InvalidMessage`, `msgspec.DecodeError`, `RecursionError`."""
    found = _object.decode(data)
    if len(found) > KEYS:
        raise InvalidMessage(f"an object of the message has more than {KEYS} keys")
    keys = "".join(found)
    shortest = 1 + (len(keys) if keys.isascii() else len(keys.encode())) + 4 * len(found) + sum(map(len, found.values()))
    if max(shortest, 2) != len(data):  # else it is as short as these keys and values can be: there is nothing else in it
        whole = bytes(data)
        if whole != _pythons(found):
            _walk(whole, found)
    return found


def _walk(data: bytes, found: dict[str, Raw]) -> None:
    """Go through an object key by key. Raises `InvalidMessage` when a key comes twice."""
    seen: set[str] = set()
    opening = _OPENING.match(data)
    position = opening.end() if opening is not None else 0
    while (key := _KEY.match(data, position)) is not None:
        name: str = json.loads(key.group(1))
        value = bytes(found[name]) if name in found else b""
        after = _NEXT.match(data, key.end() + len(value)) if data.startswith(value, key.end()) else None
        if name in seen or after is None:
            raise InvalidMessage("a key of the message comes twice")
        seen.add(name)
        position = after.end()


def _keys(found: dict[str, Raw], known: frozenset[str]) -> None:
    """Refuse keys that differ from another one, or from one that routing reads, in case alone."""
    if found.keys() <= known:
        return
    folded = [key.casefold() for key in found]
    if len(set(folded)) != len(folded) or any(key not in known and key.casefold() in _FOLDED[known] for key in found):
        raise InvalidMessage("a key of the message differs from a known or another one in case alone")


_FOLDED = {known: frozenset(key.casefold() for key in known) for known in (_TOP, _PARAMS, _META)}


def _plain(data: bytes, reason: str, *, finite: bool) -> bytes:
    """A message that only some readers take, spelled so that ours does: `NaN` as null, half a surrogate pair as `?`."""

    def constant(_: str) -> None:
        if finite:
            raise ValueError

    try:
        value: Any = json.loads(data.decode(), parse_constant=constant, object_pairs_hook=_once)
        return json.dumps(value, ensure_ascii=False).encode(errors="replace")
    except InvalidMessage:
        raise
    except (ValueError, RecursionError):
        raise Malformed(reason) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidMessage("a key of the message comes twice")
    return found


def _has_long_run(data: bytes) -> bool:
    """Whether more than `DIGITS` digits stand together somewhere: such a run has one at a multiple of its length."""
    step = DIGITS + 1
    for at, byte in zip(range(0, len(data), step), data[::step], strict=True):
        if 48 <= byte <= 57:
            before = data[max(0, at - step) : at]
            if _LONG.match(data, at - len(before) + len(before.rstrip(b"0123456789"))) is not None:
                return True
    return False


def _depth(data: bytes) -> int:
    """How deeply it is nested."""
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(itertools.accumulate(map(_STEP.__getitem__, brackets)), default=0)
