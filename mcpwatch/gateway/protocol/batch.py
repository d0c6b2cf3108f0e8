"""JSON-RPC batches as bytes, which only protocol version 2025-03-26 has: an array of messages and what is in it.

Pure. Must not know wires, sessions or members.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET, Raw

from mcpwatch.gateway.protocol import reading
from mcpwatch.gateway.protocol.message import Envelope, InvalidMessage, Malformed

VERSION = "2025-03-26"
"""The one protocol version with batches."""
LENGTH = 100
"""Messages that one batch may hold."""

_array = msgspec.json.Decoder(list[Raw])


def is_one(body: bytes) -> bool:
    """Whether a body is an array at all."""
    return body[:1] != b"{" and body[:16].lstrip()[:1] == b"["


def cut(body: bytes) -> list[bytes]:
    """The messages of a batch as they were written. Raises `Malformed` when there are none, or too many."""
    try:
        found = [bytes(item) for item in _array.decode(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if not found:
        raise InvalidMessage("a batch must hold at least one message")
    if len(found) > LENGTH:
        raise InvalidMessage(f"a batch of {len(found)} messages; {LENGTH} are the most")
    return found


def messages(data: bytes) -> Iterator[tuple[bytes, Envelope]]:
    """What a member wrote as a batch, one by one; what is no message is left out. Raises `Malformed`."""
    for item in cut(data):
        envelope = reading.of_member(item)
        if envelope.id is not UNSET or envelope.method is not UNSET:
            yield item, envelope
