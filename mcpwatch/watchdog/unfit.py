"""What answers in a way that nobody can use, or that the proxy before it cannot: no restart changes that. Pure."""

from __future__ import annotations

from mcpwatch.model.symptom import GREETING_STAGES, Symptom
from mcpwatch.model.wire import WIRE_NAMES
from mcpwatch.watchdog.own_words import untold
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation


def foreign(seen: Observation) -> bool:
    """Whether what answers was never well and greets as no MCP server does: by no answer of MCP, or by blaming the request."""
    if seen.succeeded or seen.stage not in GREETING_STAGES:
        return False
    status = seen.result.http_status if seen.result is not None else None
    blamed = seen.symptom is Symptom.HTTP_STATUS and status is not None and 400 <= status < 500
    return blamed or seen.symptom is Symptom.BAD_REPLY


def unusable(member: MemberSnapshot) -> str:
    """Why the proxy cannot use a member although it is well: by the wire that it speaks, or the form of its answers.

    A route that was served before says nothing: a server may begin to answer so while it runs, and a proxy that is started again
    then may end with it as a whole.
    """
    result = member.direct.result if member.direct is not None else None
    if result is None or member.through is None or not member.through.failures:
        return ""
    spoken = result.server.wire if result.server is not None else ""
    if member.proxy_wire and spoken in WIRE_NAMES and (member.proxy_wire == "sse") != (spoken == "sse"):
        return f"it speaks {WIRE_NAMES[spoken]}, and the proxy asks it over {WIRE_NAMES[member.proxy_wire]}: write its `transport`"
    return result.message if result.symptom is Symptom.INCOMPATIBLE else ""


def unfit(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> str:
    """Why the proxy cannot use the member, or that it does not show what the canary calls; else empty."""
    if why := unusable(member):
        return f"the proxy cannot use '{member.name}', whatever is restarted: {why}"
    if not untold(seen.result) or member.direct is None or snapshot.lists_from_cache:  # a memory may not know the tool yet
        return ""
    return f"its canary is no tool that clients see at '{member.route}' ('tools', or the proxy's filter): {seen.message}"
