"""What is wrong with a member itself, seen past the proxy. Pure.

Owns: the causes that one member can have alone, and which of them a restart may answer: never overload, auth, a licence, a
dependency, a configuration, a contract that changed. Must not know: the proxy, other members (but those it depends on).
"""

from __future__ import annotations

import re
from dataclasses import replace

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.watchdog.finding import Finding, LookAgain, Rung, undoing
from mcpwatch.watchdog.refusals import refusal
from mcpwatch.watchdog.snapshot import (
    GONE_SYMPTOMS,
    FleetSnapshot,
    MemberSnapshot,
    Observation,
    evidence_with_log,
)
from mcpwatch.watchdog.starts import cold_until

_PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|port is already allocated|port is taken|Errno 98", re.IGNORECASE)

_BACKGROUND = "it put itself into the background"
"""What the process runtime says of one."""
WRONG_CALL_CODES = frozenset({-32601, -32602})
"""JSON-RPC: the method is not found, its parameters are invalid."""
LATE = 0.5
"""Seconds after which a refused connection says nothing of a port that is listened on now."""
LATE_LINE = 15.0
"""Seconds before the end of the first failing probe within which a line may have been the trouble of that probe."""
DOOR_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.OPEN, Stage.ENDPOINT})
"""Stages of a probe through the proxy that the proxy answers by itself."""

_SPOKEN = frozenset({Stage.ENDPOINT, Stage.DISCOVER, Stage.INITIALIZE, Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST})
"""Stages that are over only when something was answered."""

_PLAIN: dict[Symptom | None, tuple[str, str]] = {
    Symptom.AUTH: ("auth", "it refuses our token"),
    Symptom.UNGUARDED: ("auth", "it answers without a token"),
    Symptom.OVERLOADED: ("overloaded", "it takes no more requests for now: {}"),
    Symptom.EMPTY_TOOLS: ("empty_tools", "it lists fewer tools than it should: {}"),
    Symptom.MISSING_TOOLS: ("empty_tools", "it lists fewer tools than it should: {}"),
    Symptom.DRIFT: ("drift", "its contract changed: {}"),
    Symptom.TOOL_ERROR: ("dependency", "it answers, but its own upstream fails the call"),
    Symptom.UNEXPECTED: ("dependency", "it answers, but its own upstream fails the call"),
    Symptom.UNREACHABLE: ("unreachable", "no way leads to it from here: {}"),
    Symptom.WRONG_SERVER: ("wrong_server", "another server answers in its place: {}"),
    Symptom.BAD_ENDPOINT: ("wrong_base_url", "it announces a base URL that clients cannot use"),
}
"""What a symptom alone tells: cause and text. No restart answers any of these."""


def diagnose_member(snapshot: FleetSnapshot, member: MemberSnapshot, down: set[str]) -> Finding | LookAgain | None:
    """The cause of what is wrong with the member itself, or `None`. `down`: the names of members that are down."""
    if (early := _by_phase(snapshot, member)) is not None:
        return early
    if member.phase is not Phase.RUNNING and not (member.phase is Phase.STARTING and member.restarting):
        return None
    seen = member.own
    if (served := _serves_others(snapshot, member)) is not None:
        return served
    if (until := cold_until(snapshot, member)) is not None:
        text = f"'{member.name}' answers, and what it runs is still starting; it is given {until - snapshot.at:.0f}s more"
        return replace(_finding(snapshot, member, "starting", text), hold="waiting for its start", until=until)
    if seen is not None and _doubtful(snapshot, member, seen):
        return LookAgain(member.name)
    if seen is not None and (elsewhere := _out_of_reach(snapshot, member, seen)) is not None:
        return elsewhere
    if seen is None:
        return _alone(snapshot, member)
    if not seen.bad and not (member.phase is Phase.STARTING and seen.answered):
        return _flapping(snapshot, member, seen) or _alone(snapshot, member) or _noisy(snapshot, member)
    broken = [name for name in member.depends_on if name in down]
    if broken:
        return _finding(snapshot, member, "dependency", f"what it depends on is down: {', '.join(broken)}")
    found = by_symptom(snapshot, member, seen)
    return found if seen.bad or found.rung is None else replace(found, rung=None, hold="waiting for its start")


