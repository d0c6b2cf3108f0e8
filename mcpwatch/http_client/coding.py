"""Bodies that come compressed although nobody asked for it: one reading of them for the checks and the gateway."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})
"""Codings that are read."""
STEP = 16 * 1024
"""Bytes that are unpacked in one turn of the loop: at most 1,032 times as many come of them, in some hundredths of a second."""


class BadCoding(ValueError):
    """A body is not of the coding that it claims, or of one that nobody here reads; the text says which."""


class Unpacker:
    """Undoes the coding of one body, piece by piece; never more at once than it is asked for."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._first = True
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding in UNPACKED else None
        if coding and self._inflate is None:
            raise BadCoding(f"the answer is compressed as {coding[:40]!r}, although it was asked for uncompressed")

    async def read(self, more: Callable[[], Awaitable[bytes | None]], most: int) -> AsyncIterator[bytes]:
        """The body that comes in pieces until `None`; the loop has its turn between the parts of a packed one. Raises `BadCoding`.

        No part of a packed one is larger than `most` bytes.
        """
        while (piece := await more()) is not None:
            if self._inflate is None:
                yield piece
                continue
            for start in range(0, len(piece), STEP):
                yield self.feed(piece[start : start + STEP], most)
                await asyncio.sleep(0)

    def feed(self, piece: bytes, most: int) -> bytes:
        """The body in a piece, of at most `most` bytes. Raises `BadCoding`."""
        if self._inflate is None:
            return piece
        try:
            return self._inflated(piece, most)
        except zlib.error as error:
            raise BadCoding(f"the answer is not the {self._coding} it claims") from error

    def _inflated(self, piece: bytes, most: int) -> bytes:
        assert self._inflate is not None
        first, self._first = self._first, False
        try:
            return self._inflate.decompress(piece, most)
        except zlib.error:
            if not first or self._coding != "deflate":
                raise
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers leave out the frame of zlib
        return self._inflate.decompress(piece, most)
