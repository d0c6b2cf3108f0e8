"""The scene that a diagnosis is made from: what every vantage says of every member at one moment. Pure.

Owns: the words of the evidence. Must not know: what follows from it (`diagnose`, `through`).
"""

from __future__ import annotations

from dataclasses import dataclass

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant

CONFIG_SYMPTOMS = frozenset(
    {Symptom.SCHEMA, Symptom.DRIFT, Symptom.REDIRECT, Symptom.HOST_GUARD, Symptom.TLS, Symptom.ERA_MISMATCH}
)
HUNG_SYMPTOMS = frozenset({Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.NO_ENDPOINT})
GONE_SYMPTOMS = frozenset({Symptom.REFUSED, Symptom.UNREACHABLE, Symptom.CUT})
CONTAINERS = ("docker", "swarm")
STALE_SYMPTOMS = frozenset(
    {
        Symptom.SESSION_LOST,
        Symptom.STALE_SESSION,
        Symptom.UPSTREAM_DOWN,
        Symptom.RPC_ERROR,
        Symptom.TOOL_ERROR,
        Symptom.EMPTY_TOOLS,
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one vantage says now: the verdict, and the latest result with its streak of failures."""

    verdict: Verdict = Verdict.UNKNOWN
    result: ProbeResult | None = None
    failures: int = 0
    at: Instant | None = None
    since: Instant | None = None
    """When the latest result came, and when results first were as they are now."""

    @property
    def symptom(self) -> Symptom | None:
        """The symptom of the latest result."""
        return self.result.symptom if self.result else None

    @property
    def proved(self) -> bool:
        """Whether its latest probe came back from the member itself, so that no cache can have answered it."""
        ways = (Stage.SAFE_CALL, Stage.CANARY)
        return self.result is not None and any(timing.stage in ways for timing in self.result.timings)

    @property
    def bad(self) -> bool:
        """Whether the thresholds are passed."""
        return self.verdict is Verdict.UNHEALTHY


@dataclass(frozen=True, slots=True)
class Actor:
    """One member of the scene. `direct` is `None` when it cannot be probed past the proxy (hosted)."""

    name: str
    kind: str
    runtime: str
    want: Want
    phase: Phase
    started_at: Instant | None = None
    direct: Seen | None = None
    route: str | None = None
    through: Seen | None = None
    last_exit: str = ""
    oom: bool = False
    depends_on: tuple[str, ...] = ()
    failures: int = 0
    """Unplanned ends since it was last stable: a start after them has still to be proven."""
    stopped_processes: bool = False
    """The kernel says its processes are stopped (state T)."""
    foreign_port: str = ""
    """Who else holds the member's port, when somebody does."""
    planned: bool = False
    """It is being restarted because somebody wanted that."""

    @property
    def down(self) -> bool:
        """Whether it is down, or was and has not proven itself since."""
        return not self.planned and (
            self.phase in (Phase.BACKOFF, Phase.FAILED) or (self.phase is Phase.STARTING and self.failures > 0)
        )


@dataclass(frozen=True, slots=True)
class Said:
    """What a proxy's own log said of one of its routes."""

    route: str
    meaning: str
    text: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The whole fleet at one moment. `holds_sessions` and `mounts_late` are traits of the proxy."""

    at: Instant
    actors: tuple[Actor, ...]
    proxy: str | None = None
    holds_sessions: bool = False
    mounts_late: bool = True
    lists_from_cache: bool = False
    engine_gone: str = ""
    reconnects: bool = True
    proxy_said: tuple[Said, ...] = ()
    """What the log of the proxy's present run last said of each route."""

    @property
    def front(self) -> Actor | None:
        """The proxy itself."""
        return next((actor for actor in self.actors if actor.name == self.proxy), None)


def evidence(actor: Actor) -> tuple[str, ...]:
    """What each vantage said of the member, a line each."""
    lines = [f"{actor.name}: {actor.phase}"]
    if actor.last_exit:
        lines.append(f"last exit: {actor.last_exit}")
    if actor.direct is not None and actor.direct.result is not None:
        lines.append(said("direct", actor.direct))
    if actor.through is not None and actor.through.result is not None:
        lines.append(said("through the proxy", actor.through))
    return tuple(lines)


def said(vantage: str, seen: Seen | None) -> str:
    """One vantage in a line: `direct: timeout@tools_list (3 in a row): no answer within 10s`."""
    if seen is None or seen.result is None:
        return f"{vantage}: not seen"
    if seen.result.symptom is None:
        return f"{vantage}: ok"
    streak = f" ({seen.failures} in a row)" if seen.failures > 1 else ""
    return f"{vantage}: {seen.result.symptom_text}{streak}: {seen.result.message}".rstrip(": ")
