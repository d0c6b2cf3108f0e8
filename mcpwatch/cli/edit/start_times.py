"""How long a member's starts took, as the facts about it tell: from its spawn to its first proof. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

CUT_OFF = "not ready within"
"""How the watchdog begins to say that a start was ended because its grace was over."""


def durations(facts: Iterable[Mapping[str, object]]) -> Iterator[tuple[float, bool]]:
    """Seconds from each start to its first proof; with `True`, to where it was cut off, so that it would have taken longer."""
    began: dict[object, float] = {}
    for fact in facts:
        generation, at = fact.get("generation"), cast("float", fact.get("at", 0.0))
        if fact["fact"] == "member_started" and not fact.get("adopted"):
            began[generation] = at
        elif fact["fact"] == "member_changed" and fact.get("field") == "phase" and fact.get("old") == "starting":
            cut = str(fact.get("reason")).startswith(CUT_OFF)
            if generation in began and (cut or fact.get("new") == "running"):
                yield at - began.pop(generation), cut
