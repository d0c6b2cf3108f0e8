"""Small fleets at one moment, all well: what tests of diagnoses change one thing of. It is 100 s on the clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import Finding, Findings
from mcpwatch.watchdog.senses import Context
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation

OK = Observation(
    Verdict.HEALTHY, ProbeResult(Outcome.SUCCESS), at=Instant(99.5), since=Instant(20.0), began_at=Instant(99.0), succeeded=True
)
PROVED = replace(OK, deep=True, result=ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.SAFE_CALL, 0.1),)))
PROXY = MemberSnapshot("proxy", "proxy", "process", Want.UP, Phase.RUNNING, Instant(50.0), direct=OK)
TBXARK = PROXY
FETCH = MemberSnapshot("fetch", "bridge", "process", Want.UP, Phase.RUNNING, Instant(10.0), direct=OK, route="fetch", through=OK)
TIME = replace(FETCH, name="time", route="time")
HOSTED = replace(FETCH, name="git", runtime="hosted", direct=None, route="git")
REBORN = replace(FETCH, started_at=Instant(90.0))


def bad(symptom: Symptom, stage: Stage = Stage.TOOLS_LIST) -> Observation:
    return Observation(
        Verdict.UNHEALTHY,
        ProbeResult(Outcome.FAILURE, symptom, stage, "said so"),
        failures=3,
        at=Instant(99.5),
        since=Instant(95.0),
        began_at=Instant(99.0),
    )


def causes(*actors: MemberSnapshot, holds_sessions: bool = False, engine_gone: str = "") -> list[tuple[str, str, str | None]]:
    scene = FleetSnapshot(Instant(100.0), actors, "proxy", holds_sessions=holds_sessions, engine_gone=engine_gone)
    return [(found.cause, found.subject, found.rung) for found in diagnose(scene).found]


def scene(*actors: MemberSnapshot, **changes: object) -> FleetSnapshot:
    tbxark = FleetSnapshot(
        Instant(100.0), actors, "proxy", holds_sessions=True, mounts_late=False, lists_from_cache=True, reconnects=False
    )
    return replace(tbxark, **changes)  # pyright: ignore[reportArgumentType]


def named(*actors: MemberSnapshot, **changes: object) -> list[tuple[str, str | None, str]]:
    return [(found.cause, found.rung, found.hold) for found in diagnose(scene(*actors, **changes)).found]


def found(*actors: MemberSnapshot, **changes: object) -> Findings:
    """What is diagnosed of these behind a proxy that reconnects by itself, mounts late and answers nothing from memory."""
    return diagnose(replace(FleetSnapshot(Instant(100.0), actors, "proxy"), **changes))  # pyright: ignore[reportArgumentType]


def one(*actors: MemberSnapshot, **changes: object) -> Finding:
    """The only cause that is found, and nothing to look at again."""
    told = found(*actors, **changes)
    (finding,) = told.found
    assert told.look_again == ()
    return finding


class Still:
    """A clock that stands, and everybody else that an actor may speak to, doing nothing."""

    name, supervision = "process", "ours"

    def now(self) -> Instant:
        return Instant(100.0)

    def wall(self) -> WallTime:
        return WallTime(1_800_000_000.0)


def actor(spec: MemberSpec, state: MemberState, **changes: object) -> MemberActor:
    """An actor in this state, with these attributes; it carries nothing out."""
    still: Any = Still()
    made = MemberActor(spec, still, Context(still, lambda _: None, lambda _work, _name: None), still)
    made.state = state
    for name, value in changes.items():
        setattr(made, name, value)
    return made
