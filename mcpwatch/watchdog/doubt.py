"""When what was seen is no reason for a restart yet: a long silence that may be over, and failures between which it answers. Pure.

Who was silent is asked again, briefly: a probe that waited long says nothing of the moment in which its time ran out. Who answers
with failures is asked some more times: where half of the answers are good, three bad ones in a row mean nothing. Must not know
repairs, nor how a probe is run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mcpwatch.model.probe import ProbeResult
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.history import CheckHistory
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, MUTE_SYMPTOMS, Observation

BRIEF = 2.0
"""Seconds that one who is asked briefly has to answer, unless it is known to be slower."""
BRIEF_SHARE = 4.0
"""That time is at least so many times what its last good answer took."""
BRIEF_MARGIN = 0.5
"""Seconds by which a probe may be longer than that and still tells of now."""
ENOUGH = 8
"""Failures in a row of one that answers before it is restarted for them."""
SPELLS = 3
"""Spells of failure among the latest results from which on it recovers by itself: then all of these must be failures."""

Doubt = Literal["", "silent", "wavering"]


def doubt(seen: Observation | None, *, certain: bool = False) -> Doubt:
    """What speaks against a restart that rests on this; `certain`: something else says too that it fails."""
    if seen is None or not seen.failures:
        return ""
    few = seen.symptom not in MUTE_SYMPTOMS and seen.failures < ENOUGH
    if not certain and (few or seen.spells >= SPELLS):
        return "wavering"
    return "silent" if silent_long(seen) else ""


def silent_since(seen: Observation | None) -> Instant | None:
    """When the first of the probes began in which it said nothing; `None` where it does not keep silent, or that is not known."""
    return seen.onset if seen is not None and seen.symptom in HUNG_SYMPTOMS else None


def silent_long(seen: Observation) -> bool:
    """Whether it failed by a long silence: that may be over, and nobody has asked since it began."""
    if seen.brief or seen.symptom not in HUNG_SYMPTOMS or seen.at is None or seen.began_at is None:
        return False
    return seen.at - seen.began_at > BRIEF + BRIEF_MARGIN


def brief(check: CheckSpec, history: CheckHistory) -> CheckSpec:
    """The check with as much time as one needs that is well."""
    return replace(check, timeout=min(check.timeout, max(BRIEF, BRIEF_SHARE * history.took)))


def one_more(history: CheckHistory, result: ProbeResult) -> ProbeResult:
    """The result of a brief look as it counts: one more silence is told in the words of the long one before."""
    before = history.latest
    if before is not None and history.failing and {before.symptom, result.symptom} <= HUNG_SYMPTOMS:
        return before
    return result
