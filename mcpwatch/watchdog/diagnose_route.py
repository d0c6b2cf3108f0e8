"""A member is well and its route is not: what the proxy in between does wrong. Pure.

Owns: everything that only comparing the two vantages, the times and the proxy's own log can tell. Two vantages are compared only
when both probes began after the last change of either side; otherwise the answer is to look again. Must not know: repairs.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose_member import hindered, unasked
from mcpwatch.watchdog.finding import Finding, LookAgain, Rung
from mcpwatch.watchdog.refusals import refusal, refused
from mcpwatch.watchdog.snapshot import (
    HUNG_SYMPTOMS,
    STALE_SYMPTOMS,
    FleetSnapshot,
    MemberSnapshot,
    Observation,
    ProxyLogHint,
    evidence_with_log,
)
from mcpwatch.watchdog.starts import inside, mounting_until, starting_until, unserved_since
from mcpwatch.watchdog.ways import no_way

RECONNECT_GRACE = 45.0
"""Seconds after a member's last change in which a proxy that reconnects by itself is left to do so."""

SETTLE_LIMIT = 30.0
"""Longest time that a restart of the proxy waits for members that are just coming up."""

PATIENCE = 300.0
"""Seconds after which a server inside the proxy that had too much to do when that started may have it started again."""

_UNREADY = re.compile(r"invalid request parameters", re.IGNORECASE)
"""What servers of the Python SDK say to one that speaks in a session it did not begin with them, with the code of a wrong call."""

CALLS = frozenset({Stage.SAFE_CALL, Stage.CANARY})
"""Stages that only the member itself can answer: a list is no answer to them."""


