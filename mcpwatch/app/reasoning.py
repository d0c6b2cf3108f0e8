"""Why a member or route is as it is: from what each vantage said to the cause, the repairs tried and what came of them.

Pure: the status document and recorded facts in, one object or lines out. The command line, the API and the page all say this.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from mcpwatch.checks.symptoms import MEANINGS, anchor
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.member import GONE_BY, Phase
from mcpwatch.model.probe import Symptom
from mcpwatch.web.words import ago, next_step

FACTS = 5000
"""Recorded facts looked through for repairs."""
SHOWN = 8
"""Repairs shown."""

Document = dict[str, Any]


def causes(name: str, status: Document) -> list[Document]:
    """The diagnoses that speak for a member or its route."""
    of_it = [route for route in status["routes"] if name in (route["member"], route["name"])]
    members = {name, *(route["member"] for route in of_it)}
    routes = {route["name"] for route in of_it}
    return [found for found in status["diagnoses"] if speaks_for(found, members, routes)]


def speaks_for(found: Document, members: set[str], routes: set[str]) -> bool:
    """Whether a diagnosis explains one of these members or routes. A daemon of an older version may name no members."""
    return bool(members & {found["subject"], *found.get("members", ())} or routes & set(found["affects"]))


def gathered(name: str, status: Document, facts: list[Document]) -> Document:
    """Everything that `explain` tells, as one JSON object. Raises `UsageError` for an unknown name."""
    member = next((item for item in status["members"] if item["name"] == name), None)
    route = next((item for item in status["routes"] if name in {item["member"], item["name"]}), None)
    if member is None and route is not None:
        member = next((item for item in status["members"] if item["name"] == route["member"]), None)
    if member is None and route is None:
        known = {item["name"] for item in (*status["members"], *status["routes"])}
        raise UsageError(f"no member or route '{name}'{suggest(name, known)}")
    found = causes(name, status)
    subjects = {name, member["name"] if member else name, *(cause["subject"] for cause in found)}
    proxy = status.get("proxy")
    tried = [fact for fact in facts if fact["fact"] in {"repair_tried", "repair_proved"} and fact["member"] in {*subjects, proxy}]
    return {
        "member": member,
        "route": route,
        "causes": found,
        "troubles": _troubles(subjects, status, facts),
        "repairs": tried[-SHOWN * 2 :],
    }


def _troubles(members: set[str], status: Document, facts: list[Document]) -> list[str]:
    """What else was told of these members by this watchdog and is not over, such as that one floods its log."""
    began = float(status.get("daemon", {}).get("started_at") or 0.0)
    last: dict[str, Document] = {}
    for fact in facts:
        if fact["fact"] == "troubled" and fact.get("member") in members:
            last[fact["subject"]] = fact
    news = [fact for fact in last.values() if datetime.fromisoformat(fact["time"]).timestamp() >= began]
    return [str(fact["text"]) for fact in news if not fact["cleared"]]


def explain(name: str, status: Document, facts: list[Document], *, mark: Callable[[str], str] = str) -> list[str]:
    """The reasoning as lines for people; `mark` is applied to those that name a cause. Raises `UsageError` for an unknown name."""
    all_of_it = gathered(name, status, facts)
    member, route, at = all_of_it["member"], all_of_it["route"], status["at"]
    lines: list[str] = []
    if member is not None:
        lines.append(_member(member, at))
    if route is not None:
        lines.append(f"route {route['name']}: {route['verdict']}, {route['url']}")
    lines += ["", "What each vantage said:"]
    proxy = next((item for item in status["members"] if item["name"] == status.get("proxy")), None)
    lines += _vantage("direct", member, at, ("it", member)) if member else []
    lines += _vantage("through the proxy", route, at, ("it", member), ("the proxy", proxy)) if route else []
    lines += ["", "Cause:"]
    for cause in all_of_it["causes"]:
        lines.append(mark(f"  {cause['cause']}: {cause['text']} (to be repaired: {cause['subject']})"))
        lines += [f"    because {line}" for line in cause["evidence"]]
        lines += [f"  next: {next_step(cause)}{_again(cause, status)}"]
    lines += [mark(f"  {trouble}") for trouble in all_of_it["troubles"]]
    if not all_of_it["causes"] and not all_of_it["troubles"]:
        lines += _degraded(member, route) or ["  none: nothing is known to be wrong with it"]
    lines += ["", "Repairs tried in the last day:"]
    lines += [f"  {fact['time']}  {_repair(fact)}" for fact in all_of_it["repairs"]] or ["  none"]
    return lines


def _again(cause: Document, status: Document) -> str:
    """When a subject that rests is started once more by itself, as its restart policy says."""
    resting = next((one for one in status["members"] if one["name"] == cause["subject"]), None)
    retry = resting.get("retry_at") if resting else None
    return f"; {cause['subject']} is started again by itself in {ago(max(0.0, retry - status['at']))}" if retry else ""


def _member(member: Document, at: float) -> str:
    since = f" for {ago(at - member['since'])}" if member["since"] else ""
    text = f"{member['name']}: {member['kind']} ({member['runtime']}), wanted {member['want']}, {member['phase']}{since}"
    text += f", {member['verdict']}, generation {member['generation']}"
    return text + (f"; last exit: {member['last_exit']}" if member["last_exit"] else "")


def _before(probe: Document, *seen: tuple[str, Document | None]) -> str:
    """That a probe says nothing of one of those that it saw as they are now. By one with a streak a member was proved itself."""
    for who, member in seen:
        if member is None or probe["at"] >= (member["since"] or 0.0):
            continue
        if (who, member["phase"]) != ("it", "running") or not (probe["failures"] or probe["successes"]):
            began = "last started" if member["phase"] == Phase.STARTING else "was ready"
            return f", before {who} {GONE_BY.get(member['phase'], began)}"
    return ""


def _vantage(where: str, subject: Document, at: float, *seen: tuple[str, Document | None]) -> list[str]:
    """What the checks of `subject` saw from there; `seen`: what they look at, by what it is called."""
    if not subject["probes"]:
        return [f"  {where}: nothing looks from there"]
    lines: list[str] = []
    for probe in subject["probes"]:
        result = probe["result"]
        streak = probe["failures"] or probe["successes"]
        said = f"{result['symptom']}: {result['message']}" if result["symptom"] else "ok"
        tools = "" if result["tools"] is None else f", {len(result['tools'])} tools"
        behind = any(timing["stage"] in {"safe_call", "canary"} for timing in result["timings"])
        proof = ", answered by the member itself" if behind and not result["symptom"] else ""
        when = f"{streak}× in a row, {ago(at - probe['at'])} ago{_before(probe, *seen)}"
        lines.append(f"  {where}: {probe['check']}: {said}{tools}{proof} ({when})")
        if result["symptom"]:
            lines += [f"    also: {remark}" for remark in result.get("remarks", ())]
            lines.append(f"    what that means: {anchor(Symptom(result['symptom']))}")
    return lines


def _repair(fact: Document) -> str:
    if fact["fact"] == "repair_tried":
        return f"{fact['member']}: {fact['rung']}, because of {fact['cause']}"
    result = "proved by the probes that failed" if fact["outcome"] == "proved" else "did not help"
    return f"{fact['member']}: {fact['rung']} {result} after {fact['seconds']:.1f}s"


def _degraded(*subjects: Document | None) -> list[str]:
    """What is wrong with something that works (slow, drift, a certificate that expires): in words, and what to do about it."""
    results = [probe["result"] for subject in subjects if subject is not None for probe in subject["probes"]]
    lines: list[str] = []
    for result in results:
        if not result["symptom"] or result.get("outcome") != "degraded":
            continue
        lines += [f"  degraded: {remark}" for remark in (f"{result['symptom']}: {result['message']}", *result.get("remarks", ()))]
        lines.append(f"    to do: {MEANINGS[Symptom(result['symptom'])].repair}")
    return list(dict.fromkeys(lines))
