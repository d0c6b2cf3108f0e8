"""What is wrong with a member itself, seen past the proxy. Pure.

Owns: the causes that one member can have alone, and which of them a restart may answer: never overload, auth, a licence, a
dependency, a configuration, a contract that changed. Must not know: the proxy, other members (but those it depends on).
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Symptom
from mcpwatch.model.session_words import waits_for_login
from mcpwatch.model.symptom import DOOR_STAGES
from mcpwatch.model.wire import SPREAD
from mcpwatch.watchdog.diagnose_symptom import (
    LATE_LINE,
    by_symptom,
    cut_short,
    exhausted,
    member_finding,
    stdout_fault,
)
from mcpwatch.watchdog.door import turned_away
from mcpwatch.watchdog.exit_words import port_refused
from mcpwatch.watchdog.finding import DOWN, UNKILLABLE, Finding, LookAgain, undoing
from mcpwatch.watchdog.outdated import changed_since
from mcpwatch.watchdog.served_by import by_its_server
from mcpwatch.watchdog.single_client import REFUSED
from mcpwatch.watchdog.snapshot import (
    GONE_SYMPTOMS,
    MUTE_SYMPTOMS,
    FleetSnapshot,
    MemberSnapshot,
    Observation,
)
from mcpwatch.watchdog.spared import spared
from mcpwatch.watchdog.starts import cold_until
from mcpwatch.watchdog.starved import starved

_BACKGROUND = "it put itself into the background"
"""What the process runtime says of one."""
_STARTS = MUTE_SYMPTOMS | {Symptom.UPSTREAM_DOWN, Symptom.NOT_MOUNTED}
"""Symptoms of one that may not have come to its end of its start."""
LATE = 0.5
"""Seconds after which a refused connection says nothing of a port that is listened on now."""


def diagnose_member(snapshot: FleetSnapshot, member: MemberSnapshot, down: set[str]) -> Finding | LookAgain | None:
    """The cause of what is wrong with the member itself, or `None`. `down`: the names of members that are down."""
    if (early := _by_phase(snapshot, member)) is not None:
        return early
    if member.phase is not Phase.RUNNING and not (member.phase is Phase.STARTING and member.restarting):
        return None
    seen = member.own
    if (served := _serves_others(snapshot, member) or _asks_for_login(snapshot, member)) is not None:
        return served
    if (until := cold_until(snapshot, member)) is not None:
        text = f"'{member.name}' answers, and what it runs is still starting; it is given {until - snapshot.at:.0f}s more"
        return replace(member_finding(snapshot, member, "starting", text), hold="waiting for its start", until=until)
    if seen is not None and _doubtful(snapshot, member, seen):
        return LookAgain(member.name)
    if seen is not None and (elsewhere := _out_of_reach(snapshot, member, seen)) is not None:
        return spared(snapshot, member, changed_since(member, seen, elsewhere))
    if seen is None:
        return None if member.through is not None and member.through.bad else _alone(snapshot, member)
    if not seen.bad and not (member.phase is Phase.STARTING and seen.answered):
        return _now_and_then(snapshot, member, seen) or _alone(snapshot, member) or _noisy(snapshot, member)
    if (broken := _broken(snapshot, member, down)) is not None or (seen is member.through and turned_away(seen.result)):
        return broken
    found = changed_since(member, seen, by_symptom(snapshot, member, seen))
    return (
        by_its_server(snapshot, member, spared(snapshot, member, found))
        if seen.bad or found.rung is None
        else replace(found, rung=None, hold="waiting for its start")
    )


def _broken(snapshot: FleetSnapshot, member: MemberSnapshot, down: set[str]) -> Finding | None:
    """What it depends on is down, or failed when it was looked at last: that is looked at first."""
    if gone := [name for name in member.depends_on if name in down]:
        return member_finding(snapshot, member, "dependency", f"what it depends on is down: {', '.join(gone)}")
    others = [one for name in member.depends_on if (one := snapshot.member(name)) is not None]
    if ill := [one.name for one in others if one.stopped_processes or one.paused or (one.own is not None and one.own.failures)]:
        return member_finding(snapshot, member, "dependency", f"what it depends on does not work: {', '.join(ill)}")
    return None


def _asks_for_login(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """One that was never well, and says nothing else, asks a person to log in."""
    seen = member.own
    if seen is None or not seen.bad or seen.succeeded or seen.symptom not in _STARTS:
        return None
    if not (asks := waits_for_login(member.lines)):
        return None
    found = member_finding(snapshot, member, "auth", f"it waits for a person to log in; it wrote: {asks}")
    return replace(found, hold="waiting for that login")


def _serves_others(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """A bridge that is up and serves something else than what it is asked for: there is nothing to wait for."""
    seen = member.own
    if not member.serves or seen is None or not seen.bad or seen.symptom is not Symptom.NOT_MOUNTED or seen.succeeded:
        return None
    named = ", ".join(f"'{name}'" for name in member.serves)
    text = f"it is up and says that all it serves is {named}, and that is not what its url asks for: make the two agree"
    return member_finding(snapshot, member, "config", text)


def _out_of_reach(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """It listens, but not where it is asked."""
    if member.cut_off and seen.bad:
        text = f"it listens on port {member.port}, and connections to it time out without reaching it: is there a firewall between?"
        return member_finding(snapshot, member, "unreachable", text)
    if seen.bad and _refused_where_it_listens(member, seen):
        where = f"at {', '.join(member.listens_at)}" if member.listens_at else f"on port {member.port}"
        text = f"it listens {where}, but not at {member.asked_at or 'the address'}, where it should answer"
        return member_finding(snapshot, member, "wrong_port", text)
    if seen.symptom not in GONE_SYMPTOMS or cut_short(seen):
        return None
    if member.walled:
        where = ", ".join(member.walled)
        text = f"it listens at {where} inside its container, where nobody else reaches it: have it listen on 0.0.0.0"
        return member_finding(snapshot, member, "config", text)
    if not member.listens_elsewhere:
        return None
    ports = ", ".join(str(port) for port in member.listens_on)
    return member_finding(
        snapshot, member, "wrong_port", f"it listens on port {ports}, not on {member.port}, where it should answer"
    )


def _by_phase(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """What its lifecycle and the machine say, whatever probes do."""
    if member.hindered == UNKILLABLE:
        return hindered(snapshot, member)
    if member.planned:
        return member_finding(snapshot, member, "planned_restart", f"it is being restarted {member.planned_why}")
    if member.paused:
        return member_finding(snapshot, member, "paused", "its container is paused", "resume")
    if member.hindered and (member.phase is not Phase.RUNNING or (member.own is not None and member.own.bad)):
        return hindered(snapshot, member)
    if member.down:
        return _down(snapshot, member)
    if member.stopped_processes and member.phase is not Phase.STOPPING:
        return member_finding(snapshot, member, "member_hung", "its processes are stopped (state T)", "resume")
    if member.rival and member.phase is Phase.RUNNING:
        text = f"{member.rival} listens on port {member.port} too, and each connection comes to one of them"
        return member_finding(snapshot, member, "port_shared", text)
    return None


def hindered(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding:
    """What its engine says keeps it from running or being reached. A network that its container left it can be put on again."""
    return member_finding(snapshot, member, member.hindered, member.hindrance, undoing(member.hindered))


def _doubtful(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> bool:
    """Whether what was seen says nothing of it now: it began before its start, nothing answered where it listens now, or the proxy
    that hosts it was not reached.
    """
    if not seen.bad:
        return False
    if seen.symptom is None or seen.began_at is None or (member.started_at is not None and seen.began_at < member.started_at):
        return True  # it was well a moment ago, or that is of its former life
    if _refused_where_it_listens(member, seen):
        return not member.listens_at and snapshot.at - seen.began_at > LATE  # what listens elsewhere refuses here for as long
    return seen is member.through and seen.mute and seen.stage in DOOR_STAGES


def _refused_where_it_listens(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether a port refused that is listened on: at another address, or since then. The kernel accepts for one that hangs."""
    return member.port in member.listens_on and seen.symptom is Symptom.REFUSED


