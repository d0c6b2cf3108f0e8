"""One file against what it should hold: decides member by member what is ours to change, and makes the new text. Pure.

Owns the rules of ownership: what we did not write is never touched; what a person changed of ours is drift and by default stays;
a secret that a client put in place of our reference is taken back out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from mcpwatch.clients.adapter import Wanted
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import MISSING, Path, Syntax, Value, look, read, write
from mcpwatch.clients.ledger import DECLINED, Ledger, digest, fingerprint
from mcpwatch.foreign.shape import same

Trouble = Literal["edited", "taken out", "foreign", "expanded"]


@dataclass(frozen=True, slots=True)
class Drift:
    """An entry that is not as we would have it. `left` says whether it stays so."""

    entry: str
    trouble: Trouble
    text: str
    left: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """The text the file should have (`None`: it should not exist), the ledger that goes with it, and what happened to whom."""

    text: str | None = field(repr=False)
    ledger: Ledger
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    drift: tuple[Drift, ...] = ()

    @property
    def summary(self) -> str:
        """What changed, in one line."""
        parts = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        return "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names) or "no change"


def reconcile(
    syntax: Syntax,
    text: str | None,
    wanted: Wanted,
    ledger: Ledger,
    *,
    overwrite: bool = False,
    force: bool = False,
    keep: bool = False,
) -> Outcome:
    """The new text for a file that now reads `text` (`None`: there is none).

    `overwrite` puts right what a person changed of ours; `force` does so too and takes over entries that only bear our name;
    `keep` takes nothing out.
    Raises `EditRefused` when the text is broken or an edit cannot be proved.
    """
    document = syntax.parse(text or "")
    gone = text is None
    changes: dict[Path, Value] = {}
    drift: list[Drift] = []
    entries: dict[str, str] = {}
    names: dict[Literal["added", "removed", "changed"], list[str]] = {"added": [], "removed": [], "changed": []}
    for path, value in wanted.entries.items():
        judged = _judge(look(document, path), path, value, wanted, ledger, overwrite=overwrite or force, force=force, gone=gone)
        if judged.drift is not None:
            drift.append(judged.drift)
        if judged.verb is not None:
            changes[path] = value
            if path in wanted.routes:
                names[judged.verb].append(_last(path))
        if judged.note:
            entries[write(path)] = judged.note
    for key, mark in {**ledger.pending, **ledger.entries}.items():
        path = read(key)
        if path in wanted.entries:
            continue
        found = look(document, path)
        if mark == DECLINED or (keep and found is not MISSING):
            entries[key] = mark
        elif found is not MISSING and (ledger.wrote(path, found) or force):
            changes[path] = DROP
            if path[:-1] == wanted.box:
                names["removed"].append(_last(path))
        elif found is not MISSING:
            entries[key] = mark
            drift.append(Drift(_last(path), "edited", "was edited by hand, so it is not removed"))
    done = edit(syntax, text or "", changes, ledger.made)
    empty = ledger.created and syntax.parse(done.text) == {} and not entries
    kept = replace(ledger, entries=entries, pending={}, made=done.made, created=ledger.created or (gone and bool(changes)))
    new = None if empty or (gone and not changes) else done.text
    if gone and new and not new.endswith("\n"):
        new += "\n"
    if new != text:
        kept = replace(kept, file=digest(new or ""), created=kept.created and new is not None)
    added, removed, changed = (tuple(names[verb]) for verb in ("added", "removed", "changed"))
    return Outcome(new, kept, added, removed, changed, tuple(drift))


@dataclass(frozen=True, slots=True)
class _Judged:
    verb: Literal["added", "changed"] | None = None
    note: str = ""
    drift: Drift | None = None


def _judge(
    found: Value, path: Path, value: Value, wanted: Wanted, ledger: Ledger, *, overwrite: bool, force: bool, gone: bool
) -> _Judged:
    mark, name = fingerprint(value), _last(path)
    support = path not in wanted.routes
    if found is MISSING:
        known = ledger.declined(path) or (ledger.owns(path) and not ledger.pending.get(write(path)))
        if known and not gone and not overwrite and not support:
            return _Judged(None, DECLINED, Drift(name, "taken out", "was taken out by hand and stays out"))
        return _Judged("added", mark)
    if ledger.wrote(path, found):
        return _Judged(None if same(found, value) else "changed", mark)
    if ledger.owns(path):
        if path in wanted.expanded and same(found, wanted.expanded[path]):
            text = "the client wrote the token itself in place of our reference; the reference is put back"
            return _Judged("changed", mark, Drift(name, "expanded", text, left=False))
        if overwrite:
            return _Judged("changed", mark, Drift(name, "edited", "was edited by hand and is put back", left=False))
        return _Judged(None, ledger.entries.get(write(path), mark), Drift(name, "edited", "was edited by hand and stays so"))
    if force:
        return _Judged(None if same(found, value) else "changed", mark, Drift(name, "foreign", "is taken over", left=False))
    if support:
        return _Judged()
    return _Judged(None, "", Drift(name, "foreign", "an entry of this name is there and not ours; rename it or set 'prefix'"))


def _last(path: Path) -> str:
    step = path[-1]
    return step if isinstance(step, str) else step.value


Render = Callable[[str | None], Outcome]
