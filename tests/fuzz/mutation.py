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
    b"event: message\n", b"id: 1\0\n", b"retry: 5\n", b"\xef\xbb\xbf", b": ping\n\n", b'"id":2,', b',"id":2', b'"ID":2,',
    b'"\\u0069d":2,', b'"method":"x",', b"{", b"}", b"[", b"]", b'"', b"\\", b"NaN", b"1e999", b"null", b"-", b"\xff",
    b"\xed\xa0\x80", b"9" * 4301, b"[" * 600,
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


def generate(rng: random.Random) -> bytes:
    """Some requests that every parser must read alike: kept and pipelined, with bodies of known length and in chunks."""
    return b"".join(_request(rng) for _ in range(rng.randint(1, 4)))


def _request(rng: random.Random) -> bytes:
    method = rng.choice([b"GET", b"POST", b"DELETE", b"OPTIONS", b"PUT", b"HEAD"])
    target = rng.choice([b"/", b"/a/mcp", b"/a?b=c&d", b"/%41%20", b"/" + b"x" * rng.randint(1, 300), b"*"])
    lines = [b"Host: " + rng.choice([b"x", b"127.0.0.1:9090", b"[::1]:1"])]
    lines += [
        b"X-%d:%s" % (number, b" " * rng.randint(0, 3) + rng.randbytes(9).hex().encode()) for number in range(rng.randint(0, 5))
    ]
    body = rng.randbytes(rng.choice([0, 1, 2, 100, 5000]))
    kind = rng.choice(["none", "length", "chunked"])
    if kind == "length":
        lines.append(rng.choice([b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH:  "]) + b"%d" % len(body))
    elif kind == "chunked":
        lines.append(rng.choice([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked", b"Transfer-Encoding: CHUNKED "]))
        body = _chunks(body, rng)
    else:
        body = b""
    rng.shuffle(lines)
    return b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, target, b"\r\n".join(lines), body)


def _chunks(body: bytes, rng: random.Random) -> bytes:
    parts: list[bytes] = []
    while body:
        size = rng.randint(1, len(body))
        form = rng.choice([b"%x", b"%X", b"00%x"])
        parts.append(form % size + rng.choice([b"", b";a", b";a=b", b';a="b c"']) + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    return b"".join(parts) + b"0\r\n" + rng.choice([b"", b"T: v\r\n"]) + b"\r\n"
