"""What operators and their tools read: health of one route and of all, metrics, and a request without a session.

Owns those documents. Must not know the wires of MCP clients.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from msgspec import UNSET

from mcpwatch import __version__
from mcpwatch.gateway.protocol import json_edit, message, tools
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.serve.replicas import Replicas
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.sessions import ClientSessions
from mcpwatch.gateway.session.target import RouteTarget
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.gateway.upstream.upstream import Upstream

HEALTH_LIMIT = 5.0
"""Seconds in which a member must list its tools to be called healthy."""
RPC_LIMIT = 60.0
"""Seconds for one request without a session."""
PAGES = 100


async def health(request: McpRequest, member: ServedMember) -> None:
    """`{"status","service","version","uptime","tools_count"}`; 503 when the member cannot list its tools now."""
    main = member.main
    uptime = round(time.time() - main.started_at, 3) if main.started_at and main.phase is UpstreamPhase.RUNNING else 0
    body: dict[str, object] = {"status": "healthy", "service": member.name, "version": _version(main.server), "uptime": uptime}
    try:
        body["tools_count"] = await _count(member)
    except (UpstreamUnavailable, TimeoutError) as error:
        reason = str(error) or f"did not list its tools within {HEALTH_LIMIT:g} s"
        request.respond(503, json.dumps(body | {"status": "unhealthy", "tools_count": 0, "error": reason}).encode(), _RETRY)
        return
    request.respond(200, json.dumps(body).encode())


async def rpc(request: McpRequest, target: RouteTarget) -> None:
    """One JSON-RPC request in, its answer out; no session, no stream."""
    read = request.read() if request.is_json() else None
    if read is None:
        return
    body, envelope = read
    if envelope.id is UNSET or envelope.method is UNSET:
        request.respond(400, message.error(None, message.INVALID_REQUEST, "the body must be one JSON-RPC request with an id"))
        return
    session = target.begin(request.owner)
    session.checking, session.open = request.checking, 1
    exchange = Exchange()
    request.turn.when_lost(exchange.abandon)
    try:
        await session.take(body, envelope, exchange)
        answer = await _last(exchange, envelope)
        request.respond(200, answer)
    except UpstreamUnavailable as down:
        request.unavailable(down, bytes(envelope.id))
    finally:
        request.turn.on_lost = None
        await session.close()


def alive(members: Mapping[str, ServedMember]) -> bytes:
    """`/healthz`: the gateway itself answers."""
    return json.dumps({"status": "ok", "name": "mcpwatch-gateway", "version": __version__, "serverCount": len(members)}).encode()


def readiness(members: Mapping[str, ServedMember]) -> tuple[int, bytes]:
    """`/readyz`: 503 with the names of the members that are not running."""
    down = sorted(name for name, member in members.items() if member.main.phase is not UpstreamPhase.RUNNING)
    starting = down and all(members[name].main.phase is UpstreamPhase.STARTING for name in down)
    state = "ok" if not down else "initializing" if starting else "unavailable" if len(down) == len(members) else "degraded"
    body = {"status": state, "name": "mcpwatch-gateway", "version": __version__, "serverCount": len(members), "unhealthy": down}
    return (503 if down else 200), json.dumps(body).encode()


def metrics(
    members: Mapping[str, ServedMember], sessions: ClientSessions, refusals: Mapping[int, int], replicas: Replicas
) -> bytes:
    """`/metrics` in the Prometheus text format."""
    passed, lost = _by_replica(replicas.passed), _by_replica(replicas.lost)
    refused = {f'status="{status}"': count for status, count in sorted(refusals.items())}
    lines = [
        *_family("sessions", "gauge", "Open client sessions.", {"": len(sessions)}),
        *_family("streams", "gauge", "Open event streams.", {"": sessions.streams}),
        *_family("slow_readers_total", "counter", "Streams cut because the client did not read.", {"": sessions.slow}),
        *_family("sessions_reaped_total", "counter", "Sessions closed because they were idle.", {"": sessions.reaped}),
        *_family("dropped_messages_total", "counter", "Messages dropped while no stream was open.", {"": sessions.dropped}),
        *_family("refused_total", "counter", "Requests refused, by status.", refused),
        *_family("replica_passed_total", "counter", "Requests passed on to the replica whose session they name.", passed),
        *_family("replica_lost_total", "counter", "Requests for a session of a replica that is gone.", lost),
    ]
    named = {f'member="{name}"': member for name, member in members.items()}
    for name, kind, text, value in _MEMBER_FAMILIES:
        lines += _family(f"member_{name}", kind, text, {label: value(member) for label, member in named.items()})
    return ("\n".join(lines) + "\n").encode()


def _sum(value: Callable[[Upstream], int]) -> Callable[[ServedMember], int]:
    return lambda member: sum(value(upstream) for upstream in member.upstreams)


_MEMBER_FAMILIES: tuple[tuple[str, str, str, Callable[[ServedMember], int]], ...] = (
    ("up", "gauge", "1 while the member takes requests.", lambda member: int(member.main.phase is UpstreamPhase.RUNNING)),
    ("restarts_total", "counter", "Starts after an upstream's first one.", lambda member: member.counts.restarts),
    ("generation", "gauge", "Number of the member's incarnation.", lambda member: member.main.generation),
    ("in_flight", "gauge", "Requests waiting for an answer.", _sum(lambda upstream: upstream.mux.in_flight)),
    ("attached_sessions", "gauge", "Sessions attached to the member.", _sum(lambda upstream: upstream.mux.peers)),
    ("requests_total", "counter", "Requests sent to the member.", lambda member: member.counts.requests),
    ("tool_calls_total", "counter", "Tool calls of clients that were answered.", lambda member: member.counts.tool_calls),
    ("tool_errors_total", "counter", "Those of them that failed.", lambda member: member.counts.tool_errors),
    ("stdout_pollution_total", "counter", "Lines on stdout that were no message.", lambda member: member.counts.polluted),
    ("dropped_lines_total", "counter", "Lines of output that were too long.", lambda member: member.counts.dropped),
)
_RETRY = [(b"retry-after", b"5")]


async def _count(member: ServedMember) -> int:
    count = 0
    params: dict[str, object] = {}
    for _ in range(PAGES):
        body = await member.main.ask("tools/list", params, HEALTH_LIMIT)
        if json_edit.locate(body, ("result",)) is None:
            raise UpstreamUnavailable(member.name, "tools/list answered with an error", 5)
        shown = tools.filtered(body, "tools", lambda own: tools.shown_name(member.settings.tools, own))
        count += len(tools.items(shown, "tools"))
        span = json_edit.locate(body, ("result", "nextCursor"))
        if span is None:
            break
        params = {"cursor": json.loads(body[span[0] : span[1]])}
    return count


async def _last(exchange: Exchange, envelope: Envelope) -> bytes:
    until = time.monotonic() + RPC_LIMIT
    while True:
        messages = await exchange.more(max(0.0, until - time.monotonic()))
        if exchange.done and messages:
            return messages[-1]
        if time.monotonic() >= until or exchange.done:
            raw = bytes(envelope.id) if envelope.id is not UNSET else None
            return message.error(raw, message.MEMBER_DOWN, f"no answer within {RPC_LIMIT:g} s")


def _version(server: bytes) -> str:
    span = json_edit.locate(server, ("serverInfo", "version"))
    return str(json.loads(server[span[0] : span[1]])) if span is not None else ""


def _by_replica(counts: Mapping[str, int]) -> dict[str, int]:
    return {f'replica="{name}"': count for name, count in sorted(counts.items())}


def _family(name: str, kind: str, text: str, samples: Mapping[str, int]) -> list[str]:
    name = f"mcpwatch_gateway_{name}"
    shown = [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples.items()]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *shown]
