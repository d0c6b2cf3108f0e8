"""What mcpwatch knows it wrote into one client's file: the proof of ownership, kept in the store and never in the file. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mcpwatch.clients.formats.path import Path, Value, members, read, write
from mcpwatch.foreign.shape import within
from mcpwatch.model.time import WallTime

DECLINED = "declined"
"""Instead of a hash: a person took our entry out, and it stays out."""
LARGEST_ENTRY = 1000
"""Values in one entry; those of ours have about a dozen."""
GOING = "going"
"""Instead of a pending hash: the entry is about to be removed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Ownership of one file. `entries` maps a written path to the hash of the value last written there.

    `pending` are hashes about to be written: a crash between the write and the note of it costs no ownership. `made` are the
    containers that exist only because of us, `created` says the file does. `file` is the hash of the whole text last written.
    """

    entries: Mapping[str, str] = field(default_factory=dict[str, str])
    pending: Mapping[str, str] = field(default_factory=dict[str, str])
    made: frozenset[Path] = frozenset()
    created: bool = False
    file: str = ""
    written_at: WallTime | None = None
    paused: bool = False

    def owns(self, path: Path) -> bool:
        """Whether an entry of ours is meant to be at `path`."""
        return self.entries.get(write(path), DECLINED) != DECLINED or write(path) in self.pending

    def declined(self, path: Path) -> bool:
        """Whether a person took our entry at `path` out."""
        return self.entries.get(write(path)) == DECLINED

    def wrote(self, path: Path, value: Value) -> bool:
        """Whether `value` at `path` is, to the last key, what we wrote."""
        mark = fingerprint(value)
        return mark != "" and mark in (self.entries.get(write(path)), self.pending.get(write(path)))

    def intending(self, entries: Mapping[Path, Value]) -> Ledger:
        """This ledger with a note of what is about to be written."""
        going = dict.fromkeys((key for key, mark in self.entries.items() if mark != DECLINED), GOING)
        return replace(self, pending=going | {write(path): fingerprint(value) for path, value in entries.items()})


def fingerprint(value: Value) -> str:
    """A short hash of a value, the same for the same JSON in any order of keys; empty for what no entry of ours can be.

    That is a value of more parts than `LARGEST_ENTRY`, one that holds itself, or one that is no JSON.
    """
    if not within(value, LARGEST_ENTRY):
        return ""
    try:
        return digest(json.dumps(value, sort_keys=True, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return ""


def digest(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def dumps(ledger: Ledger) -> str:
    """The ledger as the store keeps it. Hashes only: no value of a file is in it."""
    body: dict[str, Value] = {
        "entries": dict(ledger.entries),
        "pending": dict(ledger.pending),
        "made": sorted(write(path) for path in ledger.made),
        "created": ledger.created,
        "file": ledger.file,
        "written_at": ledger.written_at,
        "paused": ledger.paused,
    }
    return json.dumps(body)


def loads(text: str | None) -> Ledger:
    """The inverse of `dumps`; a text that cannot be read is an empty ledger: then nothing is ours, which harms nobody."""
    try:
        body = members(json.loads(text or "{}"))
        at = body.get("written_at")
        return Ledger(
            {str(key): str(value) for key, value in members(body.get("entries")).items()},
            {str(key): str(value) for key, value in members(body.get("pending")).items()},
            frozenset(read(str(path)) for path in body.get("made") or ()),
            bool(body.get("created")),
            str(body.get("file") or ""),
            None if at is None else WallTime(float(at)),
            bool(body.get("paused")),
        )
    except (ValueError, TypeError):
        return Ledger()
