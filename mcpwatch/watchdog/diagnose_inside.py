"""What a route says of the server behind it: one that the proxy runs inside itself, or the words of a tool. Pure.

Of a server inside the proxy nothing is seen but by its route. Must not know: what the proxy in between does wrong.
"""

from __future__ import annotations

import re

from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.watchdog.diagnose_symptom import plainly
from mcpwatch.watchdog.doubt import doubt
from mcpwatch.watchdog.evidence import evidence_with_log
from mcpwatch.watchdog.finding import Finding, Rung
from mcpwatch.watchdog.own_words import WRONG_CANARY, spoken, unasked
from mcpwatch.watchdog.refusals import forgets
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, STALE_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation
from mcpwatch.watchdog.spared import unseen
from mcpwatch.watchdog.starts import inside, unserved_since
from mcpwatch.watchdog.vantages import certain

_UNREADY = re.compile(r"invalid request parameters", re.IGNORECASE)
"""What servers of the Python SDK say to one that speaks in a session it did not begin with them, with the code of a wrong call."""

_ANSWERED = frozenset({Symptom.TOOL_ERROR, Symptom.UNEXPECTED})
"""What a call of a server inside the proxy tells of that server, as of one that is asked directly."""


def by_a_tool(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """What a tool answered through the route, where the member itself was never asked the same: that is the word of the tool."""
    tool = seen.symptom in _ANSWERED and seen.stage is Stage.CANARY
    if not seen.message or not (tool or (spoken(seen.result, succeeded=True) and not member.child_gone)):
        return None
    asked = member.direct_call.result if member.direct_call is not None else None
    if asked is not None and seen.stage in (asked.stage, *(timing.stage for timing in asked.timings)):
        return None
    if unasked(seen.result):
        return route_finding(snapshot, member, member.name, "config", WRONG_CANARY.format(seen.message))
    cause, text = plainly(seen) if tool else ("unexpected", "it answers, and says itself what fails: {}")
    return route_finding(snapshot, member, member.name, cause, text.replace("{}", seen.message))


def diagnose_inside(snapshot: FleetSnapshot, member: MemberSnapshot, proxy: MemberSnapshot, seen: Observation) -> Finding | None:
    """A server inside the proxy whose route fails: it answers so itself, or it is gone or hung, and only the proxy can start it."""
    symptom = seen.symptom
    if unasked(seen.result) and not (seen.succeeded and _UNREADY.search(seen.message)):
        return route_finding(snapshot, member, member.name, "config", WRONG_CANARY.format(seen.message))
    if symptom in STALE_SYMPTOMS:
        text = f"the server '{member.name}' inside the proxy is gone, and this proxy never starts it again"
        return route_finding(snapshot, member, proxy.name, "child_died", text, "restart_proxy")
    if symptom in HUNG_SYMPTOMS:
        text = f"the server '{member.name}' inside the proxy does not answer, and only the proxy can start it again"
        return unseen(snapshot, seen, route_finding(snapshot, member, proxy.name, "member_hung", text, "restart_proxy"))
    return None


def of_the_tool(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether words of a session are those of a tool: the member says the same when it is asked itself, or it has no sessions.

    Nobody has a session of MCP with a server that a proxy runs inside itself.
    """
    if not forgets(seen.result) and not (spoken(seen.result, succeeded=True) and not member.child_gone):
        return False
    asked = member.direct_call.result if member.direct_call is not None else None
    same = asked is not None and seen.result is not None and bool(asked.said) and asked.said in seen.result.said
    return same or inside(member)


def route_finding(
    snapshot: FleetSnapshot, member: MemberSnapshot, subject: str, cause: str, text: str, rung: Rung | None = None
) -> Finding:
    """A cause of the route of this member, with what was seen through it. `subject`: who is to blame, and repaired by `rung`."""
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
        unsure=doubt(member.through, certain=certain(snapshot, member)),
    )
