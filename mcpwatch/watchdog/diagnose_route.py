"""A member is well and its route is not: what the proxy in between does wrong. Pure.

Owns: everything that only comparing the two vantages, the times and the proxy's own log can tell. Two vantages are compared only
when both probes began after the last change of either side; otherwise the answer is to look again. Must not know: repairs.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import NO_TOKEN, Symptom
from mcpwatch.model.symptom import CALLS, DOOR_STAGES
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.clients_served import at_work
from mcpwatch.watchdog.diagnose_inside import by_a_tool, diagnose_inside, of_the_tool, route_finding
from mcpwatch.watchdog.diagnose_member import hindered
from mcpwatch.watchdog.diagnose_symptom import told_before
from mcpwatch.watchdog.door import broken_bytes
from mcpwatch.watchdog.finding import Finding, LookAgain
from mcpwatch.watchdog.other_list import mixed_up, outdated
from mcpwatch.watchdog.refusals import refusal, refused
from mcpwatch.watchdog.snapshot import (
    HUNG_SYMPTOMS,
    STALE_SYMPTOMS,
    FleetSnapshot,
    MemberSnapshot,
    Observation,
    ProxyLogHint,
)
from mcpwatch.watchdog.starts import cold, inside, mounting_until, starting_until, steady_at
from mcpwatch.watchdog.unfit import unfit
from mcpwatch.watchdog.vantages import last_change, newer, since_change
from mcpwatch.watchdog.ways import no_way

RECONNECT_GRACE = 45.0
"""Seconds after a member's last change in which a proxy that reconnects by itself is left to do so."""
SETTLE_LIMIT = 30.0
"""Longest time that a restart of the proxy waits for members that are just coming up."""
PATIENCE = 300.0
"""Seconds after which a server inside the proxy that had too much to do when that started may have it started again."""

REMEMBERED = "the route still answers: from the proxy's memory, which proves nothing"
_LOADED: dict[Symptom | None, tuple[str, str]] = {
    Symptom.OVERLOADED: ("overloaded", "takes no more requests for now"),
    Symptom.DRIPPING: ("slow_answer", "answers, but too slowly"),
    Symptom.UNRESOLVED: ("unreachable", "is at a name that leads nowhere from here"),
}
"""What a symptom tells of a load, or of the way there: cause and text."""


