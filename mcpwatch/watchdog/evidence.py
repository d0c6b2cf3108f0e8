"""The words of the evidence: what each vantage, the proxy's log and the end of a member said, a line each. Pure."""

from __future__ import annotations

from mcpwatch.model.member import GONE_BY, Phase
from mcpwatch.model.probe import ProbeResult, Symptom
from mcpwatch.model.text import masked, plain
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation

ANSWER_MAX = 200
"""Characters of an answer that are shown."""
KNOWN = 40
"""Characters of it by which a message shows that it has it."""
NAME_MAX = 60
"""Characters of a tool's name that are shown."""
SHOWN = 12
"""Names of tools that are shown."""


def evidence(member: MemberSnapshot, proxy: MemberSnapshot | None = None) -> tuple[str, ...]:
    """What each vantage said of the member, a line each; of what was before it, or the proxy, ended or began, that it was."""
    lines = [f"{member.name}: {member.phase}"]
    if member.last_exit:
        lines.append(f"last exit: {member.last_exit}")
    if member.words and member.words not in member.last_exit:
        lines.append(f"it last wrote: {member.words}")
    if member.proxy_words:
        lines.append(f"the proxy last wrote: {member.proxy_words}")
    if member.direct is not None and member.direct.result is not None:
        lines.append(said(f"direct{_before(member.direct, member)}", member.direct))
    if member.through is not None and member.through.result is not None:
        past = _before(member.through, member) or (_before(member.through, proxy, "the proxy") if proxy is not None else "")
        lines.append(said(f"through the proxy{past}", member.through))
    return tuple(lines)


def evidence_with_log(snapshot: FleetSnapshot, member: MemberSnapshot) -> tuple[str, ...]:
    """The evidence, with what the proxy's own log says of the route and of the proxy itself."""
    own = {member.route or member.name}
    lines = [f"proxy log: {hint.text}" for hint in snapshot.proxy_log if hint.route in own]
    return (*evidence(member, snapshot.front), *lines)


def _before(seen: Observation, of: MemberSnapshot, who: str = "it") -> str:
    """What `who` did since its latest probe began, so that this says nothing of it as it is now; empty where that was nothing."""
    runs = of.phase is Phase.RUNNING  # its last change is that it became ready, which the probe itself may have shown
    changes = (of.started_at, None if runs else of.changed_at)
    if seen.began_at is not None and all(at is None or seen.began_at >= at for at in changes):
        return ""
    return f" (before {who} {GONE_BY.get(of.phase, 'last started')})"


def said(vantage: str, seen: Observation | None) -> str:
    """One vantage in a line: `direct: timeout@tools_list (3 in a row): no answer within 10s`."""
    if seen is None or seen.result is None:
        return f"{vantage}: not seen"
    rate = f" ({seen.rate:.0%} of the latest probes failed)" if seen.rate else ""
    if seen.result.symptom is None:
        return f"{vantage}: ok{rate}"
    streak = f" ({seen.failures} in a row)" if seen.failures > 1 else ""
    told = f"{vantage}: {seen.result.symptom_text}{streak}{rate}: {seen.result.message}".rstrip(": ")
    return masked(told + _answer(seen.result))  # it goes into alerts too, and a tool may answer with secrets of others


def _answer(result: ProbeResult) -> str:
    """What it answered, where the message does not say it: what came instead of what was expected."""
    if result.symptom is Symptom.MISSING_TOOLS and result.tools:
        names = sorted(plain(tool.name[:NAME_MAX]) for tool in result.tools)
        return f"; it lists {', '.join(names[:SHOWN])}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    answer = plain(result.said)
    if not answer or (result.symptom is not Symptom.UNEXPECTED and answer[:KNOWN] in result.message):
        return ""
    answer = masked(answer)  # before it is cut: half of a secret looks like none
    return f'; it answered "{answer[:ANSWER_MAX]}{"…" if len(answer) > ANSWER_MAX else ""}"'