def _serves_others(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """A bridge that is up and serves something else than what it is asked for: there is nothing to wait for."""
    seen = member.own
    if not member.serves or seen is None or not seen.bad or seen.symptom is not Symptom.NOT_MOUNTED or seen.succeeded:
        return None
    named = ", ".join(f"'{name}'" for name in member.serves)
    text = f"it is up and says that all it serves is {named}, and that is not what its url asks for: make the two agree"
    return _finding(snapshot, member, "config", text)


def _out_of_reach(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """It listens, but not where it is asked."""
    if seen.bad and _refused_where_it_listens(member, seen):
        where = f"at {', '.join(member.listens_at)}" if member.listens_at else f"on port {member.port}"
        text = f"it listens {where}, but not at {member.asked_at or 'the address'}, where it should answer"
        return _finding(snapshot, member, "wrong_port", text)
    if seen.symptom not in GONE_SYMPTOMS or _cut_short(seen):
        return None
    if member.walled:
        where = ", ".join(member.walled)
        text = f"it listens at {where} inside its container, where nobody else reaches it: have it listen on 0.0.0.0"
        return _finding(snapshot, member, "config", text)
    if not member.listens_elsewhere:
        return None
    ports = ", ".join(str(port) for port in member.listens_on)
    return _finding(snapshot, member, "wrong_port", f"it listens on port {ports}, not on {member.port}, where it should answer")


def _by_phase(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """What its lifecycle and the machine say, whatever probes do."""
    if member.planned:
        return _finding(snapshot, member, "planned_restart", "it is being restarted as asked")
    if member.paused:
        return _finding(snapshot, member, "paused", "its container is paused", "resume")
    if member.hindered and (member.phase is not Phase.RUNNING or (member.own is not None and member.own.bad)):
        return hindered(snapshot, member)
    if member.down:
        return _down(snapshot, member)
    if member.stopped_processes and member.phase is not Phase.STOPPING:
        return _finding(snapshot, member, "member_hung", "its processes are stopped (state T)", "resume")
    if member.rival and member.phase is Phase.RUNNING:
        text = f"{member.rival} listens on port {member.port} too, and each connection comes to one of them"
        return _finding(snapshot, member, "port_shared", text)
    return None


def hindered(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding:
    """What its engine says keeps it from running or being reached. A network that its container left it can be put on again."""
    return _finding(snapshot, member, member.hindered, member.hindrance, undoing(member.hindered))


def _doubtful(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> bool:
    """Whether what was seen says nothing of it now: it began before its start, nothing answered where it listens now, or the proxy
    that hosts it was not reached.
    """
    if not seen.bad:
        return False
    if seen.symptom is None or seen.began_at is None or (member.started_at is not None and seen.began_at < member.started_at):
        return True  # it was well a moment ago, or that is of its former life
    if _refused_where_it_listens(member, seen):
        return snapshot.at - seen.began_at > LATE
    return seen is member.through and seen.mute and seen.stage in DOOR_STAGES


def _refused_where_it_listens(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether a port refused that is listened on: at another address, or since then. The kernel accepts for one that hangs."""
    return member.port in member.listens_on and seen.symptom is Symptom.REFUSED


def port_holder(member: MemberSnapshot) -> str:
    """Who else holds the port of one that is down, empty when nothing says so."""
    return member.foreign_port or ("another program" if _PORT_TAKEN.search(member.last_exit) else "")


def _down(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding:
    if holder := port_holder(member):
        return _finding(snapshot, member, "port_taken", f"its port is held by {holder}")
    if _BACKGROUND in member.last_exit:
        return _finding(snapshot, member, "daemonised", f"the member is down: {member.last_exit}")
    if member.oom:
        return _finding(snapshot, member, "member_oom", "it was killed for using too much memory")
    text = f"the member is down: {member.last_exit}" if member.last_exit else "the member is down"
    return _finding(snapshot, member, "member_down", text)


def _polluted(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> bool:
    """Whether lines on its stdout that are no messages explain what was seen: written since it began to fail, or since its start
    where it was never well; and no answer of its own says something else."""
    hint = snapshot.hint(member.route)
    if hint is None or hint.meaning != "polluted" or seen.answered:
        return False
    since = seen.since if seen.succeeded and seen.since is not None else member.started_at
    return hint.at >= (since or 0.0) - (LATE_LINE if seen.succeeded else 0.0)


def unasked(result: ProbeResult | None) -> bool:
    """Whether a canary asks for what the server does not offer, or in a way that it does not take: the canary is wrong."""
    return result is not None and result.stage is Stage.CANARY and result.rpc_code in WRONG_CALL_CODES


def by_symptom(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding:
    """Name the cause of a failing probe of the member itself."""
    symptom, message = seen.symptom, seen.message
    told = refusal(seen.result)
    if told is None and _polluted(snapshot, member, seen):
        return _finding(snapshot, member, "polluted", "it writes lines to its stdout that are no messages")
    if told is not None:
        return _finding(snapshot, member, told[0], told[1] + _sessions(told[0], message))
    if unasked(seen.result):
        return _finding(snapshot, member, "config", f"its canary is not what it takes: {message}")
    if seen.mute and seen.result and _cut_short(seen):
        text = f"its answers end early ({seen.result.symptom_text}): it, or something between, closes them: {message}".rstrip(": ")
        return _finding(snapshot, member, "cut_short", text, None if member.listens_elsewhere else "restart")
    if seen.mute and seen.result and symptom is not Symptom.UNREACHABLE:
        text = f"the member runs but does not answer ({seen.result.symptom_text})"
        return _finding(snapshot, member, "member_hung", text, "restart")
    if seen.misconfigured:
        return _finding(snapshot, member, "config", f"its configuration or contract is wrong ({symptom})")
    if symptom in _PLAIN:
        cause, text = _PLAIN[symptom]
        return _finding(snapshot, member, cause, text.replace("{}", message).rstrip(": ") + _sessions(cause, message))
    if symptom is Symptom.UPSTREAM_DOWN and snapshot.nudges and seen is member.through:
        found = _finding(snapshot, member, "member_failing", f"the proxy that hosts it does not reach it: {message}", "reconnect")
        return replace(found, suspect=member.name)
    if symptom is Symptom.UPSTREAM_DOWN and seen is member.direct:
        theirs = "its address answers, but what stands behind that does not"
        text = theirs if member.runtime == "external" else "it answers, but the server that it runs is gone"
        return _finding(snapshot, member, "child_died", text, "restart")
    return _finding(snapshot, member, "member_failing", f"the member fails its checks ({symptom})", "restart")


def _sessions(cause: str, message: str) -> str:
    """A hint at our own checks, where sessions are what it has too many of."""
    ours = cause == "overloaded" and "session" in message.lower()
    return "; each check of mcpwatch opens a session too, so that a longer interval may be enough" if ours else ""


def _flapping(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    if not seen.rate:
        return None
    return _finding(
        snapshot, member, "flapping", f"it fails and recovers again and again: {seen.rate:.0%} of its latest probes failed"
    )


def _cut_short(seen: Observation) -> bool:
    """Whether it answered in this very probe, and a later answer was begun and cut."""
    result = seen.result
    if result is None or result.stage is None or not seen.bad:
        return False
    ended = seen.symptom is Symptom.CUT or (seen.symptom is Symptom.NO_REPLY and "ended" in seen.message)
    return ended and any(timing.stage in _SPOKEN and timing.stage is not result.stage for timing in result.timings)


def _noisy(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """It works, and writes what is no message where messages alone belong."""
    hint = snapshot.hint(member.route)
    if hint is None or hint.meaning != "polluted" or hint.at < (member.started_at or 0.0) - LATE_LINE:
        return None
    text = "it works, but writes lines to its stdout that are no messages; some clients end a server for that"
    return _finding(snapshot, member, "noisy_stdout", text)


def _alone(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    if not member.alone:
        return None
    text = f"it ends when a second client connects ({member.alone}); it is checked through the proxy only"
    return _finding(snapshot, member, "single_client", text)


def _finding(snapshot: FleetSnapshot, member: MemberSnapshot, cause: str, text: str, rung: Rung | None = None) -> Finding:
    seen = member.own
    return Finding(
        cause=cause,
        subject=member.name,
        text=text,
        about=f"member:{member.name}",
        evidence=evidence_with_log(snapshot, member),
        rung=None if member.runtime == "external" else rung,
        affects=(member.route,) if member.route else (),
        seen_at=seen.began_at if seen is not None else None,
        seen_until=seen.at if seen is not None else None,
        look_at=f"the log of '{member.name}' ('mcpwatch logs {member.name}') and what it needs to work",
    )
