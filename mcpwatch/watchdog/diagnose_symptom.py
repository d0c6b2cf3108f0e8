"""What a failing probe of a member says is wrong with it, and which of it a restart may answer. Pure.

Never overload, auth, a licence, a dependency, a configuration, a contract that changed. Must not know: phases and lifecycles,
routes, other members.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mcpwatch.model.probe import NO_TOKEN, Stage, Symptom
from mcpwatch.model.session_words import KEPT
from mcpwatch.model.symptom import CALLS
from mcpwatch.model.time import Instant
from mcpwatch.model.wire import NOT_UTF8, SPREAD
from mcpwatch.watchdog.doubt import doubt
from mcpwatch.watchdog.evidence import evidence_with_log
from mcpwatch.watchdog.finding import Finding, Rung
from mcpwatch.watchdog.own_words import WRONG_CANARY, spoken, unasked
from mcpwatch.watchdog.refusals import changed_under, declines, fails_behind, forgets, refusal
from mcpwatch.watchdog.single_client import held, holds
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation
from mcpwatch.watchdog.starved import starved, wrote_so
from mcpwatch.watchdog.unavailable import unavailable
from mcpwatch.watchdog.unfit import foreign

LATE_LINE = 15.0
"""Seconds before the end of the first failing probe within which a line may have been the trouble of that probe."""
_GARBLED = re.compile(rf"answered with (?:{SPREAD}|{NOT_UTF8})")
_SPOKEN = frozenset({Stage.ENDPOINT, Stage.DISCOVER, Stage.INITIALIZE, Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST})
"""Stages that are over only when something was answered."""
MOVED = "it runs and answers, but not at the path of its url, which may be wrong or have changed with an upgrade"
NOT_OURS = "mcpwatch did not start it, and cannot tell whether it runs"

PLAIN: dict[Symptom | None, tuple[str, str]] = {
    Symptom.AUTH: ("auth", "it refuses our token"),
    Symptom.UNGUARDED: ("auth", "it answers without a token"),
    Symptom.OVERLOADED: ("overloaded", "it takes no more requests for now: {}"),
    Symptom.DRIPPING: ("slow_answer", "it answers, but too slowly: {}"),
    Symptom.EMPTY_TOOLS: ("empty_tools", "it lists fewer tools than it should: {}"),
    Symptom.MISSING_TOOLS: ("empty_tools", "it lists fewer tools than it should: {}"),
    Symptom.DRIFT: ("drift", "its contract changed: {}"),
    Symptom.TOOL_ERROR: ("unexpected", "it answers, but its tool fails or refuses the call: {}"),
    Symptom.UNEXPECTED: ("unexpected", "it answers, but not what is expected of it: {}"),
    Symptom.UNREACHABLE: ("unreachable", "no way leads to it from here: {}"),
    Symptom.UNRESOLVED: ("unreachable", "its name leads nowhere from here: {}"),
    Symptom.WRONG_SERVER: ("wrong_server", "another server answers in its place: {}"),
    Symptom.BAD_ENDPOINT: ("wrong_base_url", "it announces a base URL that clients cannot use"),
}
"""What a symptom alone tells: cause and text. No restart answers any of these."""


_NOT_REACHED: dict[Symptom | None, tuple[str, str]] = {
    Symptom.UPSTREAM_DOWN: ("member_failing", "the proxy that hosts it does not reach it"),
    Symptom.NOT_MOUNTED: ("not_mounted", "the proxy that hosts it has no route to it"),
}
"""What a proxy says of a server that it hosts, and can be asked to try again: cause and text."""


def plainly(seen: Observation) -> tuple[str, str]:
    """Cause and text of a symptom in `PLAIN`. An error of a tool blames what it depends on only by words of that."""
    if seen.symptom is Symptom.TOOL_ERROR and fails_behind(seen.result):
        return "dependency", "it answers, but what it depends on fails the call: {}"
    return PLAIN[seen.symptom]


def by_symptom(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding:
    """Name the cause of a failing probe of the member itself."""
    return (
        _by_its_words(snapshot, member, seen)
        or _by_its_silence(snapshot, member, seen)
        or _by_its_setup(snapshot, member, seen)
        or _by_its_answer(snapshot, member, seen)
    )


def _by_its_words(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """What it, or the kernel, says itself is the trouble."""
    message, told = seen.message, refusal(seen.result) or told_before(seen, snapshot.at)
    if full := starved(member, seen):
        return exhausted(snapshot, member, full)
    line = message if _GARBLED.search(message) else ("" if told else _wrote(snapshot, member, seen, "polluted"))
    if line:
        return member_finding(snapshot, member, "polluted", f"it writes {stdout_fault(line)}")
    if told is not None:
        return member_finding(snapshot, member, told[0], told[1] + _sessions(told[0], message))
    if held(seen.result, speaks=not foreign(seen)) and (seen is member.through or not holds(member.through)):
        return _taken(snapshot, member, seen)
    if seen.succeeded and seen.bad and changed_under(seen.result):
        text = f"it worked, and lacks a part of its program since that was changed on disk: {message}"
        return replace(member_finding(snapshot, member, "member_failing", text, "restart"), tries=1)
    if unasked(seen.result):
        return member_finding(snapshot, member, "config", WRONG_CANARY.format(message))
    if (forgets(seen.result) and seen.symptom is Symptom.RPC_ERROR) or declines(seen.result):
        return member_finding(snapshot, member, "unexpected", f"its tool says itself: {message}")
    wrote = wrote_so(member, seen)
    if wrote or not spoken(seen.result, succeeded=seen.succeeded) or member.child_ended or member.child_gone:
        return exhausted(snapshot, member, wrote) if wrote else None
    behind = fails_behind(seen.result)
    text = "what it depends on fails the call" if behind else "it says itself what fails"
    return member_finding(snapshot, member, "dependency" if behind else "unexpected", f"it answers, and {text}: {message}")


def _taken(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding:
    """It refuses a second session, and who has the first, as far as that is known."""
    through = member.through
    if through is not None and KEPT in through.message:
        text = f"it serves one client at a time, and the gateway has its session: write 'sessions: shared' for it: {seen.message}"
        return member_finding(snapshot, member, "config", text)
    since = through is not None and through.symptom is None and (through.began_at or 0.0) >= (seen.since or 0.0)
    if since and through is not None and (through.proved or not snapshot.lists_from_cache):
        text = f"it takes no second session; the proxy has the first: {seen.message}"
        return member_finding(snapshot, member, "single_client", text)
    return member_finding(snapshot, member, "busy", f"it serves one client at a time, and another has its session: {seen.message}")


def exhausted(snapshot: FleetSnapshot, member: MemberSnapshot, why: str) -> Finding:
    """That it is out of file descriptors, and who says so."""
    return member_finding(snapshot, member, "member_exhausted", f"it is out of file descriptors: {why}", "restart")


def _by_its_silence(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """It says nothing, or nothing that was asked."""
    result, message = seen.result, seen.message
    if result is None:
        return None
    waits = seen.mute or (seen.bad and seen.symptom is Symptom.UPSTREAM_DOWN and seen is member.through)
    unasked_for = _wrote(snapshot, member, seen, "unasked") if waits else ""
    if seen.misdirected or unasked_for:
        text = f"it answers, but not what it was asked: {unasked_for or message}"
        broken = seen.succeeded
        return member_finding(snapshot, member, "member_failing" if broken else "config", text, "restart" if broken else None)
    if not seen.mute:
        return None
    if cut_short(seen):
        text = f"its answers end early ({result.symptom_text}): it, or something between, closes them: {message}".rstrip(": ")
        return member_finding(snapshot, member, "cut_short", text, None if member.listens_elsewhere else "restart")
    if seen.symptom is Symptom.UNREACHABLE:
        return None
    text = f"the member runs but does not answer ({result.symptom_text})"
    if member.carried.watched and not member.served_by:
        text = f"it does not answer ({result.symptom_text}); {NOT_OURS}"
        if seen.symptom is Symptom.REFUSED:
            text = f"nothing listens at {member.asked_at or 'its address'} ({result.symptom_text}); {NOT_OURS}"
    return member_finding(snapshot, member, "member_hung", text, "restart")


def _by_its_setup(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding | None:
    """It was set up wrongly, or changed."""
    symptom, message = seen.symptom, seen.message
    elsewhere = moved(member, seen)
    if elsewhere or seen.misconfigured or foreign(seen):
        wrong = MOVED if elsewhere else f"its configuration or contract is wrong ({symptom})"
        return member_finding(snapshot, member, "config", f"{wrong}: {message}".rstrip(": "))
    if symptom not in PLAIN:
        return None
    cause, text = plainly(seen)
    if symptom is Symptom.AUTH and NO_TOKEN in message:
        text = "it asks for a token, and none is sent"
        if seen.succeeded:
            text = f"it refuses what it allowed before, and no token is sent: {message}"
    found = member_finding(snapshot, member, cause, text.replace("{}", message).rstrip(": ") + _sessions(cause, message))
    return unavailable(snapshot, member, seen, found)


def _by_its_answer(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation) -> Finding:
    """It answers, and what it says is that it does not work."""
    symptom, message = seen.symptom, seen.message
    if symptom in _NOT_REACHED and snapshot.nudges and seen is member.through:
        cause, text = _NOT_REACHED[symptom]
        return replace(member_finding(snapshot, member, cause, f"{text}: {message}", "reconnect"), suspect=member.name)
    if symptom is Symptom.UPSTREAM_DOWN and seen is member.direct:
        if member.childless and not member.carried.watched and seen.stage not in CALLS:
            return member_finding(snapshot, member, "dependency", f"it answers that what it needs does not work: {message}")
        theirs = "its address answers, but what stands behind that does not"
        text = theirs if member.carried.watched else "it answers, but the server that it runs is gone"
        return member_finding(snapshot, member, "child_died", text, "restart")
    text = f"the member fails its checks ({symptom})"
    if symptom is Symptom.NOT_MOUNTED and member.unserved and not seen.succeeded:
        text = f"it runs, but the server that it runs never came to be served: {message}".rstrip(": ")
    return member_finding(snapshot, member, "member_failing", text, "restart")


def stdout_fault(line: str) -> str:
    """What a server writes to its stdout, by the proxy's line about it, and what its author can do."""
    if SPREAD in line:
        return "each message over several lines of its stdout: it has to print each as one line, as JSON without line breaks"
    if NOT_UTF8 in line:
        return "bytes to its stdout that are not UTF-8: it has to print UTF-8 whatever the locale is (for Python: PYTHONUTF8=1)"
    return "lines to its stdout that are no messages"


