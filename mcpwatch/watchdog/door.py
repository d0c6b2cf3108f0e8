"""Checks that never got in: of what they saw, nothing speaks of who is behind the door. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.model.symptom import NOT_HTTP
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories

_BEFORE_THE_DOOR = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.OPEN, Stage.REFUSAL})
_SHUT = frozenset({Symptom.REFUSED, Symptom.UNREACHABLE, Symptom.UNRESOLVED, Symptom.TIMEOUT, Symptom.CUT})

_TURNED_AWAY = frozenset({Symptom.OVERLOADED, Symptom.AUTH, Symptom.UNGUARDED, Symptom.HOST_GUARD, Symptom.REJECTED})


def turned_away(result: ProbeResult | None) -> bool:
    """Whether a gateway refused a request of HTTP itself: the servers that it hosts speak none, and were not asked."""
    return result is not None and result.http_status is not None and result.symptom in _TURNED_AWAY


def shut_out(histories: Histories, answered: CheckKey) -> tuple[CheckKey, ...]:
    """Other checks of that subject and vantage that failed before anything answered: a rare one waits long for its next time."""
    beside = histories.of(answered.subject, answered.vantage)
    return tuple(key for key, history in beside if key != answered and _failed_at_the_door(history))


def _failed_at_the_door(history: CheckHistory) -> bool:
    latest = history.latest
    if not history.failing or latest is None:
        return False
    if not history.proves:  # it asks for one thing alone, and all else is of a time when nobody was served
        return latest.symptom is not Symptom.UNGUARDED
    return latest.symptom in _SHUT and latest.stage in _BEFORE_THE_DOOR


def beside_the_point(found: Sequence[CheckHistory], speaker: CheckHistory) -> bool:
    """Whether only a check complains whose success would prove nothing, while no verdict of one that proves is bad."""
    return not speaker.proves and any(one.proves and one.latest is not None for one in found)


def broken_bytes(result: ProbeResult | None) -> bool:
    """Whether what came is no HTTP: no word of whoever is behind it."""
    return result is not None and NOT_HTTP in result.message
