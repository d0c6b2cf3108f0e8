"""JSON-RPC 2.0 as a checker needs it: messages out, messages in, and which of them answers which. Pure; knows no transport."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from mcpwatch.checks.failure import ProbeFailure, one_line
from mcpwatch.model.probe import Symptom

Message = dict[str, Any]

NOTHING: Message = {}
DEPTH_WORDS = "nested too deeply"


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
        value: object = json.loads(text)
    except UnicodeDecodeError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is not UTF-8", said=_shown(text)) from error
    except RecursionError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, f"the answer is JSON {DEPTH_WORDS}", said=_shown(text)) from error
    except ValueError as error:
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is not JSON", said=_shown(text)) from error
    messages = cast("list[object]", value) if isinstance(value, list) else [value]
    if not all(isinstance(message, dict) for message in messages):
        raise ProbeFailure(Symptom.BAD_REPLY, "the answer is JSON but no JSON-RPC message", said=_shown(text))
    return cast("list[Message]", messages)


def digest(text: str | bytes) -> bytes:
    """A digest of what was received."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.blake2b(raw, digest_size=16).digest()


def answers(message: Message, number: int | str) -> bool:
    """Whether a message is the response to request `number`."""
    return message.get("id") == number and ("result" in message or "error" in message) and "method" not in message


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
    said = one_line(text if isinstance(text, str) else json.dumps(error), 300)
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    shown = f"{number}: {said}" if said else f"{number}, with an empty message"
    return ProbeFailure(Symptom.RPC_ERROR, f"{method} was answered with error {shown}", said=said, code=number, status=status)


def _shown(text: str | bytes) -> str:
    raw = text if isinstance(text, str) else text[:400].decode("utf-8", "replace")
    return one_line(raw, 200)
