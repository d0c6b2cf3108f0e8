"""What is shown, from what is held: pure functions from actors and histories to views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import ProbeResult
from mcpwatch.model.spec import RouteSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Diagnosis, MemberView, ProbeView, RouteView, Usage
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.evaluate import route_verdict
from mcpwatch.watchdog.history import Histories

GONE = frozenset({"child_died", "stale_session"})
"""Causes that say that nothing is behind a route, whatever its proxy answers."""


def probe_views(histories: Histories, subject: str, vantage: str) -> tuple[ProbeView, ...]:
    """The latest probes of a subject from a vantage."""
    return tuple(
        ProbeView(key.check, key.vantage, history.wall, _slim(history.latest), history.streaks.failures, history.streaks.successes)
        for key, history in histories.of(subject, vantage)
        if history.latest is not None and history.wall is not None
    )


def by_member(diagnoses: Iterable[Diagnosis]) -> dict[str, tuple[Diagnosis, ...]]:
    """For each member the diagnoses that may explain what is wrong with it."""
    return _by_name((name, one) for one in diagnoses for name in {one.subject, *one.members})


def by_route(diagnoses: Iterable[Diagnosis]) -> dict[str, tuple[Diagnosis, ...]]:
    """For each route the diagnoses that explain what is wrong with it."""
    return _by_name((name, one) for one in diagnoses for name in set(one.affects))


def _by_name(pairs: Iterable[tuple[str, Diagnosis]]) -> dict[str, tuple[Diagnosis, ...]]:
    found: dict[str, tuple[Diagnosis, ...]] = {}
    for name, one in pairs:
        found[name] = (*found.get(name, ()), one)
    return found


def _slim(result: ProbeResult) -> ProbeResult:
    """A result without the bulk that only the contract watch needs."""
    return replace(result, contract=None)


def member_view(
    actor: MemberActor, histories: Histories, usage: Usage | None, diagnoses: tuple[Diagnosis, ...], now: Instant, wall: WallTime
) -> MemberView:
    """One member as shown."""
    spec, state = actor.spec, actor.state
    retry_at = None
    if state.wake_at is not None and state.phase in (Phase.BACKOFF, Phase.FAILED):
        retry_at = WallTime(wall + max(0.0, state.wake_at - now))
    living = state.phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
    return MemberView(
        name=spec.name,
        kind=spec.kind,
        runtime=spec.runtime,
        want=state.want,
        phase=state.phase,
        verdict=state.verdict,
        generation=state.generation,
        restarts=state.restarts,
        usage=(usage or Usage(pid=actor.incarnation.pid if actor.incarnation else None)) if living else Usage(),
        since=actor.since,
        verdict_since=actor.verdict_since,
        reason=actor.reason,
        last_exit=actor.last_exit,
        diagnosis=next((found for found in diagnoses if found.subject == spec.name), None)
        or next((found for found in diagnoses if spec.carried.hosted and found.explains(member=spec.name)), None),
        probes=probe_views(histories, spec.name, "direct"),
        retry_at=retry_at,
        adopted=actor.adopted,
    )


def verdict_of(
    route: RouteSpec, actor: MemberActor | None, proxy: MemberActor | None, histories: Histories, diagnoses: tuple[Diagnosis, ...]
) -> Verdict:
    """The verdict of a route as shown."""
    starting = any(found.cause == "starting" and found.explains(route=route.name) for found in diagnoses)
    excused = starting or any(one is not None and one.planned for one in (actor, proxy))
    verdict = route_verdict(histories, route.name, actor.state if actor else None, proxy.state if proxy else None, excused=excused)
    answers = verdict in (Verdict.HEALTHY, Verdict.DEGRADED)
    return Verdict.UNHEALTHY if answers and _from_memory(route, diagnoses) is not None else verdict


def _from_memory(route: RouteSpec, diagnoses: tuple[Diagnosis, ...]) -> Diagnosis | None:
    """Why nothing is served by a route that answers: its proxy lists what it remembers."""
    return next((found for found in diagnoses if found.cause in GONE and found.explains(route=route.name)), None)


def route_view(
    route: RouteSpec,
    actor: MemberActor | None,
    proxy: MemberActor | None,
    histories: Histories,
    diagnoses: tuple[Diagnosis, ...],
    verdict_since: WallTime | None,
) -> RouteView:
    """One route as shown."""
    verdict = verdict_of(route, actor, proxy, histories, diagnoses)
    found = histories.of(route.name, "route")
    results = [history.latest for _, history in found if history.latest is not None]
    bad = next((result for result in results if result.symptom is not None), None)
    symptom, message = (bad.symptom_text, bad.message) if bad else ("", "")
    fallen = next((one for one in (actor, proxy) if one is not None and one.state.phase is not Phase.RUNNING), None)
    if verdict is Verdict.UNHEALTHY and fallen is not None:
        ended = fallen.last_exit if fallen.state.phase is not Phase.STOPPING else ""  # else it is of an earlier life
        symptom, message = "upstream_down", f"{fallen.spec.name}: {ended or fallen.state.phase}"
    elif verdict is Verdict.UNHEALTHY and bad is None and (gone := _from_memory(route, diagnoses)) is not None:
        symptom, message = "upstream_down", gone.text
    tools, tokens = next(((len(result.tools), result.tokens) for result in results if result.tools is not None), (None, None))
    successes = [history.last_success for _, history in found if history.last_success is not None]
    return RouteView(
        name=route.name,
        member=route.member,
        url=route.url,
        verdict=verdict,
        http_url=route.http_url,
        tools=tools,
        tokens=tokens,
        last_success=max(successes, default=None),
        verdict_since=verdict_since,
        symptom=symptom,
        message=message,
        diagnosis=next((found for found in diagnoses if found.explains(route=route.name)), None),
        probes=probe_views(histories, route.name, "route"),
    )
