"""What is shown, from what is held: pure functions from actors and tallies to views and to the scene for `diagnose`."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult
from mcpwatch.model.spec import RouteSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Diagnosis, MemberView, ProbeView, RouteView, Usage
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.scene import Actor, Seen
from mcpwatch.watchdog.verdict import Tallies, worst


def seen(tallies: Tallies, subject: str, vantage: str) -> Seen | None:
    """What a vantage says of a subject: its worst check speaks. `None` when nothing looks from there."""
    found = tallies.of(subject, vantage)
    if not found:
        return None
    verdict = worst(tally.verdict for _, tally in found)
    speaker = next((tally for _, tally in found if tally.verdict is verdict and tally.latest), found[0][1])
    return Seen(verdict, speaker.latest, speaker.streaks.failures, speaker.at, speaker.since)


def scene_actor(actor: MemberActor, tallies: Tallies) -> Actor:
    """One member as `diagnose` sees it."""
    spec = actor.spec
    return Actor(
        name=spec.name,
        kind=spec.kind,
        runtime=spec.runtime,
        want=actor.state.want,
        phase=actor.state.phase,
        started_at=actor.started_at,
        direct=seen(tallies, spec.name, "direct"),
        route=spec.route,
        through=seen(tallies, spec.route, "route") if spec.route else None,
        last_exit=actor.last_exit,
        oom=actor.oom,
        depends_on=spec.depends_on,
        failures=actor.state.failures,
        foreign_port=actor.port_holder,
        planned=actor.planned,
    )


def probe_views(tallies: Tallies, subject: str, vantage: str) -> tuple[ProbeView, ...]:
    """The latest probes of a subject from a vantage."""
    return tuple(
        ProbeView(key.check, key.vantage, tally.wall, _slim(tally.latest), tally.streaks.failures, tally.streaks.successes)
        for key, tally in tallies.of(subject, vantage)
        if tally.latest is not None and tally.wall is not None
    )


def _slim(result: ProbeResult) -> ProbeResult:
    """A result without the bulk that only the contract watch needs."""
    return replace(result, contract=None)


def member_view(
    actor: MemberActor, tallies: Tallies, usage: Usage | None, diagnoses: tuple[Diagnosis, ...], now: Instant, wall: WallTime
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
        or next((found for found in diagnoses if spec.runtime == "hosted" and found.explains(member=spec.name)), None),
        probes=probe_views(tallies, spec.name, "direct"),
        retry_at=retry_at,
        adopted=actor.adopted,
    )


def route_verdict(route: RouteSpec, actor: MemberActor | None, proxy: MemberActor | None, tallies: Tallies) -> Verdict:
    """The verdict of a route: its probes', unhealthy while its member or the proxy is down, unknown while they first start or are
    restarted because somebody wanted that."""
    if actor is None or actor.state.want is Want.DOWN or actor.planned or (proxy is not None and proxy.planned):
        return Verdict.UNKNOWN
    for needed in (actor, proxy):
        if needed is None or needed.state.phase is Phase.RUNNING:
            continue
        first = needed.state.phase is Phase.STARTING and not needed.state.restarts
        return Verdict.UNKNOWN if first or needed.state.want is Want.DOWN else Verdict.UNHEALTHY
    return worst(tally.verdict for _, tally in tallies.of(route.name, "route"))


def route_view(
    route: RouteSpec,
    actor: MemberActor | None,
    proxy: MemberActor | None,
    tallies: Tallies,
    diagnoses: tuple[Diagnosis, ...],
    verdict_since: WallTime | None,
) -> RouteView:
    """One route as shown."""
    verdict = route_verdict(route, actor, proxy, tallies)
    found = tallies.of(route.name, "route")
    results = [tally.latest for _, tally in found if tally.latest is not None]
    bad = next((tally.latest for _, tally in found if tally.latest is not None and tally.latest.symptom is not None), None)
    listed = next((result for result in results if result.tools is not None), None)
    fallen = next((one for one in (actor, proxy) if one is not None and one.state.phase is not Phase.RUNNING), None)
    down = verdict is Verdict.UNHEALTHY and fallen is not None
    successes = [tally.last_success for _, tally in found if tally.last_success is not None]
    return RouteView(
        name=route.name,
        member=route.member,
        url=route.url,
        verdict=verdict,
        http_url=route.http_url,
        tools=len(listed.tools) if listed and listed.tools is not None else None,
        tokens=listed.tokens if listed else None,
        last_success=max(successes) if successes else None,
        verdict_since=verdict_since,
        symptom="upstream_down" if down else bad.symptom_text if bad else "",
        message=(
            f"{fallen.spec.name}: {fallen.last_exit or fallen.state.phase}" if down and fallen else bad.message if bad else ""
        ),
        diagnosis=next((found for found in diagnoses if found.explains(route=route.name)), None),
        probes=probe_views(tallies, route.name, "route"),
    )
