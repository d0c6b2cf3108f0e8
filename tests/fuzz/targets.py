"""What is fuzzed: each target takes any bytes and raises `AssertionError` when a rule of the parsers is broken.

`server` and `client` are held against h11, an independent parser of the same protocol; `events` against the words of its standard.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import UNSET

from mcpwatch.gateway.protocol import message, reading
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.sse import EventParser, ServerSentEvent
from tests.fuzz.readers import Answer, Reading, answer_by_h11, by_h11, our_answer, ours

CORPUS = Path(__file__).parent / "corpus"
Target = Callable[[bytes], None]


def cuts_of(data: bytes) -> list[tuple[int, ...]]:
    """Ways to hand the same bytes over: byte by byte when they are few, else in pieces that the bytes themselves choose."""
    if len(data) <= 64:
        return [tuple(range(1, len(data)))] if len(data) > 1 else []
    middle = sum(data[:64]) % len(data)
    return [(middle,), (len(data) // 3, 2 * len(data) // 3), (len(data) - 1,)]


def server(data: bytes) -> None:
    """Requests do not depend on how they are cut; h11 reads the same ones, or refuses."""
    read = ours(data)
    for cuts in cuts_of(data):
        again = ours(data, cuts)
        assert (again.requests, bool(again.error)) == (read.requests, bool(read.error)), (cuts, read, again)
    same_requests(read, by_h11(data))


def same_requests(read: Reading, other: Reading) -> None:
    """Every request that both take is the same; one that only we take was refused by h11 for what changes no framing.

    That is one of `STRICTER`, or something behind a body that both read alike: a trailer.
    """
    for ours_, theirs in zip(read.requests, other.requests, strict=False):
        assert ours_[0] == theirs[0], (read, other)
        assert ours_[2] == theirs[2], (read, other)
        if theirs[1].startswith(b"/"):
            assert ours_[1] == _plain(theirs[1]), (read, other)
    if len(read.requests) > len(other.requests):
        assert other.error, (read, other)
        first = read.requests[len(other.requests)]
        assert _is_stricter(other.error) or other.partial == (first[0], first[2]), (read, other)


def _plain(target: bytes) -> bytes:
    path, mark, query = target.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path).decode(errors="replace").encode()
    return path + (mark + query if query else b"")


STRICTER = (
    r"no (request|response) line received",  # a lone CR or LF before it
    r"illegal (request|status) line: bytearray\(b['\"](\\r|\\n)+([A-Z]|['\"])",
    r"illegal request line: bytearray\(b['\"](\\r|\\n)*[A-Z-]+  +\S+ +HTTP/1\.[01]['\"]",  # more than one space
    r"illegal request line: bytearray\(b['\"](\\r|\\n)*[A-Z-]+ +\S+  +HTTP/1\.[01]['\"]",
    r"illegal status line: bytearray\(b['\"](\\r|\\n)*HTTP/1\.[01] \d{3} ",  # control characters in the reason, which nobody reads
)
"""Faults that h11 refuses and we take, because they change nothing of where a message ends."""


def _is_stricter(error: str) -> bool:
    return any(re.match(known, error) for known in STRICTER)


_loop: asyncio.AbstractEventLoop | None = None


def client(data: bytes) -> None:
    """An answer does not depend on how it is cut; h11 reads the same one, or refuses. Nothing but `HttpFailed` is raised."""
    global _loop
    _loop = _loop or asyncio.new_event_loop()
    _loop.run_until_complete(_client(data))


async def _client(data: bytes) -> None:
    read = await our_answer(data)
    for cuts in cuts_of(data):
        again = await our_answer(data, cuts)
        assert (again.status, again.body, again.whole) == (read.status, read.body, read.whole), (cuts, read, again)
    same_answer(read, answer_by_h11(data))


def same_answer(read: Answer, other: Answer) -> None:
    """A whole answer has the same status and body for h11, unless that refuses its head; it may still refuse a trailer."""
    if read.whole and not _is_stricter(other.error):
        assert other.whole or other.error, (read, other)
        assert (other.status, other.body) == (read.status, read.body), (read, other)


def events(data: bytes) -> None:
    """Events do not depend on how they are cut, and are those of the standard."""
    read = EventParser().feed(data)
    for cuts in cuts_of(data):
        parser = EventParser()
        again = [event for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True) for event in parser.feed(data[start:end])]
        assert again == read, (cuts, read, again)
    assert read == by_the_standard(data)
    try:
        EventParser(limit=100).feed(data)
    except HttpFailed:
        assert len(data) > 10


def by_the_standard(data: bytes) -> list[ServerSentEvent]:
    """Sections 9.2.5 and 9.2.6 of the standard, word by word, on bytes that have all come."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[ServerSentEvent] = []
    buffer, event, retry = b"", ServerSentEvent(), None
    for line in text.split(b"\n")[:-1]:
        if not line:
            if buffer:
                event.data, event.retry = buffer.removesuffix(b"\n"), retry
                found.append(event)
            buffer, event = b"", ServerSentEvent()
            continue
        if line.startswith(b":"):
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                buffer += value + b"\n"
            case b"event":
                event.name = value.decode(errors="replace") or "message"
            case b"id" if b"\0" not in value:
                event.id = value.decode(errors="replace")
            case b"retry" if value.isdigit() and len(value) < 10:
                retry = int(value)
            case _:
                pass
    return found


def messages(data: bytes) -> None:
    """A client's message is read as Python's reader reads it, or refused; a new id changes the id and nothing else."""
    try:
        envelope = reading.of_client(data)
    except message.Malformed:
        return
    known: Any = json.loads(data.decode())
    assert known.get("method", UNSET) == envelope.method
    raw = message.raw_id(envelope)
    assert ("id" in known) == (raw is not None)
    if raw is None:
        return
    assert json.loads(raw) == known["id"]
    out = message.one_line(message.with_id(data, raw, b"777"))
    assert b"\n" not in out
    # every pair that any reader could see: no second id is left
    pairs: list[tuple[str, Any]] = json.loads(out.decode(), object_pairs_hook=lambda found: found)
    assert [value for key, value in pairs if key.casefold() == "id"] == [777], (data, out)
    assert json.loads(out.decode()) == known | {"id": 777}


TARGETS: dict[str, Target] = {"server": server, "client": client, "events": events, "messages": messages}


def seeds(name: str) -> list[bytes]:
    """The inputs that are kept for a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
