"""Checks that never got in: of what they saw, nothing speaks of who is behind the door. Pure."""

from __future__ import annotations

from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories

_BEFORE_THE_DOOR = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.OPEN})
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
    return history.failing and latest is not None and latest.symptom in _SHUT and latest.stage in _BEFORE_THE_DOOR