def diagnose_route(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | LookAgain | None:
    """The member is well, but not through the proxy: one cause, or where to look before one is named."""
    seen, proxy = member.through, snapshot.front
    if seen is None or proxy is None or member.phase is not Phase.RUNNING or proxy.phase is not Phase.RUNNING:
        return None
    if member.hindered and seen.bad:
        return hindered(snapshot, member)
    if not (seen.succeeded or seen.aside) and seen.failures and (waits := _starting(snapshot, member, seen)) is not None:
        return waits
    if seen.bad and seen.symptom is None:
        return LookAgain(member.name)  # it was well a moment ago
    deep = seen.bad and _needs_call(member, seen)
    found = _visible(snapshot, member, proxy, seen) if seen.bad else _hidden(snapshot, member, proxy, seen)
    if found is None:
        return _flapping(snapshot, member, seen)
    if not since_change(snapshot, member, seen, deep=deep):
        return LookAgain(member.name, deep)
    found = no_way(snapshot, member, seen, found)
    if found.rung is None or proxy.carried.watched:
        return replace(found, rung=None)
    busy = at_work(snapshot, member, seen, found)
    return busy or (_held(snapshot, proxy, found) if found.rung == "restart_proxy" else found)


def _needs_call(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether lists of the member prove nothing against a route that failed where only the member itself answers."""
    return member.direct is not None and seen.stage in CALLS


def _starting(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """A server inside the proxy that is still starting, or a route that is still being connected, is waited for."""
    mounting = seen.symptom is Symptom.NOT_MOUNTED
    silent = seen.symptom in HUNG_SYMPTOMS and seen.stage not in CALLS
    if not mounting and not silent:
        return None
    until = starting_until(snapshot, member) or (mounting_until(snapshot, member) if mounting else None)
    hint = snapshot.hint(member.route)
    if until is None or (hint is not None and hint.meaning == "failed"):
        return None
    why = "as its process lives" if cold(member) > member.start_grace else f"start_grace {member.start_grace:g}s"
    text = f"'{member.name}' is still starting; it is given {until - snapshot.at:.0f}s more ({why})"
    found = route_finding(snapshot, member, member.name, "starting", text)
    return replace(found, hold="waiting for its start", until=until)


def _visible(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding:
    """A failing probe through the proxy, named."""
    symptom = seen.symptom
    if (plain := _without_repair(snapshot, member, proxy, seen)) is not None:
        return plain
    if seen.aside:
        return _amiss(snapshot, member, proxy, seen)
    if symptom is Symptom.NOT_MOUNTED:
        return _not_mounted(snapshot, member, proxy)
    if symptom in (Symptom.MISSING_TOOLS, Symptom.EMPTY_TOOLS) and member.direct is not None:
        return _fewer(snapshot, member, proxy)
    if (found := by_a_tool(snapshot, member, seen)) is not None:
        return found
    if inside(member) and (found := diagnose_inside(snapshot, member, proxy, seen)) is not None:
        return found
    if snapshot.nudges:
        return _unreached(snapshot, member, proxy, seen)
    if symptom in STALE_SYMPTOMS or (snapshot.holds_sessions and seen.stage not in DOOR_STAGES):
        return _stale(snapshot, member, proxy)
    text = f"'{member.name}' answers direct, not through the proxy ({symptom})"
    if seen.stage in DOOR_STAGES:  # as to everybody, perhaps: one restart answers that, or none does
        text = f"at '{member.route or member.name}' the proxy itself, or another in its place, answers: {seen.message}".rstrip(": ")
    found = route_finding(snapshot, member, proxy.name, "route_failing", text, "restart_proxy")
    return replace(found, tries=1) if seen.stage in DOOR_STAGES else found


def _amiss(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding:
    """What the proxy, or what stands before it, answers by itself: no session is in that, and no restart mends it."""
    route = member.route or member.name
    if not broken_bytes(seen.result):
        text = f"who comes to '{route}' without a token is not refused as he should be ({seen.symptom})"
        hold = "left alone while its clients are served"
    else:
        text = f"the proxy, or what stands before it, answers at '{route}' what is not HTTP"
        hold = f"left to a person: look at what stands before '{proxy.name}', and at its log; a restart mends no broken bytes"
    return replace(route_finding(snapshot, member, proxy.name, "route_failing", text), hold=hold)


def _fewer(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot) -> Finding:
    """Its route lists less than the member does: the list of another, or what the proxy has left of it."""
    route = member.route or member.name
    if other := mixed_up(snapshot, member):
        return route_finding(snapshot, member, proxy.name, "config", f"at the route '{route}' it shows what '{other}' lists")
    text = f"the proxy shows fewer tools of '{route}' than the member lists"
    return route_finding(snapshot, member, proxy.name, "empty_tools", text, "restart_proxy")


def _without_repair(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding | None:
    """Causes that no repair answers."""
    symptom, route, message = seen.symptom, member.route or member.name, seen.message
    if why := unfit(snapshot, member, seen):
        return route_finding(snapshot, member, member.name, "config", why)
    if of_the_tool(member, seen):
        return route_finding(snapshot, member, member.name, "unexpected", f"a tool of '{member.name}' says itself: {message}")
    if symptom is Symptom.BAD_ENDPOINT:
        text = "the proxy announces a base URL that clients cannot use"
        return route_finding(snapshot, member, proxy.name, "wrong_base_url", text)
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        unsent = f"the proxy asks for a token at '{route}', and none is sent"
        text = unsent if NO_TOKEN in message else f"the proxy's tokens are wrong for '{route}' ({symptom})"
        hold = ""
        if symptom is Symptom.UNGUARDED:
            text = f"the proxy lets in at '{route}' who has no valid token: {message}".rstrip(": ")
            hold = f"left to a person: configure tokens on '{proxy.name}', and take it off the network until then"
        return replace(route_finding(snapshot, member, proxy.name, "auth", text), hold=hold)
    if seen.misconfigured:
        return route_finding(snapshot, member, proxy.name, "config", f"the proxy's configuration spoils '{route}' ({symptom})")
    if symptom in _LOADED:
        cause, text = _LOADED[symptom]
        return route_finding(snapshot, member, proxy.name, cause, f"'{route}' {text}: {message}")
    if symptom is Symptom.WRONG_SERVER:
        return route_finding(snapshot, member, member.name, "wrong_server", f"another server answers behind '{route}': {message}")
    if (told := refusal(seen.result) or told_before(seen, snapshot.at)) is not None:
        return route_finding(snapshot, member, member.name, told[0], f"through '{route}' {told[1]}")
    if symptom is Symptom.DRIFT or (symptom in (Symptom.MISSING_TOOLS, Symptom.EMPTY_TOOLS) and _lists_the_same(member, seen)):
        text = f"'{member.name}' changed what it lists, and the proxy shows it as it is: {message}"
        return route_finding(snapshot, member, member.name, "drift", text)
    return None


def _lists_the_same(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether the member itself lists what its route lists: then nothing was lost in between."""
    own, shown = member.direct.result if member.direct else None, seen.result
    if own is None or shown is None or own.tools is None or shown.tools is None:
        return inside(member) and seen.symptom is Symptom.MISSING_TOOLS
    return {tool.name for tool in own.tools} <= {tool.name for tool in shown.tools}


def _unreached(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding:
    """A proxy that can be asked to try again at once. What it says honestly of its upstream, no restart of it can mend."""
    if seen.symptom is Symptom.UPSTREAM_DOWN:
        text = f"the proxy has not reached '{member.name}' again: {seen.message}".rstrip(": ")
        return route_finding(snapshot, member, proxy.name, "route_failing", text, "reconnect")
    text = f"'{member.name}' answers direct, not through the proxy ({seen.symptom})"
    return replace(route_finding(snapshot, member, proxy.name, "route_failing", text, "reconnect"), suspect=proxy.name)


def _hidden(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding | None:
    """The route looks fine, from the proxy's memory: the start times tell that nobody is behind it."""
    direct = member.direct
    if member.child_gone and inside(member) and not snapshot.reconnects:
        text = f"the server '{member.name}' inside the proxy is gone (its process ended), and this proxy never starts it again"
        found = route_finding(snapshot, member, proxy.name, "child_died", text, "restart_proxy")
        return replace(found, evidence=(*found.evidence, REMEMBERED))
    believable = not (snapshot.holds_sessions and snapshot.lists_from_cache) or snapshot.reconnects or seen.proved
    well = direct is not None and seen.verdict is Verdict.HEALTHY and direct.verdict is Verdict.HEALTHY
    if well and not believable and newer(member, proxy):  # also where that shows an old list: its session is of a former life
        found = _stale(snapshot, member, proxy)
        return replace(found, evidence=(*found.evidence, REMEMBERED))
    if not (changed := outdated(snapshot, member)):
        return None
    found = route_finding(snapshot, member, proxy.name, "drift", f"it shows an old list of '{member.name}', {changed}")
    return replace(found, hold=f"left to a person: restart '{proxy.name}' when its other routes can bear it")


def _flapping(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    text = f"route '{member.route}' fails and recovers again and again: {seen.rate:.0%} of its latest probes failed"
    return route_finding(snapshot, member, member.name, "flapping", text) if seen.rate else None


def _stale(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot) -> Finding:
    text = f"the proxy holds a stale session to '{member.name}'"
    found = route_finding(snapshot, member, proxy.name, "stale_session", text, "restart_proxy")
    if newer(member, proxy):
        found = replace(found, evidence=(*found.evidence, "the member started after the proxy"))
    else:  # it did not lose its sessions by a restart: it, or what is between, may end them again and again
        found = replace(found, unprovoked=True, look_at=f"{found.look_at}; does it, or what is between, end sessions?")
    if not (member.direct_call is not None and member.direct_call.proved):
        found = replace(found, suspect=member.name if not member.carried.watched else "")
    changed = last_change(snapshot, member)
    until = Instant(changed + RECONNECT_GRACE) if changed is not None else snapshot.at
    if snapshot.reconnects and until > snapshot.at:
        hold = f"this proxy reconnects by itself; it is given {until - snapshot.at:.0f}s more"
        return replace(found, hold=hold, until=until)
    if (steady := steady_at(member)) > snapshot.at:
        hold = f"'{member.name}' ended {member.failures} times in a row: it has to live {steady - snapshot.at:.0f}s more"
        return replace(found, hold=hold, until=steady)
    return found


def _not_mounted(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot) -> Finding:
    hint, text = snapshot.hint(member.route), f"the proxy has no route '{member.route or member.name}'"
    meaning = hint.meaning if hint is not None else "" if snapshot.mounts_late else "silent"
    if hint is not None and inside(member) and (refusing := _refusing(snapshot, member, hint)) is not None:
        return refusing
    if meaning == "failed":
        text = f"the proxy could not reach '{member.name}' when it started, and never tries again"
    elif meaning == "silent":
        text = f"{text}: it never said that it connected to '{member.name}'"
    elif meaning == "connecting":
        text = f"{text}: it began to connect to '{member.name}' and did not finish within {member.start_grace:g}s"
    if snapshot.nudges:  # it serves what its file names, and reads that again
        found = route_finding(snapshot, member, proxy.name, "not_mounted", text, "reconnect")
        return replace(found, suspect=proxy.name)
    found = route_finding(snapshot, member, proxy.name, "not_mounted", text, "restart_proxy")
    if meaning != "connecting" or member.direct is None or member.direct.bad:
        return found
    doubt = f"; if '{member.name}' serves one client at a time, our checks take it away: give them `vantages: [route]`"
    return replace(found, tries=1, look_at=found.look_at + doubt)  # a second restart would cut the others for the same


def _refusing(snapshot: FleetSnapshot, member: MemberSnapshot, hint: ProxyLogHint) -> Finding | None:
    """A server inside the proxy refused it at its start, by the proxy's own log: another start would only be refused again.

    One that had too much to do is tried again after `PATIENCE`.
    """
    told, until = refused(hint.text, *filter(None, (member.route, member.name))), Instant(hint.at + PATIENCE)
    if hint.meaning != "failed" or told is None or told[0] == "dependency":  # by a proxy that says that, it is the server itself
        return None
    found = route_finding(snapshot, member, member.name, told[0], f"it refused the proxy when that started: {told[1]}")
    if told[0] != "overloaded":
        return found
    return replace(found, hold="waiting until it takes requests again", until=until) if until > snapshot.at else None


def _held(snapshot: FleetSnapshot, proxy: MemberSnapshot, found: Finding) -> Finding:
    """A restart of the proxy serves all routes at once: it waits for members that are coming up, and for its own budget."""
    if found.hold:
        return found
    coming = _coming(snapshot)
    if coming:
        names = ", ".join(name for name, _ in coming)
        hold = f"waiting for {names}, so that one restart serves all"
        return replace(found, hold=hold, until=min(until for _, until in coming))
    if proxy.budget_at is not None and proxy.budget_at > snapshot.at:
        wait = f"its restart budget allows the next in {proxy.budget_at - snapshot.at:.0f}s"
        return replace(found, hold=f"it was restarted too often, and still serves others; {wait}", until=proxy.budget_at)
    return found


def _coming(snapshot: FleetSnapshot) -> tuple[tuple[str, Instant], ...]:
    """Members behind the proxy that are just coming up: restarting it now would leave them out. Until when each is waited for."""
    found: list[tuple[str, Instant]] = []
    for member in snapshot.members:
        if not member.route or member.want is Want.DOWN or (member.carried.hosted or member.carried.watched):
            continue
        began: Instant | None = None
        if member.phase in (Phase.STARTING, Phase.STOPPING):  # to be started again: what it was started last is its former life
            began = max((at for at in (member.started_at, member.changed_at) if at is not None), default=None)
        if member.phase is Phase.BACKOFF and member.failures <= 1:
            began = member.changed_at
        if began is not None and snapshot.at - began < SETTLE_LIMIT:
            found.append((member.name, Instant(began + SETTLE_LIMIT)))
    return tuple(found)
