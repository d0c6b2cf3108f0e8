"""Whether the results of a check go to and fro, and how many of the latest failures are of one kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant

FLAP_WINDOW = 20
"""Latest results that the flapping rate is measured on."""
FLAP_LEAST = 10
"""Results needed before a check is called flapping; as many failures in a row are an outage again, or twice as many refusals."""
FLAP_TURNS = 5
"""Changes between success and failure within the window from which on a check flaps."""
FLAP_RATE, CALM_RATE = 0.2, 0.1
"""Share of failures from which on a check flaps, and below which it is calm again."""
OUTAGES, OUTAGES_WITHIN = 4, 150.0
"""So many outages that ended by themselves, begun within so many seconds, are one trouble: it flaps, however slowly."""


@dataclass(frozen=True, slots=True)
class FailureSpell:
    """Failures in a row that reached the threshold: when they did, the last one, and how many successes came after them."""

    at: Instant
    last: Instant
    failures: int
    well: int = 0


def noted(outages: tuple[FailureSpell, ...], failures: int, threshold: int, at: Instant) -> tuple[FailureSpell, ...]:
    """The latest outages after one more result; `failures`: how many are in a row now, 0 after a success."""
    if failures == threshold:
        return (*outages, FailureSpell(at, at, failures))[-OUTAGES:]
    if not outages or 0 < failures < threshold:
        return outages
    last = outages[-1]
    return (*outages[:-1], replace(last, last=at, failures=failures) if failures else replace(last, well=last.well + 1))


def flaps_slowly(outages: tuple[FailureSpell, ...], failures: int, at: Instant) -> bool:
    """Whether outages come and go; `failures`: how many are in a row `at` this moment.

    It is calm when it was well for two turns, and down when it fails twice as often in a row as before.
    """
    took = outages[-1].at - outages[0].at if len(outages) == OUTAGES else 0.0
    if not 0.0 < took <= OUTAGES_WITHIN:
        return False
    turn, worst = took / (OUTAGES - 1), max(one.failures for one in outages[:-1])
    return failures <= 2 * worst if failures else at - outages[-1].last <= 2.0 * turn


def share(outages: tuple[FailureSpell, ...]) -> float:
    """Which share of the results since the first of these outages were failures."""
    failures = sum(one.failures for one in outages)
    return failures / (failures + sum(one.well for one in outages))


def refused_in(result: ProbeResult) -> Stage | None:
    """The stage in which the server answered with an error of its own, as one does of which every second answer is one."""
    if result.outcome is not Outcome.FAILURE:
        return None
    status = result.http_status
    failing = result.symptom is Symptom.HTTP_STATUS and status is not None and status >= 500
    return result.stage if failing or result.symptom is Symptom.RPC_ERROR else None


def weigh(recent: tuple[bool, ...], refused_at: tuple[Stage | None, ...], failures: int, *, before: bool) -> tuple[int, bool]:
    """How many of the latest failures came in the same stage, and whether the check flaps, as it did `before` or not.

    `recent`: the latest results, failed or not; `refused_at`: the stage of each refusal; `failures`: how many in a row.
    """
    turns, refused = _turns(recent, refused_at), refused_at[-1] is not None
    stuck = _stuck(turns, failures) if refused else failures
    return stuck, _flaps(recent, sum(turns), before) and stuck < FLAP_LEAST * (2 if refused else 1)


def _turns(recent: tuple[bool, ...], refused_at: tuple[Stage | None, ...]) -> list[bool]:
    """Behind which results the next was another: well or not, or refused in another stage, so that this one was passed once."""
    places = range(1, len(recent))
    return [recent[at] != recent[at - 1] or len({refused_at[at], refused_at[at - 1]} - {None}) > 1 for at in places]


def _stuck(turns: list[bool], failures: int) -> int:
    """How many of the latest failures came in the same stage."""
    same = next((count for count, turned in enumerate(reversed(turns), 1) if turned), failures)
    return min(same, failures)


def _flaps(recent: tuple[bool, ...], turns: int, before: bool) -> bool:
    """Whether these results go to and fro. Once they do, they must be calm for a while."""
    rate = sum(recent) / len(recent)
    if before:
        return rate >= CALM_RATE and turns >= 2
    return len(recent) >= FLAP_LEAST and turns >= FLAP_TURNS and rate >= FLAP_RATE