def diagnose_route(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | LookAgain | None:
    """The member is well, but not through the proxy: one cause, or where to look before one is named."""
    seen, proxy = member.through, snapshot.front
    if seen is None or proxy is None or member.phase is not Phase.RUNNING or proxy.phase is not Phase.RUNNING:
        return None
    if member.hindered and seen.bad:
        return hindered(snapshot, member)
    if not seen.succeeded and seen.failures and (waits := _starting(snapshot, member, seen)) is not None:
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
    if found.rung is None or proxy.runtime == "external":
        return replace(found, rung=None)
    return _held(snapshot, proxy, found) if found.rung == "restart_proxy" else found


def since_change(snapshot: FleetSnapshot, member: MemberSnapshot, through: Observation, *, deep: bool = False) -> bool:
    """Whether both vantages were probed after the last change of either side, so that they may be compared.

    The member itself must have been found well after its route was first found bad, by a call where `deep`.
    """
    changed = last_change(snapshot, member)
    if through.began_at is None or through.since is None or (changed is not None and through.began_at < changed):
        return False
    if member.direct is None or member.alone:
        return True
    needed = through.since if changed is None else max(changed, through.since)
    looked = (member.direct, member.direct_call) if deep else (member.direct,)
    return all(one is not None and not one.failures and one.began_at is not None and one.began_at >= needed for one in looked)


def last_change(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """When the member or the proxy last changed, as far as is known: a start, an end, a recovery that was seen."""
    proxy, direct = snapshot.front, member.direct
    times = [member.started_at, member.changed_at]
    times += [proxy.started_at, proxy.changed_at] if proxy is not None else []
    times += [direct.since] if direct is not None and not direct.failures else []
    return max((time for time in times if time is not None), default=None)


def newer(member: MemberSnapshot, proxy: MemberSnapshot) -> bool:
    """Whether the member started after the proxy, which may then hold a session to its former life."""
    return member.started_at is not None and proxy.started_at is not None and member.started_at > proxy.started_at


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
    text = f"'{member.name}' is still starting; it is given {until - snapshot.at:.0f}s more (start_grace {member.start_grace:g}s)"
    found = _finding(snapshot, member, member.name, "starting", text)
    return replace(found, hold="waiting for its start", until=until)


def _visible(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding:
    """A failing probe through the proxy, named."""
    symptom, route = seen.symptom, member.route or member.name
    if (plain := _without_repair(snapshot, member, proxy, seen)) is not None:
        return plain
    if symptom is Symptom.NOT_MOUNTED:
        return _not_mounted(snapshot, member, proxy)
    if symptom in (Symptom.MISSING_TOOLS, Symptom.EMPTY_TOOLS) and member.direct is not None:
        text = f"the proxy shows fewer tools of '{route}' than the member lists"
        return _finding(snapshot, member, proxy.name, "empty_tools", text, "restart_proxy")
    if inside(member) and unasked(seen.result) and not (seen.succeeded and _UNREADY.search(seen.message)):
        return _finding(snapshot, member, member.name, "config", f"its canary is not what it takes: {seen.message}")
    if inside(member) and symptom is Symptom.TOOL_ERROR and seen.message:
        return _finding(snapshot, member, member.name, "dependency", "it answers, but its own upstream fails the call")
    if inside(member) and symptom in STALE_SYMPTOMS:
        text = f"the server '{member.name}' inside the proxy is gone, and this proxy never starts it again"
        return _finding(snapshot, member, proxy.name, "child_died", text, "restart_proxy")
    if inside(member) and symptom in HUNG_SYMPTOMS:
        text = f"the server '{member.name}' inside the proxy does not answer, and only the proxy can start it again"
        return _finding(snapshot, member, proxy.name, "member_hung", text, "restart_proxy")
    if snapshot.nudges:
        return _unreached(snapshot, member, proxy, seen)
    if symptom in STALE_SYMPTOMS or snapshot.holds_sessions:
        return _stale(snapshot, member, proxy)
    text = f"'{member.name}' answers direct, not through the proxy ({symptom})"
    return _finding(snapshot, member, proxy.name, "route_failing", text, "restart_proxy")


def _without_repair(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding | None:
    """Causes that no repair answers."""
    symptom, route, message = seen.symptom, member.route or member.name, seen.message
    if symptom is Symptom.BAD_ENDPOINT:
        text = "the proxy announces a base URL that clients cannot use"
        return _finding(snapshot, member, proxy.name, "wrong_base_url", text)
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        return _finding(snapshot, member, proxy.name, "auth", f"the proxy's tokens are wrong for '{route}' ({symptom})")
    if seen.misconfigured:
        return _finding(snapshot, member, proxy.name, "config", f"the proxy's configuration spoils '{route}' ({symptom})")
    if symptom is Symptom.OVERLOADED:
        return _finding(snapshot, member, proxy.name, "overloaded", f"'{route}' takes no more requests for now: {message}")
    if symptom is Symptom.WRONG_SERVER:
        return _finding(snapshot, member, member.name, "wrong_server", f"another server answers behind '{route}': {message}")
    if (told := refusal(seen.result)) is not None:
        return _finding(snapshot, member, member.name, told[0], f"through '{route}' {told[1]}")
    if symptom is Symptom.DRIFT or (symptom in (Symptom.MISSING_TOOLS, Symptom.EMPTY_TOOLS) and _lists_the_same(member, seen)):
        text = f"'{member.name}' changed what it lists, and the proxy shows it as it is: {message}"
        return _finding(snapshot, member, member.name, "drift", text)
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
        return _finding(snapshot, member, proxy.name, "route_failing", text, "reconnect")
    text = f"'{member.name}' answers direct, not through the proxy ({seen.symptom})"
    return replace(_finding(snapshot, member, proxy.name, "route_failing", text, "reconnect"), suspect=proxy.name)


def _hidden(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding | None:
    """The route looks fine, from the proxy's memory: the start times tell that nobody is behind it."""
    direct = member.direct
    if member.child_gone and inside(member) and not snapshot.reconnects:
        text = f"the server '{member.name}' inside the proxy is gone (its process ended), and this proxy never starts it again"
        found = _finding(snapshot, member, proxy.name, "child_died", text, "restart_proxy")
        return replace(found, evidence=(*found.evidence, "the route still answers: from the proxy's memory, which proves nothing"))
    believable = not (snapshot.holds_sessions and snapshot.lists_from_cache) or snapshot.reconnects or seen.proved
    if believable or direct is None or seen.verdict is not Verdict.HEALTHY or direct.verdict is not Verdict.HEALTHY:
        return None
    if not newer(member, proxy):
        return None
    found = _stale(snapshot, member, proxy)
    why = "the route still answers: from the proxy's memory, which proves nothing"
    return replace(found, evidence=(*found.evidence, why))


def _flapping(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    if not seen.rate:
        return None
    text = f"route '{member.route}' fails and recovers again and again: {seen.rate:.0%} of its latest probes failed"
    return _finding(snapshot, member, member.name, "flapping", text)


def _stale(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot) -> Finding:
    text = f"the proxy holds a stale session to '{member.name}'"
    found = _finding(snapshot, member, proxy.name, "stale_session", text, "restart_proxy")
    if newer(member, proxy):
        found = replace(found, evidence=(*found.evidence, "the member started after the proxy"))
    if not (member.direct_call is not None and member.direct_call.proved):
        found = replace(found, suspect=member.name if member.runtime != "external" else "")
    changed = last_change(snapshot, member)
    until = Instant(changed + RECONNECT_GRACE) if changed is not None else snapshot.at
    if snapshot.reconnects and until > snapshot.at:
        hold = f"this proxy reconnects by itself; it is given {until - snapshot.at:.0f}s more"
        return replace(found, hold=hold, until=until)
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
    return _finding(snapshot, member, proxy.name, "not_mounted", text, "restart_proxy")


def _refusing(snapshot: FleetSnapshot, member: MemberSnapshot, hint: ProxyLogHint) -> Finding | None:
    """A server inside the proxy refused it at its start, by the proxy's own log: another start would only be refused again.

    One that had too much to do is tried again after `PATIENCE`.
    """
    told, until = refused(hint.text, *filter(None, (member.route, member.name))), Instant(hint.at + PATIENCE)
    if hint.meaning != "failed" or told is None or told[0] == "dependency":  # by a proxy that says that, it is the server itself
        return None
    found = _finding(snapshot, member, member.name, told[0], f"it refused the proxy when that started: {told[1]}")
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
        return replace(found, hold="it was restarted too often; waiting, because it still serves", until=proxy.budget_at)
    return found


def _coming(snapshot: FleetSnapshot) -> tuple[tuple[str, Instant], ...]:
    """Members behind the proxy that are just coming up: restarting it now would leave them out. Until when each is waited for."""
    found: list[tuple[str, Instant]] = []
    for member in snapshot.members:
        if not member.route or member.want is Want.DOWN or member.runtime in {"hosted", "external"}:
            continue
        began: Instant | None = None
        if member.phase in (Phase.STARTING, Phase.STOPPING):  # to be started again: what it was started last is its former life
            began = max((at for at in (member.started_at, member.changed_at) if at is not None), default=None)
        if member.phase is Phase.BACKOFF and member.failures <= 1:
            began = member.changed_at
        if began is not None and snapshot.at - began < SETTLE_LIMIT:
            found.append((member.name, Instant(began + SETTLE_LIMIT)))
    return tuple(found)


def _finding(
    snapshot: FleetSnapshot, member: MemberSnapshot, subject: str, cause: str, text: str, rung: Rung | None = None
) -> Finding:
    route = member.route or member.name
    return Finding(
        cause=cause,
        subject=subject,
        text=text,
        about=f"route:{route}",
        evidence=evidence_with_log(snapshot, member),
        rung=rung,
        affects=(route,),
        seen_at=member.through.began_at if member.through is not None else None,
        seen_until=member.through.at if member.through is not None else None,
        look_at=f"the log of '{subject}' and how it reaches '{member.name}'",
        unserved_since=unserved_since(snapshot, member),
    )
