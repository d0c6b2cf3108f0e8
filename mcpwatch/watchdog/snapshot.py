"""The fleet at one moment, as every vantage saw it: what a diagnosis is made from. Frozen data.

Every observation says when its probe began and which incarnations it saw. Must not know what follows from it (`diagnose`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcpwatch.model.member import ClientCalls, Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.model.runtime import TRAITS, RuntimeTraits, traits_of
from mcpwatch.model.symptom import CALLS
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.refusals import refusal

ENGINES = tuple(name for name, traits in TRAITS.items() if traits.engine)
"""Runtimes whose members live on while the engine that carries them does not answer."""
HUNG_SYMPTOMS = frozenset({Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.NO_ENDPOINT})
GONE_SYMPTOMS = frozenset({Symptom.REFUSED, Symptom.UNREACHABLE, Symptom.CUT})
MUTE_SYMPTOMS = HUNG_SYMPTOMS | GONE_SYMPTOMS
"""Symptoms of one that says nothing at all."""
UNSAID_SYMPTOMS = frozenset({None, *GONE_SYMPTOMS, Symptom.TIMEOUT, Symptom.UPSTREAM_DOWN, Symptom.EXITED, Symptom.NOT_FOUND})
"""Symptoms at the end of a start that may be of one still starting, or of what stands before it. All others are the trouble, as a
name that leads nowhere: no other start changes that."""
GREETED_STAGES = frozenset(
    {Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST, Stage.PROMPTS_LIST, Stage.RESOURCES_LIST, Stage.CANARY, Stage.SAFE_CALL}
)
"""A probe that fails there was greeted: whoever answers has started."""
CONFIG_SYMPTOMS = frozenset(
    {Symptom.SCHEMA, Symptom.REDIRECT, Symptom.HOST_GUARD, Symptom.TLS, Symptom.ERA_MISMATCH, Symptom.REJECTED}
)
SETUP_SYMPTOMS = frozenset({Symptom.WRONG_TYPE, Symptom.BUFFERED, Symptom.TOO_LARGE, Symptom.UNRESOLVED})
"""Symptoms of a wrong configuration too, where it was never well: what worked a moment ago was set up rightly."""
STALE_SYMPTOMS = frozenset(
    {Symptom.SESSION_LOST, Symptom.STALE_SESSION, Symptom.UPSTREAM_DOWN, Symptom.RPC_ERROR, Symptom.TOOL_ERROR, Symptom.EMPTY_TOOLS}
)
ANSWERED_SYMPTOMS = frozenset({
    *CONFIG_SYMPTOMS - {Symptom.TLS}, Symptom.AUTH, Symptom.UNGUARDED, Symptom.OVERLOADED,
    Symptom.RPC_ERROR, Symptom.EMPTY_TOOLS, Symptom.MISSING_TOOLS, Symptom.DRIFT, Symptom.TOOL_ERROR, Symptom.UNEXPECTED,
    Symptom.WRONG_SERVER, Symptom.NOT_MOUNTED, Symptom.BAD_ENDPOINT, Symptom.DRIPPING,
})  # fmt: skip
"""Symptoms that only a running server can show: it answered, and what it said is the cause."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one vantage says now: the verdict, and the latest result with its streak of failures.

    `began_at` and `at`: when the latest probe began and ended; `since`: when the present streak of results began.
    `generation` and `proxy_generation`: which incarnations it saw. `deep`: it called a tool, or would have if one may be called.
    `rate`: the share of failures while the check flaps, else 0. `succeeded`: it was well once in this generation.
    """

    verdict: Verdict = Verdict.UNKNOWN
    result: ProbeResult | None = None
    failures: int = 0
    at: Instant | None = None
    since: Instant | None = None
    onset: Instant | None = None
    """When the first probe of a streak of failures began."""
    began_at: Instant | None = None
    generation: int = 0
    proxy_generation: int = 0
    deep: bool = False
    rate: float = 0.0
    succeeded: bool = False
    unbroken: bool = False
    """It was never seen to fail, as far as is remembered."""
    earlier: Symptom | None = None
    """What the failure before the latest one of this streak complained of."""
    spells: int = 0
    """Spells of failure among its latest results."""
    ails: bool = False
    """One of its checks failed when it was made last, or in a former life, whatever the thresholds say yet."""
    formerly: str = ""
    """The wire and the URL at which it was last well in this generation, when it is asked elsewhere now."""
    brief: bool = False  # the latest probe had no more time than one needs that is well
    aside: bool = False  # what complains says nothing of whoever is behind the proxy (`door`)
    told: ProbeResult | None = None
    """The latest failure of a streak that goes on in which it said itself that a restart cannot help."""
    told_at: Instant | None = None
    bare_since: Instant | None = None
    """Since when it answered nothing but a bare 503: an overload that was told before it is none of that."""

    @property
    def symptom(self) -> Symptom | None:
        """The symptom of the latest result."""
        return self.result.symptom if self.result else None

    @property
    def stage(self) -> Stage | None:
        """The stage that the latest probe failed in."""
        return self.result.stage if self.result else None

    @property
    def message(self) -> str:
        """What the latest result says in a line."""
        return self.result.message if self.result else ""

    @property
    def misconfigured(self) -> bool:
        """Whether the latest result shows a wrong configuration."""
        return self.symptom in CONFIG_SYMPTOMS or (self.symptom in SETUP_SYMPTOMS and not self.succeeded)

    @property
    def misdirected(self) -> bool:
        """Whether something came instead of the answer that was asked for: another id, none, a type that no client hears."""
        return self.symptom is Symptom.NO_REPLY and self.result is not None and bool(self.result.said)

    @property
    def mute(self) -> bool:
        """Whether the thresholds are passed and it says nothing at all. One silence right behind an answer is none."""
        if self.misdirected or self.aside:
            return False
        return self.bad and self.symptom in MUTE_SYMPTOMS and (self.earlier is None or self.earlier in MUTE_SYMPTOMS)

    @property
    def proved(self) -> bool:
        """Whether its latest probe came back from the member itself, so that no cache can have answered it."""
        return self.result is not None and proved(self.result)

    @property
    def bad(self) -> bool:
        """Whether the thresholds are passed."""
        return self.verdict is Verdict.UNHEALTHY

    @property
    def answered(self) -> bool:
        """Whether the latest result is a failure that only a running server can show."""
        return self.symptom in ANSWERED_SYMPTOMS or refusal(self.result) is not None


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """One member. `direct` is `None` when it cannot be probed past the proxy (hosted)."""

    name: str
    kind: str
    runtime: str
    want: Want
    phase: Phase
    started_at: Instant | None = None
    direct: Observation | None = None
    route: str | None = None
    through: Observation | None = None
    direct_call: Observation | None = None
    """The latest direct probe that called a tool, or would have if one may be called."""
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
    planned_why: str = "as asked"
    given_up: bool = False  # its start failed, and it is being ended for that
    paused: bool = False  # its container is
    start_grace: float = 60.0
    changed_at: Instant | None = None
    """When it last began, became ready or ended."""
    listens_on: tuple[int, ...] = ()
    """Ports that its processes listen on, looked up when nothing answers where it should."""
    child_gone: bool = False
    """Its process inside the proxy ended, and the proxy does not start it again."""
    listens_at: tuple[str, ...] = ()
    """Where exactly these are, when none of them is where it should answer."""
    asked_at: str = ""
    """The host and port that it is asked at."""
    walled: tuple[str, ...] = ()
    """Where it listens inside its container, when nobody outside can reach any of that; looked up when nothing answers."""
    serves: tuple[str, ...] = ()
    """What it says that it serves, where that is all and not what it is asked for; looked up when it does not serve that."""
    unserved: bool = False
    """It says that it could not begin what it runs; looked up when it does not serve that."""
    words: str = ""
    """What it, or what it runs, last wrote that tells something; looked up when what it runs seems to be gone."""
    cut_off: bool = False  # it listens where it should answer, and no connection reaches it; looked up when these time out
    proxy_words: str = ""
    """What the proxy last wrote that tells something, looked up where a server inside it has no log of its own."""
    lines: tuple[str, ...] = ()
    """The lines that it last wrote, looked up with these words."""
    descriptors: str = ""
    """How many file descriptors it has open, when that is all that it may have; looked up when it fails."""
    calls: ClientCalls = ClientCalls()
    """What clients wait for and get from it; looked up when it, or its route, is silent and the proxy tells that."""
    child_ended: bool = False
    """What it ran lived when it began, and does not any more; looked up when it answers and says nothing."""
    childless: bool = False  # it was seen to run no other
    works: bool = False  # its processes took the processor since it fell silent; looked up then
    served_by: str = ""  # the member whose processes listen where this url leads, looked up when it fails
    rival: str = ""
    """Who else listens on its port, looked up when it fails."""
    child_runs: bool = False
    """What it runs lives, looked up when it answers and does not serve that yet."""
    port: int | None = None
    """The port of this machine where it should answer."""
    alone: str = ""
    """Its words, when it bears one client: then it is looked at through the proxy only."""
    hindered: str = ""
    """The name of the cause by which its engine says that it cannot run or be reached."""
    hindrance: str = ""  # the same as a sentence, with the engine's own words
    proxy_url: str = ""
    """Where the proxy reaches it, when that is another place than where it is checked."""
    proxy_wire: str = ""
    """The one wire over which the proxy asks it, whatever it speaks; empty when that finds out, or it is not known."""
    listed_before: str = ""  # the contract that it listed when the proxy began, where it lists another one since `relisted_at`
    relisted_at: Instant | None = None
    picked: bool = False  # only tools that are named are shown of it; looked up where it lists another contract since
    budget_at: Instant | None = None  # when its restart budget allows a restart again; `None`: now

    @property
    def carried(self) -> RuntimeTraits:
        """What is special about its runtime."""
        return traits_of(self.runtime)

    @property
    def restarting(self) -> bool:
        """Whether it ended, or is being ended, and has not proven itself since: waiting for its next start, or in it."""
        return not self.planned and (
            self.given_up or self.phase in (Phase.BACKOFF, Phase.FAILED) or (self.phase is Phase.STARTING and self.failures > 0)
        )

    @property
    def down(self) -> bool:
        """Whether it is down, or was and has not proven itself since. What answers is not down, whatever it says."""
        alive = self.phase is Phase.STARTING and (
            self.listens_elsewhere or self.walled or (self.own is not None and self.own.answered)
        )
        return self.restarting and not bool(alive)

    @property
    def listens_elsewhere(self) -> bool:
        """Whether it listens, but not where it should answer."""
        return bool(self.listens_on) and self.port is not None and self.port not in self.listens_on

    @property
    def own(self) -> Observation | None:
        """What is seen of the member itself: from the direct vantage, or through the proxy where that is the only way."""
        if self.direct is not None and not self.alone:
            return self.direct
        return self.through if self.carried.hosted and not (self.through is not None and self.through.aside) else None


@dataclass(frozen=True, slots=True)
class ProxyLogHint:
    """What a proxy's own log said of one of its routes, or (`route` empty) of itself, and when that was read."""

    route: str
    meaning: str
    text: str
    at: Instant = Instant(0.0)


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one moment. `holds_sessions` to `nudges` are traits of the proxy."""

    at: Instant
    members: tuple[MemberSnapshot, ...]
    proxy: str | None = None
    holds_sessions: bool = False
    mounts_late: bool = True
    lists_from_cache: bool = False
    engine_gone: str = ""
    engines_gone: tuple[str, ...] = ENGINES
    """With `engine_gone`: the runtimes whose engine that is."""
    reconnects: bool = True
    proxy_log: tuple[ProxyLogHint, ...] = ()  # what that of its present run last said of each route
    nudges: bool = False
    mounting: str = ""
    """The route that a proxy was starting when it last told, and which ends it as a whole where it cannot start."""
    _member: Mapping[str, MemberSnapshot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find members by name in a time that does not grow with the fleet: the cause of each is looked for beside the proxy."""
        object.__setattr__(self, "_member", {member.name: member for member in self.members})

    @property
    def front(self) -> MemberSnapshot | None:
        """The proxy itself."""
        return self.member(self.proxy) if self.proxy else None

    def member(self, name: str) -> MemberSnapshot | None:
        """The member of that name, or `None`."""
        return self._member.get(name)

    def hint(self, route: str | None) -> ProxyLogHint | None:
        """What the proxy's log last said of a route."""
        return next((hint for hint in self.proxy_log if route and hint.route == route), None)


def proved(result: ProbeResult) -> bool:
    """Whether a result came back from the server itself, so that no cache can have answered it."""
    return any(timing.stage in CALLS for timing in result.timings)
