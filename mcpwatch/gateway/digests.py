"""SHA-256, comparison in constant time and random ids without OpenSSL: 3.4 MiB for which the gateway has no other use (ADR 0130).

The interpreter has its own SHA-256, in one module since Python 3.12 and in another before; where it has neither, `hashlib` it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast


class _Hash(Protocol):
    def digest(self) -> bytes:
        """Its 32 bytes."""
        ...


def _own_sha256() -> Callable[[bytes], _Hash]:
    for module in ("_sha2", "_sha256", "hashlib"):
        try:
            return cast("Callable[[bytes], _Hash]", import_module(module).sha256)
        except ImportError:
            continue
    raise ImportError("no SHA-256")


DRAWN = 64
"""Ids that are drawn from the system at once."""
_ahead: list[str] = []
_sha256 = _own_sha256()
equal = cast("Callable[[bytes, bytes], bool]", import_module("_operator")._compare_digest)
"""Whether two digests are the same; how long that takes says nothing of where they differ. `hmac` has it from there."""


def sha256(data: bytes) -> bytes:
    """The digest of `data`, 32 bytes."""
    return _sha256(data).digest()


def new_id() -> str:
    """Sixteen random bytes of the system, in hex: nobody guesses it."""
    if not _ahead:
        drawn = os.urandom(16 * DRAWN).hex()
        _ahead.extend(drawn[at : at + 32] for at in range(0, len(drawn), 32))
    return _ahead.pop()
