"""A notification in words: what, since when, the cause and its evidence, what was tried, how long it was down, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification, Reason, Severity
from mcpwatch.model.json import plain
from mcpwatch.model.time import WallTime, iso

ITEMS_MAX = 20
"""Alerts told in full in one message; the rest are counted."""
NAMES_MAX = 5
HIDDEN = "[hidden]"
SECRET_MIN = 4
"""Shorter values are not looked for: hiding every `a` would hide the message."""

_WORDS = {
    "down": "is down",
    "gave_up": "keeps failing; mcpwatch gave up restarting it",
    "degraded": "is degraded",
    "route_down": "does not answer through the proxy",
    "route_degraded": "is degraded through the proxy",
    "tools_changed": "changed its tools",
    "trouble": "is in trouble",
    "config_rejected": "was refused; the running configuration stays",
    "test": "sends a test",
}
_SHORT = {"route_down": "down", "route_degraded": "degraded", "gave_up": "gave up", "tools_changed": "tools changed"}

_ADVICE = (
    ("stale_session", "Restarting this member cannot help: the proxy must be restarted or reloaded."),
    ("not_mounted", "The proxy does not know this route: mcpwatch reload"),
    ("upstream_unreachable", "The proxy's own way to it is broken: its URL there, name servers, networks, firewalls."),
    ("wrong_base_url", "Correct proxy.base_url: clients cannot use the address that the proxy announces."),
    ("proxy_", "No route can work before the proxy does; its log says why."),
    ("engine_gone", "Start the container engine; its members are watched again as soon as it answers."),
    ("port_taken", "Something else holds this address: end it, or give the member another port."),
    ("member_oom", "Give it more memory, or set restart.max_memory so that it is restarted in time."),
    ("crash_loop", "It ends right after each start: its log says why. The cluster starts it again after each pause."),
    ("rolled_back", "The new version was not proved and the one before serves: its log says why; correct it, then restart it."),
    ("image_pull", "Correct the image's name, or give the cluster the right to pull it."),
    ("unschedulable", "Give the cluster a node that fits, or ask for less: memory, cpus, node_selector."),
    ("quota", "Ask for less, or have the quota of the namespace raised."),
    ("admission", "A policy of the cluster forbids the pod: change what the policy names."),
    ("evicted", "The node had no room left: ask for the memory that it needs, or give the cluster more."),
    ("volume", "The volume must be there and free on the node that takes the pod."),
    ("node_not_ready", "The node does not report: the cluster moves the pod by itself after its grace."),
    ("unreachable", "No way leads to it from here: look at the network between; a restart cannot help."),
    ("busy", "It serves one client at a time, and somebody else is that: a restart would cut them off."),
    ("auth", "A restart cannot help: check the token of this member and of the proxy."),
    ("dependency", "What this member depends on is failing; a restart cannot help."),
    ("unexpected", "Compare what it answered with what the check asks and expects; no restart is known to help."),
    ("host_guard", "The server refuses this host name: allow it in the server's settings."),
    ("config", "A restart cannot help: correct the configuration, then: mcpwatch reload"),
    ("drift", "Look at the change; when it is wanted, approve the new tools."),
    ("schema", "The server's tools break the protocol's rules: tell its author, or pin an older version."),
    ("empty_tools", "The server answers but offers too few tools: its log says what it could not reach."),
)


@dataclass(frozen=True, slots=True)
class Message:
    """What a person reads: one line, then plain text."""

    title: str
    body: str


def render(notification: Notification) -> Message:
    """The message of a notification."""
    items = _spoken(notification)
    shown = items[:ITEMS_MAX]
    blocks = [_block(item, notification) for item in shown]
    if len(items) > len(shown):
        blocks.append(f"… and {len(items) - len(shown)} more: mcpwatch alerts list")
    if notification.perhaps_again:
        blocks.append("You may have been told this already: mcpwatch was interrupted while sending it.")
    return Message(title(notification), "\n\n".join(blocks))


def _spoken(notification: Notification) -> list[AlertSnapshot]:
    """The alerts a person is to read of: of two ends of one member or route, the longer one."""
    if notification.state is not AlertState.RESOLVED:
        return list(notification.items)
    longest: dict[str, AlertSnapshot] = {}
    for item in notification.items:
        key = _who(item)
        if key not in longest or item.since < longest[key].since:
            longest[key] = item
    return list(longest.values())


def title(notification: Notification) -> str:
    """One line: `[down] fetch: member hung`, `[recovered] 5: a, b, c …`, `[still down after 4 h] fetch`."""
    items = notification.items
    tag = _tag(notification)
    names = list(dict.fromkeys(item.subject for item in items))
    listed = ", ".join(names[:NAMES_MAX]) + (" …" if len(names) > NAMES_MAX else "")
    told = listed if len(names) == 1 else f"{len(names)}: {listed}"
    if notification.state is AlertState.RESOLVED:
        longest = max((_length(item) for item in items), default=0.0)
        return f"[{tag}] {told} after {span(longest)}"
    causes = list(dict.fromkeys(item.cause or item.symptom for item in items if item.cause or item.symptom))
    return f"[{tag}] {told}" + (f": {causes[0].replace('_', ' ')}" if len(causes) == 1 else "")


def document(notification: Notification) -> dict[str, Any]:
    """The notification as JSON values: what `webhook` posts and `exec` reads, documented in `docs/reference/alerts.md`."""
    message = render(notification)
    alerts = [
        {
            **plain(item),
            "since": iso(item.since),
            "fired_at": iso(item.fired_at) if item.fired_at else None,
            "resolved_at": iso(item.resolved_at) if item.resolved_at else None,
            "seconds": round(_length(item, notification.at), 3),
            "advice": advice(item),
        }
        for item in notification.items
    ]
    severity = max((item.severity for item in notification.items), key=lambda one: one.rank, default=Severity.INFO)
    return {
        "version": 1,
        "id": notification.id,
        "receiver": notification.receiver,
        "reason": str(notification.reason),
        "state": str(notification.state),
        "severity": str(severity),
        "at": iso(notification.at),
        "group": notification.group,
        "perhaps_again": notification.perhaps_again,
        "title": message.title,
        "body": message.body,
        "alerts": alerts,
    }


def advice(item: AlertSnapshot) -> str:
    """What to do, one line."""
    if item.state is AlertState.RESOLVED or item.alert == "test":
        return ""
    for key, text in _ADVICE:
        if key in (item.cause or item.symptom):
            return text
    if item.alert == "tools_changed":
        return f"Look at the change: mcpwatch events {item.subject}"
    if item.alert in ("trouble", "config_rejected"):
        return "See: mcpwatch status"
    if item.alert == "gave_up":
        return f"Correct what is wrong, then: mcpwatch start {item.subject}"
    return f"See: mcpwatch check {item.subject}; mcpwatch logs {item.member or item.subject}"


def one_line(item: AlertSnapshot) -> str:
    """One alert in one line, for receivers that group by themselves."""
    if item.state is AlertState.RESOLVED:
        return f"{_who(item)} recovered after {span(_length(item))}"
    cause = item.cause_text or item.why or item.symptom
    return f"{_who(item)} {_WORDS.get(item.alert, item.alert)}" + (f": {cause}" if cause else "")


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


T = TypeVar("T")


def scrub(value: T, secrets: Iterable[str]) -> T:
    """The same frozen value with every secret hidden in every string of it."""
    hidden = sorted((secret for secret in secrets if len(secret) >= SECRET_MIN), key=len, reverse=True)
    return cast("T", _scrub(value, hidden)) if hidden else value


def _scrub(value: object, secrets: list[str]) -> object:
    if type(value) is str:
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, tuple):
        return tuple(_scrub(item, secrets) for item in cast("tuple[object, ...]", value))
    if is_dataclass(value) and not isinstance(value, type):
        old = {item.name: getattr(value, item.name) for item in fields(value)}
        new = {name: _scrub(item, secrets) for name, item in old.items()}
        changed = {name: item for name, item in new.items() if item != old[name]}
        return replace(value, **changed) if changed else value
    return value


def _tag(notification: Notification) -> str:
    if notification.reason is Reason.TEST:
        return "test"
    if notification.state is AlertState.RESOLVED:
        return "recovered"
    kinds = {_SHORT.get(item.alert, item.alert.replace("_", " ")) for item in notification.items}
    what = next(iter(kinds)) if len(kinds) == 1 else "alerts"
    longest = max((_length(item, notification.at) for item in notification.items), default=0.0)
    if notification.reason is Reason.REPEAT:
        return f"still {what} after {span(longest)}"
    if notification.reason is Reason.ESCALATED:
        return f"nobody answered: {what} for {span(longest)}"
    return what


def _block(item: AlertSnapshot, notification: Notification) -> str:
    if item.state is AlertState.RESOLVED:
        return "\n".join(_resolved(item))
    for_ = span(_length(item, notification.at))
    lines = [f"{_who(item)} {_WORDS.get(item.alert, item.alert)} since {_clock(item.since)} ({for_}, {item.severity})."]
    if item.cause or item.cause_text:
        lines.append(f"Cause: {item.cause.replace('_', ' ')}" + (f" - {item.cause_text}" if item.cause_text else ""))
    if item.symptom:
        lines.append(f"Symptom: {item.symptom}")
    if item.why and item.why != item.symptom and item.why not in item.cause_text:
        lines.append(f"Seen: {item.why}")
    lines += [f"  {line}" for line in item.evidence]
    if item.exit and not any(line.startswith("last exit") for line in item.evidence):
        lines.append(f"Last end: {item.exit}")
    lines += [f"  stderr: {line}" for line in item.tail]
    lines += [f"  {line}" for line in item.changes]
    if item.flapping:
        lines.append(f"Flapping: it changed {item.flapping} times lately; you hear again when it has settled.")
    if item.unwatched:
        lines.append(f"Not watched for {span(item.unwatched)} of this time.")
    if item.speaks_for:
        lines.append(f"Also affected: {', '.join(item.speaks_for)}")
    if item.alert not in ("trouble", "config_rejected", "tools_changed", "test"):
        lines.append(f"Tried: {', '.join(item.tried) or 'nothing yet'}")
    if to_do := advice(item):
        lines.append(f"To do: {to_do}")
    return "\n".join(lines)


def _resolved(item: AlertSnapshot) -> list[str]:
    down = span(_length(item))
    until = _clock(item.resolved_at) if item.resolved_at else "now"
    lines = [f"{_who(item)} recovered after {down} ({_clock(item.since)} to {until})."]
    if item.why:
        lines.append(f"Now: {item.why}")
    if item.cause:
        lines.append(f"The cause was: {item.cause.replace('_', ' ')}")
    if item.tried:
        lines.append(f"Tried: {', '.join(item.tried)}")
    if item.unwatched:
        lines.append(f"Not watched for {span(item.unwatched)} of this time.")
    return lines


def _who(item: AlertSnapshot) -> str:
    return f"route {item.subject}" if item.route else item.subject


def _length(item: AlertSnapshot, now: WallTime | None = None) -> float:
    end = item.resolved_at if item.resolved_at is not None else now
    return max(0.0, end - item.since) if end is not None else 0.0


def _clock(at: WallTime) -> str:
    return iso(at)[:19] + "Z"