def port_holder(member: MemberSnapshot) -> str:
    """Who else holds the port of one that is down, empty when nothing says so, or nobody is seen to listen on a port of ours."""
    holder = member.foreign_port or ("another program" if port_refused(member.last_exit) and member.port is None else "")
    if not (holder.startswith("pid ") and holder.endswith(")")):
        return holder
    return f"{holder}, {'of another mcpwatch' if '-m mcpwatch' in holder or '/mcpwatch ' in holder else 'not by mcpwatch'}"


def _down(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding:
    if holder := port_holder(member):
        return member_finding(
            snapshot, member, "port_taken", f"its port{f' {member.port}' if member.port else ''} is held by {holder}"
        )
    if _BACKGROUND in member.last_exit:
        return member_finding(snapshot, member, "daemonised", f"the member is down: {member.last_exit}")
    if SPREAD in member.last_exit:
        return member_finding(snapshot, member, "polluted", f"it writes {stdout_fault(member.last_exit)}")
    if member.oom:
        return member_finding(snapshot, member, "member_oom", "it was killed for using too much memory")
    text = f"{DOWN}: {member.last_exit}" if member.last_exit else DOWN
    if port_refused(member.last_exit):
        text += "; nobody listens there now: old connections may still be closing (TIME_WAIT)"
    return member_finding(snapshot, member, "member_down", text)


def _now_and_then(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | LookAgain | None:
    """It fails and recovers again and again; where the kernel says why, an answer in between changes nothing of that."""
    if not seen.rate:
        return None
    if seen.failures and member.descriptors and starved(member, seen):
        return spared(snapshot, member, exhausted(snapshot, member, member.descriptors))
    text = f"it fails and recovers again and again: {seen.rate:.0%} of its latest probes failed"
    return member_finding(snapshot, member, "flapping", text)


def _noisy(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    """It works, and writes what is no message where messages alone belong."""
    hint = snapshot.hint(member.route)
    if hint is None or hint.meaning != "polluted" or hint.at < (member.started_at or 0.0) - LATE_LINE:
        return None
    text = f"it works, but writes {stdout_fault(hint.text)}; some clients end a server for that"
    return member_finding(snapshot, member, "noisy_stdout", text)


def _alone(snapshot: FleetSnapshot, member: MemberSnapshot) -> Finding | None:
    if not member.alone:
        return None
    why = "it takes no second session" if member.alone.startswith(REFUSED) else "it ends when a second client connects"
    text = f"{why} ({member.alone}); it is checked through the proxy only"
    return member_finding(snapshot, member, "single_client", text)