def _wrote(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation, meaning: str) -> str:
    """What the proxy says that it wrote (`polluted`: no messages, `unasked`: answers to nothing), where that explains what was
    seen: since it began to fail, or since its start where it was never well; and no answer of its own says something else."""
    hint = snapshot.hint(member.route)
    if hint is None or hint.meaning != meaning or seen.answered:
        return ""
    since = seen.since if seen.succeeded and seen.since is not None else member.started_at
    return hint.text if hint.at >= (since or 0.0) - (LATE_LINE if seen.succeeded else 0.0) else ""


def moved(member: MemberSnapshot, seen: Observation) -> bool:
    """Whether a server answers at another path alone, and was not seen to run another, which it may serve after another start."""
    if seen.symptom is not Symptom.NOT_MOUNTED or seen is not member.direct or member.kind == "proxy":
        return False
    return not (member.child_runs or member.unserved or (seen.deep and seen.succeeded))


def cut_short(seen: Observation) -> bool:
    """Whether it answered in this very probe, and a later answer was begun and cut."""
    result = seen.result
    if result is None or result.stage is None or not seen.bad:
        return False
    ended = seen.symptom is Symptom.CUT or (seen.symptom is Symptom.NO_REPLY and "ended" in seen.message)
    return ended and any(timing.stage in _SPOKEN and timing.stage is not result.stage for timing in result.timings)


