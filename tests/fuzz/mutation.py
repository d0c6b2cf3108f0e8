"""Inputs made from other inputs: deterministic for a seed, with the pieces that HTTP parsers disagree about."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

PIECES = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x85", b"\xa0", b":", b";", b",", b"0", b"-1", b"+1",
    b"0x1", b"1_0", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length : 5\r\n",
    b"content-length:6\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding\t: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b" folded\r\n", b"\tfolded\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"00000005\r\nhello\r\n", b"5 \r\nhello\r\n", b"ffffffffffffffff\r\n",
    b"5\nhello\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"Host: y\r\n", b"Host:\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny", b"HTTP/1.1 204 No Content\r\n\r\n", b"data: x\n", b"data:\r\n",
    b"event: message\n", b"id: 1\0\n", b"retry: 5\n", b"\xef\xbb\xbf", b": ping\n\n",
]  # fmt: skip


def mutate(source: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to four changes of `source`; `others` are what it may be crossed with."""
    data = source
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_CHANGES)(data, others, rng)
    return data[:20_000]


def _at(data: bytes, rng: random.Random) -> int:
    return rng.randint(0, len(data))


def _insert(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.choice(PIECES) + data[at:]


def _insert_line(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    ends = [at + 2 for at in range(len(data)) if data[at : at + 2] == b"\r\n"] or [0]
    at = rng.choice(ends)
    return data[:at] + rng.choice(PIECES) + data[at:]


def _delete(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + rng.randint(1, 8) :]


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _repeat(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start = _at(data, rng)
    end = min(len(data), start + rng.randint(1, 64))
    return data[:end] + data[start:end] * rng.choice([1, 2, 100]) + data[end:]


def _cross(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: _at(data, rng)] + other[_at(other, rng) :]


def _behind(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return data + rng.choice(others)


_CHANGES: list[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = [
    _insert, _insert_line, _insert_line, _delete, _flip, _repeat, _cross, _behind,
]  # fmt: skip
