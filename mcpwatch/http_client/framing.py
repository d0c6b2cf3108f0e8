"""How much of an HTTP message may be something else than body. Pure; used for what clients send and for what upstreams answer.

The rule for chunks is that of Go's net/http (CVE-2023-39326): each chunk may bring a little, all together a little more.
"""

from __future__ import annotations

FRAMING = 16 * 1024
"""Bytes of a chunked body that are not body: extensions, trailers, line ends; beside `CHUNK_FRAMING` for each chunk."""
CHUNK_FRAMING = 16
"""Bytes of framing that each chunk may add to `FRAMING`; its size in hexadecimal and four bytes of line ends are needed."""


class Framing:
    """Counts bytes that are not body since a head began or ended. `slack`: what one call of the parser may overrun (bytes)."""

    def __init__(self, head_bytes: int, slack: int) -> None:
        self._head_bytes = head_bytes
        self._slack = slack
        self._size = self._chunks = 0
        self._headed = False

    def begin(self) -> None:
        """A head begins, or nothing is under way."""
        self._size, self._headed = 0, False

    def headed(self) -> None:
        """A head is whole: its body begins."""
        self._size = self._chunks = 0
        self._headed = True

    def chunk(self) -> None:
        """One more chunk of a body."""
        self._chunks += 1

    def within(self, most: int) -> bool:
        """Whether what was counted since the head began is at most `most` bytes."""
        return self._size <= most

    def fits(self, size: int) -> bool:
        """Count `size` bytes more. Whether they are still within bounds."""
        self._size += size
        most = FRAMING + CHUNK_FRAMING * self._chunks if self._headed else self._head_bytes
        return self._size <= most + self._slack
