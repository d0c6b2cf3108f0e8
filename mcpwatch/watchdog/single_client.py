"""Members that bear one client at a time: found by their dying, again and again, of our own direct probe, or by their words for it.

Must not know how anything is probed.
"""

from __future__ import annotations

import re

from mcpwatch.model.probe import ProbeResult, Symptom
from mcpwatch.model.session_words import ONE_SESSION
from mcpwatch.model.symptom import CALLS, DOOR_STAGES, GREETING_STAGES
from mcpwatch.watchdog.refusals import refusal
from mcpwatch.watchdog.snapshot import Observation

_ANSWERS = frozenset({Symptom.RPC_ERROR, Symptom.HTTP_STATUS, Symptom.OVERLOADED, Symptom.ERA_MISMATCH, Symptom.SESSION_LOST})

ENOUGH = 2
"""Ends, or refusals, of this kind in a row that prove it."""
LIMITED = 5
"""Refusals in a row by words of a limit, which may be one of more than one session."""
REFUSED = "it says: "
"""How the words begin of one that lives on and refuses a second session."""
_LIMIT = re.compile(
    r"\b(?:session|connection|client)s?\b.{0,20}\blimit|max(?:imum)?\b.{0,20}\b(?:session|connection|client)|\bbusy\b",
    re.IGNORECASE,
)
_CONFLICT = 409


def second_refused(result: ProbeResult | None, failures: int) -> str:
    """The words by which one that answers refuses a second session, as often as it takes to believe that; else the empty string."""
    if result is None or result.stage not in GREETING_STAGES or result.symptom not in _ANSWERS:
        return ""
    words, one = result.said or result.message, held(result)
    return words if failures >= (ENOUGH if one else LIMITED) and (one or _LIMIT.search(words)) else ""


def held(result: ProbeResult | None, *, speaks: bool = True) -> bool:
    """Whether one that answers, or the proxy that asked it, says that it greets nobody because another has its only session.

    It works, for whoever that is: a restart would cut the other off. `speaks`: it is known to be an MCP server, or a conflict alone
    means nothing.
    """
    if result is None or result.stage not in GREETING_STAGES or result.symptom not in _ANSWERS | {Symptom.UPSTREAM_DOWN}:
        return False
    return (speaks and result.http_status == _CONFLICT) or ONE_SESSION.search(result.said or result.message) is not None


def unserved(through: Observation | None) -> bool:
    """Whether the route of one that is left to the proxy fails so that it may serve nobody: then only it can tell what is wrong.

    Not where it answered, nor where the proxy itself does not: one that bears one client is not to be ended for that.
    """
    if through is None or not through.bad or (through.mute and through.stage in DOOR_STAGES):
        return False
    return not through.answered or (through.symptom is Symptom.RPC_ERROR and refusal(through.result) is None)


def holds(through: Observation | None) -> bool:
    """Whether the proxy has the only session of one whose route fails: it got past the greeting, and the server fails it there."""
    if through is None or not through.bad or through.stage in DOOR_STAGES or through.symptom is Symptom.NOT_MOUNTED:
        return False
    if through.symptom is Symptom.UPSTREAM_DOWN and not (through.succeeded and through.stage in CALLS):
        return False
    return not held(through.result)


class ProbeDeaths:
    """Counts ends that came right after a direct probe. `alone`: members that are probed through the proxy only, and why."""

    def __init__(self) -> None:
        self.alone: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._prints: dict[str, str] = {}

    def ended(self, member: str, words: str, *, probed: bool) -> None:
        """A running member ended by itself with last words; `probed`: just when it was probed past the proxy."""
        if not probed:
            self._count.pop(member, None)
            return
        self._count[member] = self._count.get(member, 0) + 1
        if self._count[member] >= ENOUGH:
            self.alone[member] = words or "it ended without a word"

    def refused(self, member: str, words: str) -> None:
        """It lives, refuses a second session with these words, and serves its clients through the proxy all the while."""
        self.alone[member] = f"{REFUSED}{words}"

    def keep(self, prints: dict[str, str]) -> None:
        """These members are in the plan, by fingerprint: what changed is given another chance."""
        changed = {name for name, known in self._prints.items() if prints.get(name) != known}
        for name in changed:
            self.alone.pop(name, None)
            self._count.pop(name, None)
        self._prints = dict(prints)
