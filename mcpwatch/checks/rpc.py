"""JSON-RPC 2.0 as a checker needs it: messages out, messages in, and which of them answers which. Pure; knows no transport."""

from __future__ import annotations

import codecs
import hashlib
import json
from typing import Any, cast

from mcpwatch.checks.failure import MESSAGE_LIMIT, TEXT_MAX, WORD_MAX, ProbeFailure, one_line
from mcpwatch.model.probe import Stage, Symptom

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
    return _ENCODER.encode(body).encode()


def parse(text: str | bytes) -> list[Message]:
    """The messages in `text`: one object, or a batch. Raises `ProbeFailure(BAD_REPLY)` for anything else."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")
        value: object = _DECODER.decode(decoded)
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


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_constant)
"""Made once: what `json.loads` and `json.dumps` make anew for each text that is not read or written in the default way."""


def digest(text: str | bytes) -> bytes:
    """A digest of what was received."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.blake2b(raw, digest_size=16).digest()


_STAGES = {
    "initialize": Stage.INITIALIZE,
    "server/discover": Stage.DISCOVER,
    "tools/list": Stage.TOOLS_LIST,
    "prompts/list": Stage.PROMPTS_LIST,
    "resources/list": Stage.RESOURCES_LIST,
    "ping": Stage.PING,
}


class Oddities:
    """Forms of answers that are read here, and that some clients and proxies refuse: the first that came is told."""

    def __init__(self) -> None:
        self._noted: dict[str, Stage] = {}

    def note(self, method: str, what: str) -> None:
        """The answer to a method is `what`."""
        text = f"the answer to {method} {what}"
        self._noted.setdefault(text, _STAGES.get(method, Stage.CANARY))

    def remarks(self) -> list[ProbeFailure]:
        """What of it is told: the first, and how many more."""
        more = f" (and {len(self._noted) - 1} more)" if len(self._noted) > 1 else ""
        return [ProbeFailure(Symptom.INCOMPATIBLE, text + more, stage=at) for text, at in [*self._noted.items()][:1]]


HEARD = frozenset({"", "message"})
"""Types of server-sent events that clients hear as messages."""


class Awaited:
    """The answer to one request, looked for in what a peer sends; remembers what came instead."""

    def __init__(self, number: int, what: str, oddities: Oddities | None = None) -> None:
        self.number = number
        self.what = what
        self.strays = 0
        self._oddities = oddities
        self._foreign, self._said = "", ""
        self._unheard: tuple[str, int] | None = None
        """The type of the first event that clients do not hear, and how often it came."""

    def messages(self, text: str | bytes) -> list[Message]:
        """The messages in what came. Raises `ProbeFailure(BAD_REPLY)`. A form that some clients refuse is noted."""
        plain = text.removeprefix("\ufeff") if isinstance(text, str) else text.removeprefix(codecs.BOM_UTF8)
        found = parse(plain)
        if self._oddities is None:
            return found
        if len(plain) < len(text):
            self._oddities.note(self.what, "begins with a byte order mark, which official clients refuse")
        if plain.lstrip()[:1] in ("[", b"[") and any(answers(message, self.number) for message in found):
            self._oddities.note(self.what, "is a JSON array where one object was asked for, which official clients refuse")
        return found

    def is_in(self, message: Message) -> bool:
        """Whether a message is the answer. Raises `ProbeFailure(BAD_REPLY)` when it is, but no JSON-RPC 2.0."""
        if not (answers(message, self.number) or rejects(message)):
            self.strays += 1
            if "method" not in message and ("result" in message or "error" in message):
                self._foreign = f"with id {one_line(json.dumps(message['id']), WORD_MAX)}" if "id" in message else "without an id"
                self._said = one_line(json.dumps(message), TEXT_MAX)
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
            return f"an answer came {self._foreign}, but {self.what} was asked with id {self.number}"
        if self._unheard is not None:
            kind, count = self._unheard
            return (
                f"{self.what} was answered in {count} event{'' if count == 1 else 's'} of type {kind!r}, which clients do not hear"
            )
        return ""

    def missing(self) -> ProbeFailure | None:
        """The failure when a deadline passed and something else came instead; `None` when nothing came."""
        return self.unanswered(self.instead) if self.instead else None

    def unanswered(self, text: str, body: str | bytes = "") -> ProbeFailure:
        """The failure that no answer came, with what came instead of it (in this body)."""
        return ProbeFailure(Symptom.NO_REPLY, text, said=self._said or self.instead or _shown(body))


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
