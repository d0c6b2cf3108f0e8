"""JSON-RPC 2.0 as a checker needs it: messages out, messages in, and which of them answers which. Pure; knows no transport."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from mcpwatch.checks.failure import MESSAGE_LIMIT, TEXT_MAX, WORD_MAX, ProbeFailure, one_line
from mcpwatch.model.probe import Symptom

Message = dict[str, Any]


def request(number: int | str, method: str, params: Message | None = None) -> bytes:
    """A request as JSON bytes."""
    body: Message = {"jsonrpc": "2.0", "id": number, "method": method}
    if params is not None:
        body["params"] = params
    return dumps(body)


def notification(method: str, params: Message | None = None) -> bytes:
    """A notification as JSON bytes."""
    body: Message = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        body["params"] = params
    return dumps(body)


def dumps(body: object) -> bytes:
    """Compact JSON bytes; ASCII only, so that no half of a surrogate can break a line."""
    return json.dumps(body, separators=(",", ":")).encode()


def parse(text: str | bytes) -> list[Message]:
    """The messages in `text`: one object, or a batch. Raises `ProbeFailure(BAD_REPLY)` for anything else."""
    try:
        value: object = json.loads(text, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is not UTF-8", said=_shown(text)) from error
    except RecursionError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is JSON nested too deeply", said=_shown(text)) from error
    except ValueError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is not JSON", said=_shown(text)) from error
    messages = cast("list[object]", value) if isinstance(value, list) else [value]
    if not all(isinstance(message, dict) for message in messages):
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is JSON but no JSON-RPC message", said=_shown(text))
    return cast("list[Message]", messages)


def _constant(name: str) -> object:
    """Refuse `NaN` and `Infinity`, which Python reads and JSON does not know."""
    raise ValueError(f"{name} is no JSON")


def digest(text: str | bytes) -> bytes:
    """A digest of what was received."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.blake2b(raw, digest_size=16).digest()


HEARD = frozenset({"", "message"})
"""Types of server-sent events that clients hear as messages."""


class Awaited:
    """The answer to one request, looked for in what a peer sends; remembers what came instead."""

    def __init__(self, number: int, what: str) -> None:
        self.number = number
        self.what = what
        self.strays = 0
        self._foreign = ""
        self._unheard: tuple[str, int] | None = None
        """The type of the first event that clients do not hear, and how often it came."""

    def is_in(self, message: Message) -> bool:
        """Whether a message is the answer. Raises `ProbeFailure(BAD_REPLY)` when it is, but no JSON-RPC 2.0."""
        if not (answers(message, self.number) or rejects(message)):
            self.strays += 1
            if "method" not in message and ("result" in message or "error" in message):
                self._foreign = one_line(json.dumps(message.get("id")), WORD_MAX)
            return False
        if message.get("jsonrpc") != "2.0":
            told = one_line(json.dumps(message["jsonrpc"]), WORD_MAX) if "jsonrpc" in message else "none"
            raise ProbeFailure(Symptom.BAD_REPLY, f'the answer to {self.what} must have jsonrpc "2.0", it has {told}')
        return True

    def hears(self, kind: str) -> bool:
        """Whether clients hear an event of this type; counts the first type that they do not."""
        if kind in HEARD:
            return True
        name = one_line(kind, WORD_MAX)
        first, count = self._unheard or (name, 0)
        self._unheard = first, count + (name == first)
        return False

    @property
    def instead(self) -> str:
        """What came instead of the answer, or the empty string."""
        if self._foreign:
            return f"an answer came with id {self._foreign}, but {self.what} was asked with id {self.number}"
        if self._unheard is not None:
            kind, count = self._unheard
            return (
                f"{self.what} was answered in {count} event{'' if count == 1 else 's'} of type {kind!r}, which clients do not hear"
            )
        return ""

    def missing(self) -> ProbeFailure | None:
        """The failure when a deadline passed and something else came instead; `None` when nothing came."""
        return ProbeFailure(Symptom.NO_REPLY, self.instead) if self.instead else None


def answers(message: Message, number: int) -> bool:
    """Whether a message is the response to request `number`; like the official SDKs, takes the number as text too."""
    told = message.get("id")
    same = not isinstance(told, bool) and (told == number or told == str(number))
    return same and ("result" in message or "error" in message) and "method" not in message


def rejects(message: Message) -> bool:
    """Whether a message is an error without an id: the server could not even read our request."""
    return message.get("id") is None and isinstance(message.get("error"), dict) and "method" not in message


def asks(message: Message) -> bool:
    """Whether a message is a request of the server."""
    return "method" in message and message.get("id") is not None


def reply(message: Message) -> bytes:
    """Our answer to a server's request: `ping` is answered, everything else is politely unknown."""
    number = message.get("id")
    if message.get("method") == "ping":
        return dumps({"jsonrpc": "2.0", "id": number, "result": {}})
    if message.get("method") == "roots/list":
        return dumps({"jsonrpc": "2.0", "id": number, "result": {"roots": []}})
    return dumps({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "a health check offers no such method"}})


def outcome(message: Message, method: str) -> Message:
    """The result in a response. Raises `ProbeFailure(RPC_ERROR)` for an error, `ProbeFailure(BAD_REPLY)` for neither."""
    if "error" in message:
        raise error_failure(message["error"], method)
    result = message.get("result")
    if not isinstance(result, dict):
        raise ProbeFailure(Symptom.BAD_REPLY, f"the result of {method} is no object", said=_shown(json.dumps(result)))
    return cast("Message", result)


def error_failure(error: object, method: str, status: int | None = None) -> ProbeFailure:
    """A JSON-RPC error as failure, its class not yet judged (see `classify.refine`)."""
    body = cast("Message", error) if isinstance(error, dict) else {}
    code = body.get("code")
    text = body.get("message")
    said = one_line(text if isinstance(text, str) else json.dumps(error), MESSAGE_LIMIT)
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    versions = told_versions(body)
    shown = f"{number}: {said}" if said else f"{number}, with an empty message"
    if versions and not all(version in said for version in versions):
        shown += f" (it supports {', '.join(versions)})"
    text = f"{method} was answered with error {shown}"
    return ProbeFailure(Symptom.RPC_ERROR, text, said=said, code=number, status=status, versions=versions)


def told_versions(error: Message) -> tuple[str, ...]:
    """The protocol versions that a JSON-RPC error names as supported (`data.supported`), bounded."""
    data = error.get("data")
    told: object = cast("Message", data).get("supported") if isinstance(data, dict) else None
    listed = cast("list[object]", told) if isinstance(told, list) else []
    return tuple(one_line(version, WORD_MAX) for version in listed[:8] if isinstance(version, str))


def _shown(text: str | bytes) -> str:
    return one_line(text, TEXT_MAX)
