"""`drill NAME --fault …`: hurt a member on purpose, watch the watchdog, and print when it saw, named and healed it.

Owns: the timeline. `Timeline` is pure: facts and status documents in, times out. The fault itself is in `faults`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mcpwatch.app.reasoning import speaks_for
from mcpwatch.cli import exits
from mcpwatch.cli.control import call, stream
from mcpwatch.cli.faults import HARMLESS, RHYTHMS, Fault, inject
from mcpwatch.cli.out import say, say_answer
from mcpwatch.model.errors import McpwatchError, UsageError, suggest

POLL = 0.25
"""Seconds between two looks at the status while waiting."""
STEADY = 4
"""Looks in a row that must find all well before it counts as recovered."""
RECOVER_MAX = 20.0
"""Seconds after which `recover` ends though no probe failed of it."""
QUIET = 10.0
"""Seconds without any sign after which a fault that changes nothing visible is called off."""

Document = dict[str, Any]


OPENED = "nothing, as it should be: the drill opened the way to it again"
BORNE = frozenset({"noisy_stdout", "single_client"})
"""Causes with which a member works."""


@dataclass(slots=True)
class Timeline:
    """What happened since the fault, in seconds after it."""

    member: str
    route: str
    began: float
    detected: float | None = None
    causes: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])
    """Every cause named: when, its identifier, its sentence."""
    repairs: list[str] = field(default_factory=list[str])
    harmed: list[str] = field(default_factory=list[str])
    """Who was restarted for a fault that ends by itself."""
    recovered: float | None = None
    lines: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    _well: int = 0
    _last: float = 0.0

    def hear(self, fact: Document) -> bool:
        """Take a fact; returns whether it belongs to this drill."""
        at = datetime.fromisoformat(fact["time"]).timestamp() - self.began
        subjects = {fact.get("member"), fact.get("route"), *fact.get("affects", ()), *fact.get("members", ())}
        kind = fact["fact"]
        if at < -0.002 or (not subjects & {self.member, self.route} and kind not in {"repair_tried", "repair_proved"}):
            return False
        at = max(0.0, at)
        sign = kind in {"member_exited", "diagnosed"} or (kind == "probe_finished" and fact["outcome"] == "failure")
        if sign and not fact.get("cleared") and self.detected is None:
            self.detected = at
        if kind == "diagnosed" and not fact["cleared"] and fact["cause"] not in {cause for _, cause, _ in self.causes}:
            self.causes.append((at, fact["cause"], fact["text"]))
        if kind == "repair_tried":
            self.repairs.append(f"{fact['rung']} of {fact['member']}")
        if kind != "probe_finished" or sign:
            self.lines.append((at, fact["text"]))
        self._last = max(self._last, at)
        self._well = 0
        return True

    def see(self, status: Document, at: float) -> bool:
        """Take a look at the fleet; returns whether the member has been well again for long enough."""
        member = next((item for item in status["members"] if item["name"] == self.member), None)
        everybodys = self.member == status.get("proxy")  # the proxy is well when all it serves is
        routes = [item for item in status["routes"] if everybodys or item["member"] == self.member]
        named = [found for found in status["diagnoses"] if found["cause"] not in BORNE]
        well = (
            member is not None
            and member["phase"] == "running"
            and member["verdict"] in {"healthy", "unknown"}
            and all(route["verdict"] == "healthy" for route in routes)
            and not any(speaks_for(found, {self.member}, {self.route}) for found in named)
            and all(self._proved(probe) for subject in (member, *routes) for probe in subject["probes"])
        )
        self._well = self._well + 1 if well and self.detected is not None else 0
        if self._well == 1:
            self.recovered = at - self.began
        if self._well == 0:
            self.recovered = None
        return self._well >= STEADY

    def _proved(self, probe: Document) -> bool:
        """Whether a probe succeeded after the fault was seen; the slow ones (refusal, canaries) need not have run again."""
        fresh = probe["check"] != "mcp" or probe["at"] > self.began + (self.detected or 0.0)
        return fresh and not probe["failures"]

    @property
    def cut_off(self) -> bool:
        """Whether it was found that nothing is wrong with the member but the way to it: that is for a person to open."""
        return any(cause == "unreachable" for _, cause, _ in self.causes)

    def quiet_since(self, at: float) -> float:
        """Seconds since the last sign."""
        return at - self.began - self._last


def drill(name: str, fault: Fault, *, timeout: float, as_json: bool) -> int:
    """Run a drill. Exit 0 when the member and its route recovered in time, 1 otherwise."""
    status: Document = call("GET", "/status")
    member = next((item for item in status["members"] if item["name"] == name), None)
    if member is None:
        raise UsageError(f"no member '{name}'{suggest(name, [item['name'] for item in status['members']])}")
    route = next((item["name"] for item in status["routes"] if item["member"] == name), name)
    facts = _listen()
    timeline = Timeline(name, route, time.time())
    with contextlib.ExitStack() as fault_lasts:
        fault_lasts.callback(inject(fault, member, status))
        if not as_json:
            say(f"   0.000 s  {fault} {name} (generation {member['generation']}, {member['runtime']})")
        done = _watch(timeline, facts, timeout, _over(fault_lasts, fault, member, timeline), fault, as_json=as_json)
    if fault in HARMLESS:
        timeline.harmed += restarted(status, call("GET", "/status"))
        done = done and not timeline.harmed
    lines = summary(timeline, fault, timeout, recovered=done)
    say_answer(_document(timeline, fault, recovered=done), lines, as_json=as_json)
    return exits.OK if done else exits.UNHEALTHY


def restarted(before: Document, after: Document) -> list[str]:
    """The members that are another incarnation now."""
    known = {item["name"]: item["generation"] for item in before["members"]}
    return [item["name"] for item in after["members"] if item["generation"] != known.get(item["name"], item["generation"])]


def _over(fault_lasts: contextlib.ExitStack, fault: Fault, member: Document, timeline: Timeline) -> Callable[[Document], None]:
    """Ends the fault once another incarnation of the member was begun: what was hurt is gone, and the next one is not to be.

    What recovers by itself does that as soon as it was noticed. A firewall, which no restart opens, is opened once it was named.
    """

    def look(status: Document) -> None:
        now = next((item for item in status["members"] if item["name"] == member["name"]), member)
        noticed = timeline.detected is not None or time.time() - timeline.began > RECOVER_MAX
        if now["generation"] != member["generation"] or (fault == "recover" and noticed) or timeline.cut_off:
            fault_lasts.close()

    return look


def summary(timeline: Timeline, fault: str, timeout: float, *, recovered: bool) -> list[str]:
    """The outcome for people."""
    rows = [
        ("detected", _seconds(timeline.detected), ""),
        *(("diagnosed", _seconds(at), f"{cause}: {text}") for at, cause, text in timeline.causes),
        ("repaired by", "", ", ".join(timeline.repairs) or (OPENED if timeline.cut_off else "the runtime's own restart")),
        ("recovered", _seconds(timeline.recovered), "proved by every check of it"),
    ]
    if fault in HARMLESS:
        rows[-2] = ("repaired by", "", ", ".join(timeline.repairs) or "nothing, as it should be")
    if timeline.harmed:
        rows[-1] = ("harmed", "", f"{', '.join(timeline.harmed)}: restarted for a fault that ends by itself")
    elif not recovered:
        rows[-1] = ("recovered", "never", f"not within {timeout:.0f} s: {fault} is not healed by itself")
    elif timeline.recovered is None:
        rows[-1] = ("recovered", "", "no check of it failed")
    return ["", *(f"{name:<12}{when:>9}  {what}".rstrip() for name, when, what in rows)]


def _document(timeline: Timeline, fault: str, *, recovered: bool) -> Document:
    return {
        "version": 1,
        "member": timeline.member,
        "fault": fault,
        "detected": timeline.detected,
        "diagnosed": timeline.causes[0][0] if timeline.causes else None,
        "causes": [cause for _, cause, _ in timeline.causes],
        "repairs": timeline.repairs,
        "harmed": timeline.harmed,
        "recovered": timeline.recovered if recovered else None,
        "timeline": [{"seconds": round(at, 3), "text": text} for at, text in timeline.lines],
    }


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _watch(
    timeline: Timeline,
    facts: queue.SimpleQueue[Document],
    timeout: float,
    each: Callable[[Document], None],
    fault: Fault,
    *,
    as_json: bool,
) -> bool:
    """Hear and see until it is well again; `each` sees every status document too. A harmless fault need not be noticed at all."""
    began = time.monotonic()
    deadline, rhythm = began + timeout, RHYTHMS.get(fault)
    until = began + (rhythm.seconds + rhythm.frozen if rhythm else 0.0)
    while time.monotonic() < deadline:
        _take(timeline, facts, as_json=as_json)
        status = call("GET", "/status")
        each(status)
        if timeline.see(status, time.time()) and time.monotonic() > until:
            return True
        if timeline.detected is None and timeline.quiet_since(time.time()) > max(QUIET, timeout / 2):
            return fault in HARMLESS
    return False


def _take(timeline: Timeline, facts: queue.SimpleQueue[Document], *, as_json: bool) -> None:
    """Hear what comes within one pause."""
    end = time.monotonic() + POLL
    while (left := end - time.monotonic()) > 0:
        try:
            fact = facts.get(timeout=left)
        except queue.Empty:
            return
        if timeline.hear(fact) and not as_json:
            at, text = timeline.lines[-1] if timeline.lines else (0.0, "")
            say(f"{at:8.3f} s  {text}")


def _listen() -> queue.SimpleQueue[Document]:
    """Facts from now on, as they come; returns once the daemon streams."""
    facts: queue.SimpleQueue[Document] = queue.SimpleQueue()
    streaming = threading.Event()

    def follow() -> None:
        try:
            for fact in stream("/events", limit="1", follow="1", since=str(time.time() - 3600)):
                streaming.set()
                facts.put(fact)
        except McpwatchError:
            streaming.set()

    threading.Thread(target=follow, name="drill events", daemon=True).start()
    streaming.wait(5.0)
    return facts
