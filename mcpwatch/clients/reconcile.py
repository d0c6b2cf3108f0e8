"""One file against what it should hold: decides member by member what is ours to change, and makes the new text. Pure.

Owns the rules of ownership: what we did not write is never touched, unless it is to the last key what we would write; what a person
changed of ours is drift and by default stays; a secret that a client put in place of our reference is taken back out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from mcpwatch.clients.adapter import Wanted
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import MISSING, Path, Syntax, Value, look, members, read, write
from mcpwatch.clients.ledger import DECLINED, LARGEST_ENTRY, Ledger, digest, fingerprint
from mcpwatch.clients.tokens import Tokens, holds
from mcpwatch.foreign.shape import same, within

NO_TOKENS = Tokens()
Trouble = Literal["edited", "taken out", "foreign", "expanded"]


@dataclass(frozen=True, slots=True)
class Keep:
    """Which entries stay although they are wanted no more: none, or (`all_but` is given) all but these."""

    all_but: frozenset[Path] | None = None

    def holds(self, path: Path) -> bool:
        """Whether this entry stays."""
        return self.all_but is not None and path not in self.all_but


NOTHING, EVERYTHING = Keep(), Keep(frozenset())


@dataclass(frozen=True, slots=True)
class Drift:
    """An entry that is not as we would have it. `left` says whether it stays so."""

    entry: str
    trouble: Trouble
    text: str
    left: bool = True


@dataclass(frozen=True, slots=True)
class ReconcileResult:
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
    keep: Keep = NOTHING,
    tokens: Tokens = NO_TOKENS,
) -> ReconcileResult:
    """The new text for a file that now reads `text` (`None`: there is none).

    `overwrite` puts right what a person changed of ours; `force` does so too and takes over entries that only bear our name;
    `keep` says of an entry that is wanted no more whether it stays all the same. `tokens` tells those of ours in it: an edited
    entry of ours gets the current one in place of a dead one, and keeps what else was edited.
    Raises `EditRefused` when the text is broken or an edit cannot be proved.
    """
    document = syntax.parse(text or "")
    gone = text is None
    told = _Changes()
    told.enter(document, _Rules(wanted, ledger, tokens, overwrite or force, force, gone))
    told.leave(document, wanted, ledger, keep=keep, force=force)
    changes, entries = told.changes, told.entries
    done = edit(syntax, text or "", changes, ledger.made, document)
    empty = ledger.created and done.document == {} and not entries
    kept = replace(ledger, entries=entries, pending={}, made=done.made, created=ledger.created or (gone and bool(changes)))
    new = None if empty or (gone and not changes) else done.text
    if gone and new and not new.endswith("\n"):
        new += "\n"
    if new != text:
        kept = replace(kept, file=digest(new or ""), created=kept.created and new is not None)
    added, removed, changed = (tuple(told.names[verb]) for verb in ("added", "removed", "changed"))
    return ReconcileResult(new, kept, added, removed, changed, tuple(told.drift))


class _Changes:
    """What is to be written into one file, what its ledger then says, and what is told about it."""

    def __init__(self) -> None:
        self.changes: dict[Path, Value] = {}
        self.drift: list[Drift] = []
        self.entries: dict[str, str] = {}
        self.names: dict[Literal["added", "removed", "changed"], list[str]] = {"added": [], "removed": [], "changed": []}

    def enter(self, document: Value, rules: _Rules) -> None:
        """Judge each entry that is wanted."""
        wanted, tokens = rules.wanted, rules.tokens
        for path, value in wanted.entries.items():
            found = look(document, path)
            judged = _judge(found, path, value, rules)
            if judged.verb is None and judged.drift is not None and judged.drift.trouble == "edited":
                judged = _renewed(judged, found, tokens, _spelling(value, wanted, tokens.current))
            if judged.drift is not None:
                self.drift.append(judged.drift)
            if judged.verb is not None:
                self.changes[path] = value if judged.value is MISSING else judged.value
                if path in wanted.routes:
                    self.names[judged.verb].append(_last(path))
            if judged.note:
                self.entries[write(path)] = judged.note

    def leave(self, document: Value, wanted: Wanted, ledger: Ledger, *, keep: Keep, force: bool) -> None:
        """Judge each entry that is ours and wanted no more."""
        for key, path, found, mark in _leaving(document, wanted, ledger):
            if mark == DECLINED or (found is not MISSING and keep.holds(path)):
                self.entries[key] = mark
            elif found is not MISSING and (ledger.wrote(path, found) or force):
                self.changes[path] = DROP
                if path[:-1] == wanted.box:
                    self.names["removed"].append(_last(path))
            elif found is not MISSING:
                self.entries[key] = mark
                self.drift.append(Drift(_last(path), "edited", "was edited by hand, so it is not removed"))


def reclaim(syntax: Syntax, text: str, spellings: Sequence[Wanted], ledger: Ledger) -> Ledger:
    """The ledger with the entries that a lost store forgot: what is, to the last key, what one of `spellings` would write.

    Supporting entries come back only beside one of a route: alone, they may be anybody's. Raises `EditRefused`.
    """
    document = syntax.parse(text)
    found: dict[str, str] = {}
    routes = False
    for wanted in spellings:
        for path, value in wanted.entries.items():
            known = ledger.owns(path) or ledger.declined(path)
            if not known and (there := look(document, path)) is not MISSING and same(there, value):
                found[write(path)] = fingerprint(value)
                routes = routes or path in wanted.routes
    return replace(ledger, entries={**ledger.entries, **found}) if routes else ledger


def _leaving(document: Value, wanted: Wanted, ledger: Ledger) -> Iterator[tuple[str, Path, Value, str]]:
    """What the ledger knows and nothing wants any more: its key, its path, what is there now, and its mark."""
    for key, mark in {**ledger.pending, **ledger.entries}.items():
        path = read(key)
        if path not in wanted.entries:
            yield key, path, look(document, path), mark


@dataclass(frozen=True, slots=True)
class _Judged:
    verb: Literal["added", "changed"] | None = None
    note: str = ""
    drift: Drift | None = None
    value: Value = field(default=MISSING, repr=False)
    """What to write instead of what is wanted."""


@dataclass(frozen=True, slots=True)
class _Rules:
    wanted: Wanted
    ledger: Ledger
    tokens: Tokens
    overwrite: bool
    force: bool
    gone: bool


def _judge(found: Value, path: Path, value: Value, rules: _Rules) -> _Judged:
    wanted, ledger = rules.wanted, rules.ledger
    mark, name = fingerprint(value), _last(path)
    support = path not in wanted.routes
    if found is MISSING:
        known = ledger.declined(path) or (ledger.owns(path) and not ledger.pending.get(write(path)))
        if known and not rules.gone and not rules.overwrite and not support:
            return _Judged(None, DECLINED, Drift(name, "taken out", "was taken out by hand and stays out"))
        return _Judged("added", mark)
    if ledger.wrote(path, found):
        return _Judged(None if same(found, value) else "changed", mark)
    if same(found, value) and not support:  # to the last key what would be written: whoever put it there, it is as one of ours
        return _Judged(None, mark)
    if ledger.owns(path):
        if wanted.reference and _expanded(found, value, wanted.reference, rules.tokens):
            text = "the client wrote the token itself in place of our reference; the reference is put back"
            return _Judged("changed", mark, Drift(name, "expanded", text, left=False))
        if rules.overwrite:
            return _Judged("changed", mark, Drift(name, "edited", "was edited by hand and is put back", left=False))
        return _Judged(None, ledger.entries.get(write(path), mark), Drift(name, "edited", "was edited by hand and stays so"))
    if rules.force:
        return _Judged(None if same(found, value) else "changed", mark, Drift(name, "foreign", "is taken over", left=False))
    if support:
        return _Judged()
    return _Judged(None, "", Drift(name, "foreign", "an entry of this name is there and not ours; rename it or set 'prefix'"))


def _expanded(found: Value, value: Value, reference: str, tokens: Tokens) -> bool:
    """Whether `found` is `value` with a token of ours, dead or alive, where the reference to it should be."""
    if isinstance(value, dict):
        inside, ours = members(found), members(cast("Value", value))
        return list(inside) == list(ours) and all(_expanded(inside[key], ours[key], reference, tokens) for key in ours)
    if not isinstance(value, str) or not isinstance(found, str) or reference not in value:
        return same(found, value)
    head, _, tail = value.partition(reference)
    inner = found[len(head) : len(found) - len(tail)]
    return found == value or (found == head + inner + tail and tokens.ours(inner))


def _spelling(value: Value, wanted: Wanted, token: str) -> str:
    """How this entry should spell the token: as our own value does."""
    return token if holds([value], token) else wanted.reference or token


def _renewed(judged: _Judged, found: Value, tokens: Tokens, token: str) -> _Judged:
    """An edited entry stays as it was edited, but for a dead token in it."""
    if not token or not within(found, LARGEST_ENTRY) or same(renewed := tokens.renewed(found, token), found):
        return judged
    drift = judged.drift and replace(
        judged.drift, text="was edited by hand and stays so, but for the dead token in it, which is renewed"
    )
    return replace(judged, verb="changed", drift=drift, value=renewed)


def _last(path: Path) -> str:
    step = path[-1]
    return step if isinstance(step, str) else step.value


Render = Callable[[str | None], ReconcileResult]
