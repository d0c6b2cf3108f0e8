"""The values of all families, and their text. Every owner's piece of a family is rendered once and kept until it changes.

The owner of a series is its first label value; a member's series all go with it. Not safe for threads: one owner at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from mcpwatch.telemetry.families import BUCKETS, Family

V = TypeVar("V")
_BOUNDS = (*(f"{bound:g}" if bound % 1 else f"{bound:.1f}" for bound in BUCKETS), "+Inf")


def escape(value: str) -> str:
    """`value` as it stands between the quotes of a label."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15) else repr(value)


class _Piece(Generic[V]):
    """What one owner has in one family: numbers, or the buckets of histograms."""

    __slots__ = ("prefixes", "rows", "text")

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], V] = {}
        self.prefixes: dict[tuple[str, ...], str] = {}
        self.text: str | None = None


class _Buckets:
    """One histogram series."""

    __slots__ = ("counts", "prefixes", "total")

    def __init__(self, family: Family, labels: Sequence[str]) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.total = 0.0
        pairs = _pairs(family, labels)
        comma = "," if pairs else ""
        braces = f"{{{pairs}}}" if pairs else ""
        self.prefixes = (
            *(f'{family.name}_bucket{{{pairs}{comma}le="{bound}"}} ' for bound in _BOUNDS),
            f"{family.name}_count{braces} ",
            f"{family.name}_sum{braces} ",
        )

    def render(self) -> str:
        lines: list[str] = []
        running = 0
        for prefix, count in zip(self.prefixes, self.counts, strict=False):
            running += count
            lines.append(f"{prefix}{running}\n")
        lines.append(f"{self.prefixes[-2]}{running}\n{self.prefixes[-1]}{_number(self.total)}\n")
        return "".join(lines)


def _pairs(family: Family, labels: Sequence[str]) -> str:
    return ",".join(f'{name}="{escape(value)}"' for name, value in zip(family.labels, labels, strict=True) if value)


class Series:
    """All values, by family and labels. An empty label value is left out, as Prometheus reads it."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self._plain: dict[str, dict[str, _Piece[float]]] = {one.name: {} for one in self._families if one.kind != "histogram"}
        self._histograms: dict[str, dict[str, _Piece[_Buckets]]] = {
            one.name: {} for one in self._families if one.kind == "histogram"
        }

    def set(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Make `value` the value of a gauge, or of a counter that is counted elsewhere."""
        piece = _piece(self._plain[family.name], labels)
        if piece.rows.get(labels) != value:
            piece.rows[labels] = value
            piece.text = None

    def add(self, family: Family, labels: tuple[str, ...], by: float = 1) -> None:
        """Count `by` more; with 0 only make the series known."""
        piece = _piece(self._plain[family.name], labels)
        piece.rows[labels] = piece.rows.get(labels, 0) + by
        piece.text = None

    def observe(self, family: Family, labels: tuple[str, ...], seconds: float | None) -> None:
        """Put one observation into a histogram; `None` only makes the series known."""
        piece = _piece(self._histograms[family.name], labels)
        row = piece.rows.get(labels)
        if row is None:
            row = piece.rows[labels] = _Buckets(family, labels)
            piece.text = None
        if seconds is not None:
            row.counts[bisect_left(BUCKETS, seconds)] += 1
            row.total += seconds
            piece.text = None

    def replace(self, family: Family, owner: str, rows: dict[tuple[str, ...], float]) -> None:
        """Make `rows` all that `owner` has in a gauge family."""
        pieces = self._plain[family.name]
        piece = pieces.get(owner)
        if not rows:
            pieces.pop(owner, None)
        elif piece is None or piece.rows != rows:
            piece = pieces[owner] = _Piece()
            piece.rows = rows

    def forget(self, owner: str, families: Iterable[Family]) -> None:
        """Drop everything `owner` has in `families`."""
        for family in families:
            self._plain.get(family.name, {}).pop(owner, None)
            self._histograms.get(family.name, {}).pop(owner, None)

    def keep(self, family: Family, owner: str, wanted: set[tuple[str, ...]]) -> None:
        """Drop those series of `owner` whose labels do not begin with one of `wanted` (all of one length)."""
        length = len(next(iter(wanted), ()))
        for pieces in (self._plain.get(family.name, {}), self._histograms.get(family.name, {})):
            piece = pieces.get(owner)
            if piece is None:
                continue
            for labels in [labels for labels in piece.rows if labels[:length] not in wanted]:
                del piece.rows[labels]
                piece.text = None

    def get(self, family: Family, labels: tuple[str, ...]) -> float | None:
        """The value of a gauge or counter, or `None` when the series is not known."""
        piece = self._plain[family.name].get(labels[0] if labels else "")
        return None if piece is None else piece.rows.get(labels)

    def text(self) -> str:
        """Everything in Prometheus text format 0.0.4; families without series are left out."""
        parts: list[str] = []
        for family in self._families:
            pieces = self._histograms[family.name] if family.kind == "histogram" else self._plain[family.name]
            if pieces:
                parts.append(family.header)
            for piece in pieces.values():
                if piece.text is None:
                    piece.text = "".join(_line(family, piece, labels, row) for labels, row in piece.rows.items())
                parts.append(piece.text)
        return "".join(parts)


def _piece(pieces: dict[str, _Piece[V]], labels: tuple[str, ...]) -> _Piece[V]:
    owner = labels[0] if labels else ""
    piece = pieces.get(owner)
    if piece is None:
        piece = pieces[owner] = _Piece()
    return piece


def _line(family: Family, piece: _Piece[Any], labels: tuple[str, ...], row: float | _Buckets) -> str:
    if isinstance(row, _Buckets):
        return row.render()
    prefix = piece.prefixes.get(labels)
    if prefix is None:
        pairs = _pairs(family, labels)
        prefix = piece.prefixes[labels] = f"{family.name}{{{pairs}}} " if pairs else f"{family.name} "
    return f"{prefix}{_number(row)}\n"
