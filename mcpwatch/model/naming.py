"""What to say of an unknown name: the nearest one, or all of them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEW = 24
"""A list of at most so many names is shown whole."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known word is near, else the list of known words, else nothing."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names and len(names) <= FEW else ""
