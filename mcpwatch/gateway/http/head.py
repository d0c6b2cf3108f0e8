"""What the head of a request says once it is whole, and what is wrong with it. Pure.

Owns targets, Host and the framing that the parser leaves to us. Must not know sockets or bodies.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import httptools

from mcpwatch.gateway.http.http_exchange import AnswerSink, HttpExchange

ONE_HOST = "one Host header is needed"
LENGTH_DIGITS = 15
ENDLESS = 10**LENGTH_DIGITS
"""A Content-Length of more digits counts as this: it is more than anybody may send (bytes)."""


class BadHead(ValueError):
    """This is no request that can be answered; the text says why, in a few words."""


def read(sink: AnswerSink, parser: Any, url: bytes, lines: list[tuple[bytes, bytes]]) -> HttpExchange:
    """The request whose head a parser of httptools has just read. Raises `BadHead`."""
    method: str = parser.get_method().decode("ascii")
    version: str = parser.get_http_version()
    newer = version == "1.1"
    if not newer and version != "1.0":
        raise BadHead("only HTTP/1.1 and HTTP/1.0 are spoken here")
    sent = lines
    if not url.startswith(b"/") and url != b"*":
        url, lines = _absolute(method, url, lines)
    target, _, query = url.partition(b"?")
    path = target.decode("latin-1")
    headers = dict(lines)
    if b"host" in headers:
        if lines is not sent or len(headers) != len(lines):
            _one_host(sent, newer=newer)
    elif newer:
        raise BadHead(ONE_HOST)
    keep = newer and parser.should_keep_alive()
    exchange = HttpExchange(sink, method, unquote(path) if "%" in path else path, query, lines, headers, newer, keep)
    chunked = b"transfer-encoding" in headers and _chunked(exchange, lines)
    length = headers.get(b"content-length", b"0")
    if parser.should_upgrade() and (chunked or length != b"0"):
        raise BadHead("an upgrade with a body is not understood")  # the parser would take the body for the next request
    exchange.length = 0 if chunked else int(length) if len(length) <= LENGTH_DIGITS else ENDLESS
    return exchange


def _one_host(lines: list[tuple[bytes, bytes]], *, newer: bool) -> None:
    hosts = sum(name == b"host" for name, _ in lines)
    if hosts > 1 or (newer and not hosts):
        raise BadHead(ONE_HOST)


def _chunked(exchange: HttpExchange, lines: list[tuple[bytes, bytes]]) -> bool:
    """Whether the body comes in chunks: the only coding, named once."""
    codings = [value.strip().lower() for name, value in lines if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        raise BadHead("the only Transfer-Encoding is chunked, once")
    if codings and not exchange.newer:
        raise BadHead("HTTP/1.0 knows no Transfer-Encoding")
    return bool(codings)


def _absolute(method: str, url: bytes, lines: list[tuple[bytes, bytes]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """An absolute target as path and query; its authority is what counts as Host."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise BadHead("the target is no path") from None
    if not parts.host or method == "CONNECT":
        raise BadHead("the target is no path")
    host = b"[" + parts.host + b"]" if b":" in parts.host else parts.host
    named = host + (b":%d" % parts.port if parts.port else b"")
    path = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    return path, [*(pair for pair in lines if pair[0] != b"host"), (b"host", named)]