def _sessions(cause: str, message: str) -> str:
    """A hint at our own checks, where sessions are what it has too many of."""
    ours = cause == "overloaded" and "session" in message.lower()
    return "; each check of mcpwatch opens a session too, so that a longer interval may be enough" if ours else ""


def member_finding(snapshot: FleetSnapshot, member: MemberSnapshot, cause: str, text: str, rung: Rung | None = None) -> Finding:
    """A cause of this member, with what was seen of it. What is only watched, nobody repairs but who serves it."""
    seen, by = member.own, member.served_by if rung is not None else ""
    return Finding(
        cause=cause,
        subject=by or member.name,
        text=text,
        about=f"member:{member.name}",
        evidence=evidence_with_log(snapshot, member),
        rung=None if member.carried.watched and not by else rung,
        affects=(member.route,) if member.route else (),
        members=(member.name,) if by else (),
        seen_at=seen.began_at if seen is not None else None,
        seen_until=seen.at if seen is not None else None,
        look_at=f"the log of '{member.name}' ('mcpwatch logs {member.name}') and what it needs to work",
        unsure=doubt(seen),
    )


TOLD_FOR = 60.0
"""Seconds for which that explains its silences: one who says no more for longer may have been hung by it."""


def told_before(seen: Observation, now: Instant) -> tuple[str, str] | None:
    """Cause and text of a silence that its own words earlier in this streak explain, else `None`."""
    if seen.symptom not in HUNG_SYMPTOMS or seen.told_at is None or now - seen.told_at > TOLD_FOR:
        return None
    return refusal(seen.told)
